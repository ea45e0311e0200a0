"""What a Jetson answers to everything that our VPI backend relies on, as JSON for tests to replay.

``araflow doctor --vpi-capture FILE`` writes it. No such file is in the repository yet: never run on hardware.
"""

from __future__ import annotations

import base64
import datetime
import json
import subprocess
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from araflow import __version__
from araflow.core.errors import UnavailableError
from araflow.core.processes import Lost
from araflow.optical.backends import vpi
from araflow.optical.backends.vpi.process import WORKER

SCHEMA = 1
_GROUPS = ("identity", "conversions", "OFA", "NVENC")
"""Each asked in a process of its own, so that a crash costs the rest of one."""
_GROUP_SECONDS = 300


def capture() -> dict[str, Any]:
    """Ask the device.

    Returns:
        JSON-ready: ``schema``, ``araflow``, ``date`` (UTC), ``found`` (version, engine, spelling of the grid keyword,
        python, numpy, machine, model), and one mapping for each of ``identity`` (names and signatures),
        ``conversions``, ``OFA`` and ``NVENC`` (grids, qualities, keywords, sizes, golden fields): a question's name to
        ``"ok"`` or to what the refusal said. ``ended`` in a group says how its process ended early.

    Raises:
        UnavailableError: No VPI that runs is on this machine.
    """
    found = vpi.find()
    if not isinstance(found, vpi.Found):
        raise UnavailableError(f"--vpi-capture: {found}")
    groups = {group: _ask(found.python, group) for group in _GROUPS}
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    facts = {**found.facts, "engine": found.engine}
    return {"schema": SCHEMA, "araflow": __version__, "date": date, "found": facts, **groups}


def golden_fields(
    captured: Mapping[str, Any],
) -> dict[tuple[str, str, int], tuple[Mapping[str, Any], NDArray[np.int16]]]:
    """Return the fields that a device gave for a known picture.

    Args:
        captured: What ``capture`` returned.

    Returns:
        (engine, quality, grid) to: what was asked (width, height, shift as (right, down) in pixels, repeats), and the
        vectors, int16, (rows, columns, 2), in 1/32 pixel.
    """
    fields = {}
    for engine in _GROUPS[2:]:
        for name, golden in captured[engine].items():
            if name.startswith("golden "):
                data = np.frombuffer(zlib.decompress(base64.b64decode(golden["field"])), "<i2").astype(np.int16)
                grid = golden["grid"]
                shape = (-(-golden["height"] // grid), -(-golden["width"] // grid), 2)
                fields[engine, golden["quality"], grid] = (golden, data.reshape(shape))
    return fields


def _ask(python: str, group: str) -> dict[str, Any]:
    command = [python, "-I", str(WORKER), "capture", group]
    answers: dict[str, Any] = {}
    try:
        run = subprocess.run(
            command, capture_output=True, stdin=subprocess.DEVNULL, timeout=_GROUP_SECONDS, check=False
        )
        output, code = run.stdout, run.returncode
    except subprocess.TimeoutExpired as error:
        output, code = error.stdout or b"", None
    for line in output.splitlines():
        name, value = json.loads(line)
        answers[name] = value
    if code is None:
        answers["ended"] = f"no answer within {_GROUP_SECONDS} seconds"
    elif code < 0:
        answers["ended"] = str(Lost(timed_out=False, exit_code=code))
    return answers
