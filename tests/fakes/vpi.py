"""A fake of NVIDIA's ``vpi`` module, for machines without a Jetson; strict wherever the real one is not known.

It is imported as ``vpi`` by the worker under test, through ``vpi_python.py``. The environment says what to be:

    FAKE_VPI_VERSION   1.1, 2.4, 3.2 or 4.0: which names of vpi_surface.yaml there are
    FAKE_VPI_DEVICE    orin, xavier or pc: which engine really runs
    FAKE_VPI_REPORTS   what ``__version__`` reads, where it is not the version; nothing: there is none
    FAKE_VPI_KEYWORD   gridsize or gridSize
    FAKE_VPI_FAULT     crash, hang or refuse, then a colon and at which flow it happens (the probe's is the first)
    FAKE_VPI_CAPTURE   a file that ``araflow doctor --vpi-capture`` wrote: be that device

Work is queued and done by ``Stream.sync``, which is when a buffer that was changed or freed meanwhile is noticed.
"""

import base64
import contextlib
import json
import os
import runpy
import signal
import sys
import time
import weakref
import zlib
from pathlib import Path

import numpy as np
import yaml
from block_flow import vectors

SURFACE = yaml.safe_load((Path(__spec__.loader.path).parent / "vpi_surface.yaml").read_text())
_CAPTURE = os.environ.get("FAKE_VPI_CAPTURE")
_CAPTURED = json.loads(Path(_CAPTURE).read_text()) if _CAPTURE else None
_FACTS = _CAPTURED["found"] if _CAPTURED else {}
_VERSION = _FACTS.get("version") or os.environ.get("FAKE_VPI_VERSION", "3.2") + ".4"
_DEVICE = {"OFA": "orin", "NVENC": "xavier"}.get(_FACTS.get("engine"), os.environ.get("FAKE_VPI_DEVICE", "orin"))
_KEYWORD = _FACTS.get("spelling") or os.environ.get("FAKE_VPI_KEYWORD", "gridsize")
_FAULT, _, _AT = os.environ.get("FAKE_VPI_FAULT", "").partition(":")
_flows = 0
_backends, _streams = [], []

os.write(1, b"NvMMLite: a banner, as NVIDIA's libraries print them to stdout\n")


def _number(version):
    return tuple(int(part) for part in version.split(".")[:2])


def has(entry, version=_VERSION):
    """Whether a version has what an entry of the surface describes."""
    return _number(entry.get("since", "0.0")) <= _number(version) <= _number(entry.get("until", "99.0"))


def _members(owner):
    return [
        name.split(".")[1] for name, entry in SURFACE["names"].items() if name.startswith(owner + ".") and has(entry)
    ]


def _check(name, given):
    """Refuse arguments that the surface does not know, as pybind11 does."""
    known = [_KEYWORD if each == "GRID" else each for each in SURFACE["names"][name]["parameters"]]
    since = SURFACE["names"][name].get("grid_since", "0.0")
    if _number(_VERSION) < _number(since):
        known = [each for each in known if each != _KEYWORD]
    unknown = set(given) - set(known)
    if unknown:
        raise TypeError(f"{name}(): incompatible function arguments: {', '.join(sorted(unknown))}")


class _Named:
    def __init__(self, name):
        self.name = name

    def __repr__(self):
        return self.name


class _Backend(_Named):
    def __enter__(self):
        _backends.append(self)

    def __exit__(self, *_):
        _backends.pop()


def _enumeration(name, kind):
    return type(name, (), {each: kind(each) for each in _members(name)})


Backend = _enumeration("Backend", _Backend)
Format = _enumeration("Format", _Named)
OptFlowQuality = _enumeration("OptFlowQuality", _Named)


class Stream:
    """A queue of work."""

    def __init__(self):
        self._queue = []

    def __enter__(self):
        _streams.append(self)
        return self

    def __exit__(self, *_):
        _streams.pop()

    def sync(self):
        """Do all that is queued."""
        while self._queue:
            self._queue.pop(0)()


def _submit(work):
    if not _streams:
        raise RuntimeError("fake: work outside a stream, which nothing will wait for")
    _streams[-1]._queue.append(work)


class Image:
    """A picture: its content is there once the stream that makes it is synchronised."""

    def __init__(self, format, size, content=None):
        self.format, self.size = format, size
        self._content, self._host, self._locked = content, None, False

    def _get(self):
        if self._host is not None:
            array = self._host()
            if array is None:
                raise RuntimeError("fake: the wrapped buffer was freed before the stream was synchronised")
            if zlib.crc32(array.tobytes()) != self._seal:
                raise RuntimeError("fake: the wrapped buffer was changed before the stream was synchronised")
            return array
        if self._content is None:
            raise RuntimeError("fake: read before the stream was synchronised")
        return self._content

    def convert(self, format, **given):
        """Queue a conversion."""
        _check("Image.convert", given)
        backend = given.get("backend") or (_backends[-1] if _backends else None)
        step = {"from": str(self.format), "to": str(format), "backend": str(backend)}
        known = [each for each in SURFACE["conversions"] if {key: each[key] for key in step} == step and has(each)]
        if not known:
            raise RuntimeError(f"VPI_ERROR_NOT_IMPLEMENTED: {step['from']} to {step['to']} on {step['backend']}")
        result = Image(format, self.size)

        def work():
            source = self._get()
            if str(self.format) == "BGR8":
                source = np.rint(source @ np.array([0.114, 0.587, 0.299])).astype(np.uint8)
            result._content = source.copy()

        _submit(work)
        return result

    @contextlib.contextmanager
    def rlock(self):
        """Lock for reading; ``cpu`` gives the content meanwhile."""
        self._view = self._get().copy()
        self._locked = True
        try:
            yield
        finally:
            self._locked = False
            self._view.fill(0x7F)  # what is kept without copying is garbage, as on a device

    def cpu(self):
        """Return the locked content."""
        if not self._locked:
            raise RuntimeError("fake: read without a lock")
        return self._view

    @contextlib.contextmanager
    def rlock_cpu(self):
        """Lock for reading, and give the content."""
        with self.rlock():
            yield self._view


def asimage(input, format):
    """Wrap a host array, which must stay as it is until the stream is synchronised."""
    shape = {"BGR8": 3, "U8": 2, "Y8_ER": 2}.get(str(format))
    if shape is None or input.dtype != np.uint8 or input.ndim != shape or not input.flags.c_contiguous:
        raise RuntimeError(f"VPI_ERROR_INVALID_IMAGE_FORMAT: {input.dtype} {input.shape} as {format}")
    image = Image(format, (input.shape[1], input.shape[0]))
    image._host, image._seal = weakref.ref(input), zlib.crc32(input.tobytes())
    return image


def optflow_dense(ref, frame, **given):
    """Queue the flow from ``ref`` to ``frame``."""
    global _flows
    _check("optflow_dense", given)
    backend = str(given.get("backend") or (_backends[-1] if _backends else "DEFAULT"))
    runs = {"orin": "OFA", "xavier": "NVENC"}.get(_DEVICE)
    if backend not in ("OFA", "NVENC"):
        raise RuntimeError(f"VPI_ERROR_NOT_IMPLEMENTED: dense optical flow on {backend}")
    if backend != runs:
        where = "dGPU" if _DEVICE == "pc" else _DEVICE
        raise RuntimeError(f"VPI_ERROR_INVALID_OPERATION: {backend} not available on {where}")
    if backend == "NVENC" and _KEYWORD in given:
        raise RuntimeError("VPI_ERROR_INVALID_ARGUMENT: NVENC has no grid size")
    wanted = {"OFA": "Y8_ER_BL", "NVENC": "NV12_ER_BL"}[backend]
    if (str(ref.format), str(frame.format)) != (wanted, wanted) or ref.size != frame.size:
        raise RuntimeError(f"VPI_ERROR_INVALID_IMAGE_FORMAT: {backend} takes {wanted}, not {ref.format} {ref.size}")
    grid = given.get(_KEYWORD, 4)
    if grid not in (1, 2, 4, 8) or str(given.get("quality", "HIGH")) not in _members("OptFlowQuality"):
        raise RuntimeError(f"VPI_ERROR_INVALID_ARGUMENT: {given}")
    told = (_CAPTURED or {}).get(backend, {}).get("size {}x{}".format(*ref.size))
    fits = min(ref.size) >= 64 and not any(side % 16 for side in ref.size)
    if told != "ok" and (told or not fits):
        raise RuntimeError(f"VPI_ERROR_INVALID_ARGUMENT: {ref.size[0]}x{ref.size[1]} is no legal size")
    _flows += 1
    if _FAULT and _flows == int(_AT):
        _fail()
    result = Image(_Named("2S16_BL"), tuple(-(-side // grid) for side in ref.size))

    def work():
        first, second = ref._get(), frame._get()
        result._content = _recorded(backend, str(given.get("quality", "HIGH")), grid, first, second)
        if result._content is None:
            result._content = vectors(first, second, grid)

    _submit(work)
    return result


def _fail():
    if _FAULT == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif _FAULT == "hang":
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        time.sleep(1000)
    raise RuntimeError("VPI_ERROR_INTERNAL: the engine says no")


def _recorded(backend, quality, grid, first, second):
    """The field that the captured device gave for this pair, or nothing."""
    golden = (_CAPTURED or {}).get(backend, {}).get(f"golden {quality} {grid}")
    if golden is None:
        return None
    scene = runpy.run_path(str(Path(sys.argv[0]).with_name("probes.py")))["scene"]
    for picture, shift in ((first, (0, 0)), (second, golden["shift"])):
        if not np.array_equal(picture, scene(golden["width"], golden["height"], *shift)):
            return None
    field = np.frombuffer(zlib.decompress(base64.b64decode(golden["field"])), "<i2").astype(np.int16)
    return field.reshape(-(-golden["height"] // grid), -(-golden["width"] // grid), 2)


for _name, _entry in SURFACE["names"].items():  # what this version does not have is not there
    if not has(_entry) and _name.startswith("Image."):
        delattr(Image, _name.split(".")[1])

if os.environ.get("FAKE_VPI_REPORTS") != "nothing":
    __version__ = os.environ.get("FAKE_VPI_REPORTS", _VERSION)
