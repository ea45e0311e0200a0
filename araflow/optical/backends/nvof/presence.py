"""Whether there is an engine, and what it is: asked in a process of its own, since drivers can crash and hang."""

from __future__ import annotations

import ctypes
import functools
import json
import re
import subprocess
import sys
from pathlib import Path

from araflow.core.errors import UnavailableError
from araflow.core.processes import Lost
from araflow.optical import Availability
from araflow.optical.backends.nvof.api import Perf
from araflow.optical.backends.nvof.cuda_driver import CudaDriver, OpenLibrary
from araflow.optical.backends.nvof.hardware import DEVICE, Engine, newest_version, open_flow_library, spell
from araflow.optical.backends.nvof.session import Session, SessionSettings

_SIZE = 320, 240
_PATIENCE = 60.0
"""Seconds that a probe may take; a driver that does not come up can hang."""
_PROBE = """
import ctypes, json, sys
sys.path.insert(0, sys.argv[1])
from araflow.optical.backends.nvof import presence
found = presence.probe(ctypes.CDLL)
print(json.dumps([found.present, found.detail]))
"""


def available(open_library: OpenLibrary) -> Availability:
    """Look for the engine, by opening a session on it in a short-lived process. Never raises.

    This process initialises nothing: no CUDA context stays behind, and a driver that crashes or hangs is a reason.
    Where no driver is installed, no process is started.

    Args:
        open_library: Opens the driver's libraries; a fake exists in this process alone, and is asked here.
    """
    try:
        CudaDriver(open_library)
        return probe_apart() if open_library is ctypes.CDLL else probe(open_library)
    except UnavailableError as error:
        return Availability(False, str(error))
    except Exception as error:
        return Availability(False, f"looking for it failed: {type(error).__name__}: {error}")


def probe(open_library: OpenLibrary, size: tuple[int, int] = _SIZE) -> Availability:
    """Look for the engine in this process, which then holds a CUDA context until this returns.

    Args:
        open_library: Opens the driver's libraries.
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
            with Session(engine, *size, SessionSettings(Perf.FAST, grid=1)):
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
def probe_apart(timeout: float = _PATIENCE) -> Availability:
    """Run ``probe`` on the real libraries in a process of its own, once.

    Args:
        timeout: Seconds to wait for it.
    """
    command = [sys.executable, "-c", _PROBE, str(Path(__file__).parents[4])]
    try:
        run = subprocess.run(
            command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=timeout
        )
    except subprocess.TimeoutExpired:
        return Availability(False, f"the GPU's driver did not answer within {timeout:g} s: see nvidia-smi")
    if run.returncode == 0:
        present, detail = json.loads(run.stdout.splitlines()[-1])
        return Availability(bool(present), str(detail))
    if run.returncode < 0:
        how = f"was {Lost(timed_out=False, exit_code=run.returncode)}"
    else:
        how = f"failed: {(run.stderr.strip().splitlines() or ['no message'])[-1]}"
    return Availability(False, f"the process that looked for the optical-flow engine {how}: see nvidia-smi")


@functools.cache
def software(open_library: OpenLibrary) -> str:
    """Return the GPU's name and the versions of driver and interface, without making a CUDA context.

    Args:
        open_library: Opens the driver's libraries.
    """
    try:
        cuda = CudaDriver(open_library)
        cuda.devices()
        interface = spell(newest_version(open_flow_library(open_library)))
        return f"{cuda.device_name(DEVICE)}, NVIDIA driver {driver_version()}, CUDA {cuda.version()}, NVOF {interface}"
    except UnavailableError as error:
        return f"none: {error}"


def driver_version(source: Path = Path("/proc/driver/nvidia/version")) -> str:
    """Return the driver's version from its own file, such as ``570.86.15``."""
    try:
        found = re.search(r"\b\d{3,}\.\d+(?:\.\d+)?\b", source.read_text())
    except OSError:
        found = None
    return found.group() if found else "of unknown version"
