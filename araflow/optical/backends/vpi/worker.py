"""Talks to NVIDIA's VPI under the Python that VPI was built for; the backend beside it starts it as a script.

NVIDIA's module is one extension file for a Jetson's system Python (3.6 on JetPack 4, 3.8, 3.10, 3.12 later), so this
file keeps to what Python 3.6 reads, imports NumPy and vpi alone, and knows nothing of araflow.

Usage: ``python -I worker.py probe | serve | capture GROUP``. Never run on hardware.

``serve`` answers messages on stdin with messages on stdout. A message is a kind of four bytes, a length (unsigned, 4
bytes, little endian) and that many bytes:

    OPEN  JSON: engine, quality, grid, width, height, seconds    no answer
    FRAM  the frame, uint8, height x width                       NEXT (empty) at first, then FLOW: int16, 1/32 pixel
    FAIL  JSON: code, message (an answer to any message)         the process ends

The process ends when stdin closes, and kills itself where VPI hangs: SIGALRM needs neither Python nor its lock.
"""

# ruff: noqa: ANN401, UP006, UP035
# Python 3.6 has no other spelling of these types, and nothing here knows the types of vpi.

import importlib
import importlib.machinery
import importlib.util
import json
import os
import platform
import signal
import struct
import sys
from pathlib import Path
from typing import Any, BinaryIO, Callable, Dict, List, Tuple

HEADER = struct.Struct("<4sI")
START_SECONDS = 60
"""Importing vpi and making a CUDA context takes seconds on a Jetson; a minute means that it hangs."""
ENGINES = ("OFA", "NVENC")
"""Orin and Thor have the optical flow accelerator; Xavier has its video encoder's motion search."""
LUMA = {"OFA": "Y8_ER", "NVENC": "NV12_ER"}
"""What the engine reads, as full-range luma; with ``_BL`` behind it the block-linear layout that it insists on."""
GRID_SPELLINGS = ("gridsize", "gridSize")
"""The reference has the second, every public program the first; which one holds is found out by trying."""
OLDEST: Tuple[int, ...] = (1, 1)
"""The oldest one whose reference was read: https://docs.nvidia.com/vpi/1.1/group__VPI__OpticalFlowDense.html"""
NEEDED = ("asimage", "optflow_dense", "Backend", "Format", "OptFlowQuality", "Stream")


class VpiError(Exception):
    """What cannot be done, with a code that the parent can tell apart."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def version_of(vpi: Any) -> str:
    """Return VPI's version, such as "3.2.4", or nothing where the module does not tell."""
    return str(getattr(vpi, "__version__", ""))


def find_vpi() -> Any:
    """Import NVIDIA's module, told apart from the registry's unrelated "VPi" (GPIO for a Raspberry Pi).

    Raises:
        VpiError: no-module, not-nvidia, no-numpy, broken or too-old.
    """
    spec = importlib.util.find_spec("vpi")
    if spec is None:
        raise VpiError("no-module", "no module named vpi")
    origin = spec.origin or "a folder without code"
    if not origin.endswith(tuple(importlib.machinery.EXTENSION_SUFFIXES)):  # NVIDIA's is one compiled file
        raise VpiError("not-nvidia", origin)
    try:
        importlib.import_module("numpy")
    except Exception as error:
        raise VpiError("no-numpy", f"{type(error).__name__}: {error}") from error
    try:
        vpi = importlib.import_module("vpi")
    except Exception as error:  # another Python's build, a missing library, NumPy 2 with VPI before 3.2
        raise VpiError("broken", f"{origin}: {type(error).__name__}: {error}") from error
    missing = [name for name in NEEDED if not hasattr(vpi, name)]
    known = [name for name in ENGINES if hasattr(getattr(vpi, "Backend", None), name)]
    if not known and len(missing) > len(NEEDED) - 2:
        raise VpiError("not-nvidia", origin)
    parsed = OLDEST  # where no version is told; no page of NVIDIA's promises one
    version = version_of(vpi)
    if version:
        try:
            parsed = tuple(int(part) for part in version.split(".")[:2])
        except ValueError:
            raise VpiError("not-nvidia", f"{origin} (its version reads {version!r})") from None
    if parsed < OLDEST or missing:
        raise VpiError("too-old", f"VPI {version}" + (" without " + ", ".join(missing) if missing else ""))
    return vpi


def to_engine(vpi: Any, stream: Any, engine: str, gray: Any) -> Any:
    """Copy a frame (uint8, height x width) into an image that the engine reads.

    The way of NVIDIA's sample (BGR, converted by CUDA, re-laid by VIC): https://docs.nvidia.com/vpi/sample_optflow_dense.html
    """
    numpy = importlib.import_module("numpy")
    host = numpy.repeat(gray[:, :, None], 3, axis=2)
    with stream:
        wrapped = vpi.asimage(host, vpi.Format.BGR8)
        luma = wrapped.convert(getattr(vpi.Format, LUMA[engine]), backend=vpi.Backend.CUDA)
        blocks = luma.convert(getattr(vpi.Format, LUMA[engine] + "_BL"), backend=vpi.Backend.VIC)
    stream.sync()  # VPI reads the host's buffer until here
    return blocks


def read(image: Any) -> Any:
    """Return a copy of an image's content; before VPI 2 the lock and the view are two calls."""
    numpy = importlib.import_module("numpy")
    if hasattr(image, "rlock_cpu"):
        with image.rlock_cpu() as data:
            return numpy.array(data)
    with image.rlock():
        return numpy.array(image.cpu())


class Engine:
    """Dense flow on one engine. ``grid`` is the side of a block in pixels; NVENC knows 4 alone and is not told."""

    def __init__(self, vpi: Any, engine: str, quality: str, grid: int) -> None:
        self.vpi, self.name, self.grid = vpi, engine, grid
        self.backend = getattr(vpi.Backend, engine)
        self.quality = getattr(vpi.OptFlowQuality, quality)
        self.stream = vpi.Stream()
        self.choices: List[Dict[str, int]] = [{name: grid} for name in GRID_SPELLINGS] if engine == "OFA" else [{}]
        self.previous: Any = None
        self.shape = (0, 0)

    def load(self, gray: Any) -> Any:
        """Return the frame (uint8, height x width) as the engine reads it."""
        self.shape = gray.shape
        return to_engine(self.vpi, self.stream, self.name, gray)

    def flow(self, first: Any, second: Any) -> Any:
        """Return the vectors from the first image to the second: int16, (rows, columns, 2), 1/32 pixel.

        Raises:
            VpiError: no-grid (VPI before 2.3 on OFA) or shape.
        """
        numpy = importlib.import_module("numpy")
        motion = self._submit(first, second)
        self.stream.sync()
        field = read(motion)
        shape = (*(-(-side // self.grid) for side in self.shape), 2)
        if field.shape != shape or field.dtype != numpy.int16:
            raise VpiError("shape", f"{self.name} gave {field.dtype} {field.shape}, expected int16 {shape}")
        return field

    def _submit(self, first: Any, second: Any) -> Any:
        complaint = ""
        for choice in list(self.choices):
            try:
                with self.stream, self.backend:
                    motion = self.vpi.optflow_dense(first, second, quality=self.quality, **choice)
            except TypeError as error:
                complaint = str(error)
                continue
            self.choices = [choice]
            return motion
        raise VpiError("no-grid", f"optflow_dense takes no grid size: {complaint}")


def probe() -> Dict[str, Any]:
    """Find VPI and the first engine on which a 64x64 flow really runs.

    An engine's name in ``vpi.Backend`` says nothing of the device: x86 builds have it too.
    """
    vpi = find_vpi()
    numpy = importlib.import_module("numpy")
    found = {
        "version": version_of(vpi) or "of unknown version",
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "machine": platform.machine(),
        "model": model(),
    }
    refused = {}
    for name in ENGINES:
        if not hasattr(vpi.Backend, name):
            refused[name] = "not in this VPI"
            continue
        try:
            engine = Engine(vpi, name, "LOW", 4)
            image = engine.load(numpy.zeros((64, 64), numpy.uint8))
            engine.flow(image, image)
        except Exception as error:
            refused[name] = str(error) or type(error).__name__
        else:
            return dict(found, engine=name, spelling="".join(engine.choices[0]))
    reasons = "; ".join(f"{name}: {text}" for name, text in sorted(refused.items()))
    raise VpiError("no-engine", f"VPI {found['version']} on {found['model'] or found['machine']}: {reasons}")


def model() -> str:
    """Return what the device tree calls this device, such as "NVIDIA Jetson AGX Orin", or nothing."""
    try:
        return Path("/proc/device-tree/model").read_bytes().decode("utf-8", "replace").strip("\0\n ")
    except OSError:
        return ""


def receive(stream: BinaryIO) -> Tuple[bytes, bytes]:
    """Return a message's kind and content; nothing and nothing where the stream has ended."""
    header = stream.read(HEADER.size)
    if len(header) < HEADER.size:
        return b"", b""
    kind, length = HEADER.unpack(header)
    return kind, stream.read(length)


def serve(source: BinaryIO, answer: Callable[[bytes, bytes], None]) -> None:
    """Answer until the source closes."""
    kind, content = receive(source)
    if kind != b"OPEN":
        raise VpiError("protocol", f"expected OPEN, got {kind!r}")
    ask = json.loads(content.decode())
    vpi, numpy = find_vpi(), importlib.import_module("numpy")
    engine = Engine(vpi, ask["engine"], ask["quality"], ask["grid"])
    while True:
        signal.alarm(0)
        kind, content = receive(source)
        signal.alarm(ask["seconds"])
        if kind != b"FRAM" or len(content) != ask["height"] * ask["width"]:
            if not content:
                return
            raise VpiError("protocol", f"got {kind!r} with {len(content)} bytes")
        image = engine.load(numpy.frombuffer(content, numpy.uint8).reshape(ask["height"], ask["width"]))
        if engine.previous is None:
            answer(b"NEXT", b"")
        else:
            answer(b"FLOW", engine.flow(engine.previous, image).tobytes())
        engine.previous = image


def load_probes() -> Any:
    """Import ``probes.py``, which lies beside this file but, for a script run with -I, not on the path."""
    path = str(Path(__file__).resolve().parent / "probes.py")
    spec: Any = importlib.util.spec_from_file_location("_vpi_probes", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main(arguments: List[str]) -> int:
    """Run one mode; whatever libraries print goes to stderr, where it cannot be taken for an answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the parent decides what it means
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
    signal.alarm(START_SECONDS)
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)

    def answer(kind: bytes, content: bytes) -> None:
        output.write(HEADER.pack(kind, len(content)) + content)
        output.flush()

    def tell(name: str, value: Any) -> None:
        output.write(json.dumps([name, value]).encode() + b"\n")
        output.flush()
        signal.alarm(START_SECONDS)

    mode = arguments[0]
    try:
        if mode == "serve":
            serve(sys.stdin.buffer, answer)
        elif mode == "capture":
            load_probes().capture(sys.modules[__name__], arguments[1], tell)
        else:
            tell("found", probe())
    except BrokenPipeError:
        return 1
    except Exception as error:
        code = error.code if isinstance(error, VpiError) else "vpi"
        text = str(error) if isinstance(error, VpiError) else f"{type(error).__name__}: {error}"
        if mode == "serve":
            answer(b"FAIL", json.dumps({"code": code, "message": text}).encode())
        else:
            tell("refused", {"code": code, "message": text})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
