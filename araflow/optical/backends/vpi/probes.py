"""What a real device accepts: the questions of ``araflow doctor --vpi-capture``, asked inside the VPI worker.

Loaded by ``worker.py`` in its capture mode, under the same Python and the same limits (Python 3.6, NumPy, vpi).
Never run on hardware.
"""

# ruff: noqa: ANN401, UP006, UP035
# Python 3.6 has no other spelling of these types, and nothing here knows the types of vpi.

import base64
import importlib
import importlib.util
import zlib
from pathlib import Path
from typing import Any, Callable, Dict, Tuple


def scene(width: int, height: int, right: int, down: int) -> Any:
    """Return a picture that has moved by (right, down) pixels: uint8, the same under every NumPy and Python.

    Hashed values on a lattice of 8 pixels, bilinear between them, in integers.
    """
    numpy = importlib.import_module("numpy")
    x = numpy.arange(width, dtype=numpy.int64)[None, :] - right + 4096
    y = numpy.arange(height, dtype=numpy.int64)[:, None] - down + 4096

    def corner(i: Any, j: Any) -> Any:
        mixed = (i * 73856093 ^ j * 19349663) & 0xFFFFFFFF
        return (mixed * 2654435761 >> 13) & 255

    i, j, fx, fy = x // 8, y // 8, x % 8, y % 8
    top = corner(i, j) * (8 - fx) + corner(i + 1, j) * fx
    bottom = corner(i, j + 1) * (8 - fx) + corner(i + 1, j + 1) * fx
    return ((top * (8 - fy) + bottom * fy) // 64).astype(numpy.uint8)


SIZES = ((16, 16), (32, 16), (16, 32), (32, 32), (48, 48), (64, 64), (66, 64), (64, 66), (100, 60), (320, 240))
GOLDEN: Dict[str, Any] = {"width": 96, "height": 64, "shift": [3, -2]}
CONVERSIONS = (
    ("BGR8", "Y8_ER", "CUDA"),
    ("BGR8", "Y8_ER_BL", "CUDA"),
    ("BGR8", "Y8_ER_BL", "VIC"),
    ("U8", "Y8_ER_BL", "VIC"),
    ("Y8_ER", "Y8_ER_BL", "VIC"),
    ("Y8_ER", "Y8_ER_BL", "CUDA"),
    ("Y8_ER", "NV12_ER", "CUDA"),
    ("BGR8", "NV12_ER", "CUDA"),
    ("BGR8", "NV12_ER_BL", "CUDA"),
    ("NV12_ER", "NV12_ER_BL", "VIC"),
)
SIGNATURES = (
    "asimage",
    "optflow_dense",
    "Image",
    "Image.convert",
    "Image.cpu",
    "Image.rlock",
    "Image.rlock_cpu",
    "Image.gaussian_pyramid",
    "Stream",
    "Stream.sync",
)


def capture(worker: Any, group: str, tell: Callable[[str, Any], None]) -> None:
    """Report what the device accepts, one finding at a time, so that a crash costs the rest of one group alone.

    Args:
        worker: The module ``worker``.
        group: ``identity``, ``conversions``, or an engine's name.
        tell: Called with a name and a JSON value: "ok", or what the refusal said.
    """
    vpi = worker.find_vpi()

    def attempt(name: str, action: Callable[..., Any], *arguments: Any) -> None:
        try:
            action(*arguments)
        except Exception as error:
            tell(name, f"{type(error).__name__}: {error}")
        else:
            tell(name, "ok")

    if group == "identity":
        _identity(vpi, tell)
    elif group == "conversions":
        for source, target, backend in CONVERSIONS:
            attempt(f"{source} to {target} on {backend}", _convert, vpi, source, target, backend)
    else:
        for grid in (1, 2, 4, 8):
            attempt(f"grid {grid}", _flow, worker.Engine(vpi, group, "LOW", grid), 128, 128)
        for quality in ("LOW", "MEDIUM", "HIGH"):
            attempt("quality " + quality, _flow, worker.Engine(vpi, group, quality, 4), 128, 128)
        for spelling in worker.GRID_SPELLINGS:
            engine = worker.Engine(vpi, group, "LOW", 4)
            engine.choices = [{spelling: 4}]
            attempt("keyword " + spelling, _flow, engine, 128, 128)
        attempt("pitch-linear", _pitch_linear, worker, vpi, group)
        for width, height in SIZES:
            attempt(f"size {width}x{height}", _flow, worker.Engine(vpi, group, "LOW", 4), width, height)
        for quality, grid in (("HIGH", 1), ("LOW", 4)) if group == "OFA" else (("HIGH", 4),):
            fields = []
            for _ in range(2):
                field = _flow(worker.Engine(vpi, group, quality, grid), *_golden())
                fields.append(field.astype("<i2").tobytes())
            packed = base64.b64encode(zlib.compress(fields[0], 9)).decode()
            tell(
                f"golden {quality} {grid}",
                dict(GOLDEN, quality=quality, grid=grid, repeats=fields[0] == fields[1], field=packed),
            )


def _identity(vpi: Any, tell: Callable[[str, Any], None]) -> None:
    spec: Any = importlib.util.find_spec("vpi")
    tell("origin", Path(spec.origin).name)
    for owner in ("Backend", "Format", "OptFlowQuality"):
        tell(owner, [name for name in dir(getattr(vpi, owner)) if name[0].isupper()])
    tell("names", [name for name in dir(vpi) if not name.startswith("_")])
    for path in SIGNATURES:
        found = vpi
        for part in path.split("."):
            found = getattr(found, part, None)
        tell("signature " + path, None if found is None else (found.__doc__ or "")[:1500])


def _golden() -> Tuple[int, int, int, int]:
    return GOLDEN["width"], GOLDEN["height"], GOLDEN["shift"][0], GOLDEN["shift"][1]


def _flow(engine: Any, width: int, height: int, right: int = 0, down: int = 0) -> Any:
    first = engine.load(scene(width, height, 0, 0))
    return engine.flow(first, engine.load(scene(width, height, right, down)))


def _convert(vpi: Any, source: str, target: str, backend: str) -> None:
    numpy, stream, gray = importlib.import_module("numpy"), vpi.Stream(), scene(64, 64, 0, 0)
    wrapped = "BGR8" if source == "NV12_ER" else source  # a host array is one plane
    host = numpy.repeat(gray[:, :, None], 3, axis=2) if wrapped == "BGR8" else gray
    with stream:
        image = vpi.asimage(host, getattr(vpi.Format, wrapped))
        if wrapped != source:
            image = image.convert(getattr(vpi.Format, source), backend=vpi.Backend.CUDA)
        image.convert(getattr(vpi.Format, target), backend=getattr(vpi.Backend, backend))
    stream.sync()


def _pitch_linear(worker: Any, vpi: Any, name: str) -> None:
    engine = worker.Engine(vpi, name, "LOW", 4)
    gray = scene(128, 128, 0, 0)
    engine.shape = gray.shape
    image = vpi.asimage(gray, vpi.Format.Y8_ER)
    engine.flow(image, image)
