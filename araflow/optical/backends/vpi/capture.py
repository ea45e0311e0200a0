"""What a Jetson answers to everything that our VPI backend relies on, as JSON for tests to replay.

``araflow doctor --vpi-capture FILE`` writes it. No such file is in the repository yet: never run on hardware.
"""

from __future__ import annotations

import datetime
import json
import subprocess
from typing import Any

from araflow import __version__
from araflow.core.errors import UnavailableError
from araflow.core.processes import Lost
from araflow.optical.backends.vpi.presence import Found, find
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
    found = find()
    if not isinstance(found, Found):
        raise UnavailableError(f"--vpi-capture: {found}")
    groups = {group: _ask(found.python, group) for group in _GROUPS}
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    facts = {**found.facts, "engine": found.engine}
    return {"schema": SCHEMA, "araflow": __version__, "date": date, "found": facts, **groups}


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
