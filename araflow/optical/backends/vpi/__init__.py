"""Optical flow by the engine of an NVIDIA Jetson, through VPI. Never run on hardware; tested against a fake.

Orin and Thor have an optical flow accelerator (OFA); Xavier has the motion search of its video encoder (NVENC), which
gives one vector per 4x4 pixels. NVIDIA builds its ``vpi`` module for one Python, the system's, so the work is done by a
process under that Python (``worker.py``), one per clip. ``ARAFLOW_VPI_PYTHON`` names another Python.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from araflow.core.errors import SpecError, UnavailableError
from araflow.media.fields import FlowField, GrayFrame
from araflow.optical import Availability
from araflow.optical.backends import _blocks
from araflow.optical.backends._checks import checked
from araflow.optical.backends.vpi.process import WORKER, Worker

ALGORITHMS = ("hardware",)
"""What is offered, the default first."""
ONE_DEVICE = True
PYTHON = "ARAFLOW_VPI_PYTHON"
"""Environment variable that names the Python to use, and no other."""
_CANDIDATES = ("/usr/bin/python3", "/usr/bin/python3.10", "/usr/bin/python3.8", "/usr/bin/python3.12")
"""The system's own first, then those that JetPack 6, 5 and 7 build the module for."""
_PRESETS = {"fastest": ("LOW", 4), "fast": ("LOW", 1), "balanced": ("MEDIUM", 1), "accurate": ("HIGH", 1)}
"""VPI's quality, and the side of a block in pixels, which NVENC does not let one choose."""
_NVENC_GRID = 4
_LEVELS = 1
"""Images, not pyramids, as in NVIDIA's Python sample: https://docs.nvidia.com/vpi/sample_optflow_dense.html"""
_PROBE_SECONDS = 90
_REMEDIES = {
    "not-nvidia": "finds a module vpi that is not NVIDIA's: {}; pip uninstall VPi there, NVIDIA's comes with JetPack",
    "no-numpy": "has NVIDIA's vpi but no NumPy ({}): sudo apt install python3-numpy",
    "broken": "cannot import its vpi: {}; it takes the vpi package of that Python, and NumPy below 2 before VPI 3.2",
    "too-old": "has {}; VPI 1.1 (JetPack 4.6) or newer is needed",
    "no-engine": "has {}; it takes a Jetson Xavier, Orin or Thor (on a PC with an NVIDIA GPU use nvof)",
}
_INSTALL = "on a Jetson with JetPack 6: sudo apt install python3.10-vpi3; VPI has a flow engine on Jetson alone"


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """A Python with NVIDIA's VPI, and an engine on which it really ran.

    Attributes:
        python: Path of the interpreter.
        engine: ``OFA`` or ``NVENC``.
        facts: What the worker's probe told: version, spelling, python, numpy, machine, model.
    """

    python: str
    engine: str
    facts: Mapping[str, str]

    def __str__(self) -> str:
        facts = self.facts
        where = f" of {facts['model']}" if facts["model"] else ""
        return f"VPI {facts['version']} on {self.engine}{where}, by {self.python} ({facts['python']})"


def find() -> Found | str:
    """Look for VPI under the system's Pythons, once per process and setting.

    Returns:
        What was found, or the reason why there is none and the remedy.
    """
    return _find(os.environ.get(PYTHON, ""))


@functools.lru_cache(maxsize=8)
def _find(chosen: str) -> Found | str:
    if chosen and not shutil.which(chosen):
        return f"{PYTHON} names {chosen}, which is not there or cannot be run"
    pythons = [chosen] if chosen else [path for path in _CANDIDATES if shutil.which(path)]
    reasons, seen = [], set()
    for python in pythons:
        real = os.path.realpath(shutil.which(python) or python)
        if real in seen:
            continue
        seen.add(real)
        code, content = _probe(python)
        if code == "found":
            return Found(python, content.pop("engine"), content)
        if code != "no-module":
            reasons.append(f"{python} {_REMEDIES.get(code, 'cannot tell whether it has vpi: {}').format(content)}")
    if reasons:
        return "; ".join(reasons)
    return f"no NVIDIA vpi module under {', '.join(pythons) or 'the system Python, of which there is none'}; {_INSTALL}"


def _probe(python: str) -> tuple[str, Any]:
    """Return ``found`` and the facts, or the worker's code and its message."""
    command = [python, "-I", str(WORKER), "probe"]
    try:
        run = subprocess.run(
            command, capture_output=True, stdin=subprocess.DEVNULL, timeout=_PROBE_SECONDS, check=False, text=True
        )
        name, content = json.loads(run.stdout)
    except subprocess.TimeoutExpired:
        return "unknown", f"it did not answer within {_PROBE_SECONDS} seconds"
    except (OSError, ValueError) as error:
        crashed = isinstance(error, ValueError)
        return "unknown", f"the probe ended with status {run.returncode}: {run.stderr[-300:]}" if crashed else str(
            error
        )
    return ("found", content) if name == "found" else (content["code"], content["message"])


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
    if algorithm not in ALGORITHMS:
        raise SpecError(f"optical.algorithm: vpi has no {algorithm!r}; allowed: {', '.join(ALGORITHMS)}")
    if preset not in _PRESETS:
        raise SpecError(f"optical.preset: {preset!r} is not allowed for {algorithm}; allowed: {', '.join(_PRESETS)}")
    found = find()
    engine = found.engine if isinstance(found, Found) else "OFA"
    quality, grid = _PRESETS[preset]
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
