"""Optical flow by the engine of an NVIDIA Jetson, through VPI. Never run on hardware; tested against a fake.

Orin and Thor have an optical flow accelerator (OFA); Xavier has the motion search of its video encoder (NVENC), which
gives one vector per 4x4 pixels. NVIDIA builds its ``vpi`` module for one Python, the system's, so the work is done by a
process under that Python (``worker.py``), one per clip. ``ARAFLOW_VPI_PYTHON`` names another Python.

``presence`` looks for VPI, ``process`` is our side of the worker; ``capture`` and ``probes`` ask a real device what it
accepts.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

import numpy as np

from araflow.core.errors import UnavailableError
from araflow.media.fields import FlowField, GrayFrame
from araflow.optical import Availability
from araflow.optical.backends import _blocks
from araflow.optical.backends._checks import check_setting, checked
from araflow.optical.backends.vpi.presence import Found, find
from araflow.optical.backends.vpi.process import Worker

_QUALITIES = {"fastest": ("LOW", 4), "fast": ("LOW", 1), "balanced": ("MEDIUM", 1), "accurate": ("HIGH", 1)}
"""VPI's quality, and the side of a block in pixels, which NVENC does not let one choose."""
_NVENC_GRID = 4
_LEVELS = 1
"""Images, not pyramids, as in NVIDIA's Python sample: https://docs.nvidia.com/vpi/sample_optflow_dense.html"""
ALGORITHMS = ("hardware",)
PRESETS = {"hardware": tuple(_QUALITIES)}
PREFERENCE = {"auto": 50}
ONE_DEVICE = True


def available() -> Availability:
    """Report VPI's version and engine, or which of the things that it takes is missing. Starts a process, once."""
    found = find()
    return Availability(isinstance(found, Found), str(found))


def software() -> str:
    """Return VPI's version, the engine, and the device and NumPy that computed."""
    found = find()
    return f"{found}, NumPy {found.facts['numpy']}" if isinstance(found, Found) else "no VPI"


def parameters(algorithm: str, preset: str) -> dict[str, float | int | str]:
    """Return what decides the result on this device; without one, what an Orin would take.

    NVENC has one grid, so that ``fastest`` and ``fast`` are the same there.

    Raises:
        SpecError: Unknown algorithm or preset.
    """
    check_setting("vpi", algorithm, preset, ALGORITHMS, PRESETS)
    found = find()
    engine = found.engine if isinstance(found, Found) else "OFA"
    quality, grid = _QUALITIES[preset]
    grid = grid if engine == "OFA" else _NVENC_GRID
    return {"engine": engine, "quality": quality, "grid": grid, "levels": _LEVELS}


def compute(frames: Iterable[GrayFrame], algorithm: str, preset: str) -> Iterator[FlowField]:
    """Yield the flow field of each pair of neighbouring frames; see ``araflow.optical.Backend``.

    Raises:
        SpecError: Unknown algorithm or preset.
        UnavailableError: VPI is not on this machine; or its worker process was refused something, crashed or hung.
        ClipError: ``frame-size``: below 16 pixels on a side; ``size-change``: not all frames are of one size.
    """
    settings = parameters(algorithm, preset)
    found = find()
    if not isinstance(found, Found):
        raise UnavailableError(f"optical.backend: vpi cannot run here: {found}")
    grid = int(settings["grid"])
    with contextlib.ExitStack() as stack:
        worker: Worker | None = None
        for frame in checked(frames, _blocks.SMALLEST, algorithm):
            padded = _blocks.pad(frame)
            if worker is None:
                shape = {"height": padded.shape[0], "width": padded.shape[1]}
                worker = stack.enter_context(Worker(found.python, {**settings, **shape}))
            answer = worker.ask(padded)
            if answer is not None:
                vectors = np.frombuffer(answer, np.int16)
                blocks = vectors.reshape(-(-padded.shape[0] // grid), -(-padded.shape[1] // grid), 2)
                yield _blocks.pixels(blocks, grid, *frame.shape)
