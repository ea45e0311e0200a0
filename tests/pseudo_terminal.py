"""``araflow`` in a terminal, as a person has it."""

import contextlib
import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping
from pathlib import Path


def in_terminal(
    folder: Path, width: int, environment: Mapping[str, str], *arguments: str, piped: bool = False
) -> tuple[int, str]:
    """Run ``araflow`` in a terminal; return its exit status and all that it wrote there.

    Args:
        folder: Where it runs.
        width: Columns of the terminal.
        environment: Variables.
        arguments: Its own.
        piped: Standard output goes elsewhere, and is not returned.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    own = {name: value for name, value in environment.items() if name not in ("COLUMNS", "LINES")}
    command = [sys.executable, "-m", "araflow", *arguments]
    out = subprocess.DEVNULL if piped else theirs
    with subprocess.Popen(
        command, cwd=folder, stdin=theirs, stdout=out, stderr=theirs, env=own | {"TERM": "xterm"}
    ) as run:
        os.close(theirs)
        said = b""
        with contextlib.suppress(OSError):  # how a terminal ends on Linux
            while more := os.read(ours, 65536):
                said += more
    os.close(ours)
    return run.returncode, said.decode()
