"""Optical flow by the engine in NVIDIA GPUs, through the driver's own library. Never run on hardware.

The engine (NVOF) is a circuit of its own beside the GPU's cores, in GPUs from Turing on. The driver brings the library;
nothing else is needed, neither PyTorch nor a CUDA toolkit. One session per clip, frames in order. The field of a pair
depends on the pairs before it in the clip (temporal hints, as in NVIDIA's own recipe), which makes it no less
reproducible: every clip begins anew.

Vectors are int16 with 5 fractional bits, in pixels of the input picture at every grid; a coarser grid than 1 is brought
to full size by repeating each vector. The engine's resolution is a quarter of a pixel (DeepStream, Gst-nvof page).
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import json
import re
import signal
import subprocess
import sys
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from araflow.core.errors import ClipError, SpecError, UnavailableError
from araflow.media.fields import FlowField, GrayFrame
from araflow.optical import Availability
from araflow.optical.backends import _blocks
from araflow.optical.backends._checks import checked
from araflow.optical.backends.nvof.api import Perf
from araflow.optical.backends.nvof.cuda_driver import CudaDriver, OpenLibrary
from araflow.optical.backends.nvof.hardware import DEVICE, Engine, newest_version, open_flow_library, spell
from araflow.optical.backends.nvof.session import Session, SessionSettings

ALGORITHMS = ("hardware",)
ONE_DEVICE = True

CostPlane = NDArray[np.uint8]
"""uint8, (height, width): how unsure the engine is of each vector; more is less sure."""

# accurate, balanced and fast differ in the engine's effort; fast is what NVIDIA's recipe for ActionRecognitionNet uses.
_PRESETS = {
    "fastest": SessionSettings(Perf.FAST, grid=4),
    "fast": SessionSettings(Perf.FAST, grid=1),
    "balanced": SessionSettings(Perf.MEDIUM, grid=1),
    "accurate": SessionSettings(Perf.SLOW, grid=1),
}
_PROBE_SIZE = 320, 240
_PATIENCE = 60.0
"""Seconds that a probe may take; a driver that does not come up can hang."""

open_library: OpenLibrary = ctypes.CDLL
"""Opens the driver's libraries. A test sets its fake here, before the first use; then call ``close``."""


def available() -> Availability:
    """Look for the engine, by opening a session on it in a short-lived process.

    This process initialises nothing: no CUDA context stays behind, and a driver that crashes or hangs is a reason.
    Where no driver is installed, no process is started.
    """
    try:
        CudaDriver(open_library)
        if open_library is not ctypes.CDLL:
            return probe()  # what a test has put there exists in this process alone
        return _probe_apart()
    except UnavailableError as error:
        return Availability(False, str(error))
    except Exception as error:
        return Availability(False, f"looking for it failed: {type(error).__name__}: {error}")


def probe(size: tuple[int, int] = _PROBE_SIZE) -> Availability:
    """Look for the engine in this process, which then holds a CUDA context until this returns.

    Args:
        size: Width and height in pixels of the session that is opened, and closed again.

    Returns:
        What was found, or the first thing that is missing: CUDA driver, GPU, library, symbol, version, engine, size.
    """
    try:
        with Engine(open_library) as engine:
            caps, name = engine.caps, engine.cuda.device_name(DEVICE)
            limits = f"{caps.smallest[0]}x{caps.smallest[1]} to {caps.largest[0]}x{caps.largest[1]}"
            if size[0] > caps.largest[0] or size[1] > caps.largest[1]:
                return Availability(False, f"{name}: the engine takes pictures of {limits}, not {size[0]}x{size[1]}")
            with Session(engine, *size, _PRESETS["fast"]):
                pass
            grids = ", ".join(map(str, caps.grids))
            return Availability(
                True,
                f"{name}: optical-flow engine, grids {grids}, pictures of {limits}, interface 2.0 of "
                f"{spell(engine.newest)}; this backend was never run on hardware",
            )
    except UnavailableError as error:
        return Availability(False, str(error))


@functools.cache
def _probe_apart(timeout: float = _PATIENCE) -> Availability:
    code = (
        "import json, sys; sys.path.insert(0, sys.argv[1]); from araflow.optical.backends import nvof; "
        "found = nvof.probe(); "
        "print(json.dumps([found.present, found.detail]))"
    )
    command = [sys.executable, "-c", code, str(Path(__file__).parents[4])]
    try:
        run = subprocess.run(
            command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=timeout
        )
    except subprocess.TimeoutExpired:
        return Availability(False, f"the GPU's driver did not answer within {timeout:g} s: see nvidia-smi")
    if run.returncode == 0:
        present, detail = json.loads(run.stdout.splitlines()[-1])
        return Availability(bool(present), str(detail))
    if -run.returncode in list(signal.Signals):
        how = f"was ended by {signal.Signals(-run.returncode).name}"
    else:
        how = f"failed: {(run.stderr.strip().splitlines() or ['no message'])[-1]}"
    return Availability(False, f"the process that looked for the optical-flow engine {how}: see nvidia-smi")


def parameters(algorithm: str, preset: str) -> dict[str, float | int | str]:
    """Return what is asked of the engine.

    ``grid`` is the one asked for: an engine of the Turing generation has 4 alone, which its vectors are then repeated
    from. ``software`` says which GPU it was.

    Raises:
        SpecError: Unknown algorithm or preset.
    """
    settings = _settings(algorithm, preset)
    return {
        "perf": settings.perf.name.lower(),
        "grid": settings.grid,
        "temporal_hints": int(settings.temporal_hints),
        "input_format": settings.input_format.name.lower(),
        "smallest": _blocks.SMALLEST,
    }


def _settings(algorithm: str, preset: str, *, cost: bool = False) -> SessionSettings:
    if algorithm not in ALGORITHMS:
        raise SpecError(f"optical.algorithm: nvof has no {algorithm!r}; allowed: {', '.join(ALGORITHMS)}")
    if preset not in _PRESETS:
        raise SpecError(f"optical.preset: {preset!r} is not allowed for {algorithm}; allowed: {', '.join(_PRESETS)}")
    chosen = _PRESETS[preset]
    return SessionSettings(chosen.perf, chosen.grid, chosen.temporal_hints, chosen.input_format, cost)


def software() -> str:
    """Return the GPU's name and the versions of driver and interface, without making a CUDA context."""
    return _software(open_library)


@functools.cache
def _software(opener: OpenLibrary) -> str:
    try:
        cuda = CudaDriver(opener)
        cuda.devices()
        interface = spell(newest_version(open_flow_library(opener)))
        return f"{cuda.device_name(DEVICE)}, NVIDIA driver {_driver_version()}, CUDA {cuda.version()}, NVOF {interface}"
    except UnavailableError as error:
        return f"none: {error}"


def _driver_version(source: Path = Path("/proc/driver/nvidia/version")) -> str:
    """Return the driver's version from its own file, such as ``570.86.15``."""
    try:
        found = re.search(r"\b\d{3,}\.\d+(?:\.\d+)?\b", source.read_text())
    except OSError:
        found = None
    return found.group() if found else "of unknown version"


def compute(frames: Iterable[GrayFrame], algorithm: str, preset: str) -> Iterator[FlowField]:
    """Yield the flow field of each pair of neighbouring frames; see ``araflow.optical.Backend``.

    Raises:
        ClipError: The frames are too small, too large, or not all of one size.
        SpecError: Unknown algorithm or preset.
        UnavailableError: The driver or the engine refused; the message says what, with the driver's own words.
    """
    with contextlib.closing(stream(frames, _settings(algorithm, preset))) as pairs:
        for field, _ in pairs:
            yield field


def compute_with_cost(
    frames: Iterable[GrayFrame], algorithm: str, preset: str
) -> Iterator[tuple[FlowField, CostPlane]]:
    """Yield each flow field with its cost plane; otherwise as ``compute``."""
    with contextlib.closing(stream(frames, _settings(algorithm, preset, cost=True))) as pairs:
        for field, cost in pairs:
            assert cost is not None
            yield field, cost


def stream(frames: Iterable[GrayFrame], settings: SessionSettings) -> Generator[tuple[FlowField, CostPlane | None]]:
    """Yield the field of each pair, and the cost plane if ``settings`` asks for it, from one session.

    Raises:
        ClipError, UnavailableError: As for ``compute``.
    """
    with contextlib.ExitStack() as stack:
        session: Session | None = None
        for index, frame in enumerate(checked(frames, _blocks.SMALLEST, ALGORITHMS[0])):
            if session is None:
                height, width = frame.shape
                session = stack.enter_context(_session(width, height, settings))
                padded = np.empty((session.height, session.width), np.uint8)
            _pad(frame, padded)
            session.upload(index % 2, padded)
            if index:
                session.execute((index - 1) % 2)
                field = _blocks.pixels(session.vectors(), session.grid, height, width)
                yield field, _enlarge(session.costs(), session.grid, height, width) if settings.cost else None


def _session(width: int, height: int, settings: SessionSettings) -> Session:
    engine = _engine()
    most = engine.caps.largest
    if width > most[0] or height > most[1]:
        raise ClipError(
            "frame-size", f"{width}x{height} frames; hardware takes at most {most[0]}x{most[1]} on this GPU"
        )
    return Session(engine, width, height, settings)


_engines: dict[OpenLibrary, Engine] = {}


def _engine() -> Engine:
    """Open the engine once per process: making the GPU's context takes longer than a short clip."""
    if open_library not in _engines:
        _engines[open_library] = Engine(open_library)
    return _engines[open_library]


def close() -> None:
    """Give back the GPU's context, if this process holds it; the next clip takes it again. A process's end does too."""
    while _engines:
        _engines.popitem()[1].close()


def _pad(frame: GrayFrame, into: NDArray[np.uint8]) -> None:
    """Copy a frame into the upper left of ``into`` and repeat its last column and row over the rest."""
    height, width = frame.shape
    into[:height, :width] = frame
    into[:height, width:] = frame[:, -1:]
    into[height:] = into[height - 1]


def _enlarge(cells: CostPlane, grid: int, height: int, width: int) -> CostPlane:
    """Repeat each cell over its pixels, and cut the padding off."""
    return np.ascontiguousarray(cells.repeat(grid, axis=0).repeat(grid, axis=1)[:height, :width])
