"""Optical flow by the engine in NVIDIA GPUs, through the driver's own library. Never run on hardware.

The engine (NVOF) is a circuit of its own beside the GPU's cores, in GPUs from Turing on. The driver brings the library;
nothing else is needed, neither PyTorch nor a CUDA toolkit. One session per clip, frames in order. The field of a pair
depends on the pairs before it in the clip (temporal hints, as in NVIDIA's own recipe), which makes it no less
reproducible: every clip begins anew.

Vectors are int16 with 5 fractional bits, in pixels of the input picture at every grid; a coarser grid than 1 is brought
to full size by repeating each vector. The engine's resolution is a quarter of a pixel (DeepStream, Gst-nvof page).

``api`` and ``cuda_driver`` are the two libraries as ctypes sees them, ``hardware`` what a process needs of them once,
``session`` what a clip needs; ``presence`` looks for the engine, ``fields`` computes.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Iterator

from araflow.core.errors import UnavailableError
from araflow.media.fields import FlowField, GrayFrame
from araflow.optical import Availability
from araflow.optical.backends import _blocks
from araflow.optical.backends._checks import check_setting
from araflow.optical.backends.nvof import fields, presence
from araflow.optical.backends.nvof.api import Perf
from araflow.optical.backends.nvof.cuda_driver import OpenLibrary
from araflow.optical.backends.nvof.hardware import Engine
from araflow.optical.backends.nvof.session import SessionSettings

# accurate, balanced and fast differ in the engine's effort; fast is what NVIDIA's recipe for ActionRecognitionNet uses.
_SESSIONS = {
    "fastest": SessionSettings(Perf.FAST, grid=4),
    "fast": SessionSettings(Perf.FAST, grid=1),
    "balanced": SessionSettings(Perf.MEDIUM, grid=1),
    "accurate": SessionSettings(Perf.SLOW, grid=1),
}
ALGORITHMS = ("hardware",)
PRESETS = {"hardware": tuple(_SESSIONS)}
PREFERENCE = {"auto": 60}
ONE_DEVICE = True

open_library: OpenLibrary = ctypes.CDLL
"""Opens the driver's libraries. A test sets its fake here, before the first use; then call ``close``."""
_engines: dict[OpenLibrary, Engine] = {}


def available() -> Availability:
    """Look for the engine, by opening a session on it in a short-lived process. Never raises."""
    return presence.available(open_library)


def software() -> str:
    """Return the GPU's name and the versions of driver and interface, without making a CUDA context."""
    return presence.software(open_library)


def parameters(algorithm: str, preset: str) -> dict[str, float | int | str]:
    """Return what is asked of the engine.

    ``grid`` is the one asked for: an engine of the Turing generation has 4 alone, which its vectors are then repeated
    from. ``software`` says which GPU it was.

    Raises:
        SpecError: Unknown algorithm or preset.
    """
    check_setting("nvof", algorithm, preset, ALGORITHMS, PRESETS)
    settings = _SESSIONS[preset]
    return {
        "perf": settings.perf.name.lower(),
        "grid": settings.grid,
        "temporal_hints": int(settings.temporal_hints),
        "input_format": settings.input_format.name.lower(),
        "smallest": _blocks.SMALLEST,
    }


def compute(frames: Iterable[GrayFrame], algorithm: str, preset: str) -> Iterator[FlowField]:
    """Yield the flow field of each pair of neighbouring frames; see ``araflow.optical.Backend``.

    Raises:
        ClipError: ``frame-size``: the frames are too small or too large; ``size-change``: not all are of one size.
        SpecError: Unknown algorithm or preset.
        UnavailableError: The driver or the engine refused; the message says what, with the driver's own words.
    """
    check_setting("nvof", algorithm, preset, ALGORITHMS, PRESETS)
    yield from fields.stream(_engine, frames, _SESSIONS[preset])


def _engine() -> Engine:
    """Open the engine once per process: making the GPU's context takes longer than a short clip."""
    if open_library not in _engines:
        try:
            _engines[open_library] = Engine(open_library)
        except UnavailableError as error:
            raise UnavailableError(f"optical.backend: nvof cannot run here: {error}") from error
    return _engines[open_library]


def close() -> None:
    """Give back the GPU's context, if this process holds it; the next clip takes it again. A process's end does too."""
    while _engines:
        _engines.popitem()[1].close()
