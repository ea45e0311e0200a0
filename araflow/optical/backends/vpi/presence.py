"""Which of the system's Pythons has NVIDIA's VPI, and the engine on which it runs; or why there is none."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from typing import Any

from araflow.optical.backends.vpi.process import WORKER

PYTHON = "ARAFLOW_VPI_PYTHON"
"""Environment variable that names the Python to use, and no other."""
_CANDIDATES = ("/usr/bin/python3", "/usr/bin/python3.10", "/usr/bin/python3.8", "/usr/bin/python3.12")
"""The system's own first, then those that JetPack 6, 5 and 7 build the module for."""
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
