"""``araflow up`` in a process of its own: when it serves."""

import subprocess
import time
from pathlib import Path
from typing import Any


def until_it_serves(process: "subprocess.Popen[Any]", log: Path, seconds: float) -> None:
    """Wait until what ``araflow up`` says into ``log`` is that it serves; fail if it ends, or takes longer."""
    deadline = time.monotonic() + seconds
    while "serving; Ctrl-C ends it" not in log.read_text():
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)
