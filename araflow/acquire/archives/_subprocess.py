"""Run a tool that is not trusted: it cannot ask, cannot fill the disk, and does not outlive the call."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

_STALL_S = 900.0
"""Seconds without a byte written, after which a tool is taken to hang. Skipping to the end of a large solid archive is
the longest that a working one is silent: about 7 GB at 20 MB/s."""


class StoppedError(Exception):
    """The tool was stopped; the message says why. Never leaves this package."""


def run(command: list[str], folder: Path, limit: int) -> str:
    """Run a tool to its end, in an own process group that is killed in any case.

    Args:
        command: Program and arguments; no shell sees them.
        folder: Where it writes; it runs there. Its messages go to a file beside it.
        limit: Bytes in all that it may write.

    Returns:
        Its exit status and last message, for a person.

    Raises:
        StoppedError: It wrote more than ``limit``, hung, or could not be started.
    """
    log = folder.parent / "log"
    with log.open("wb") as messages:
        try:
            process = subprocess.Popen(
                command,
                cwd=folder,
                env={**os.environ, "LC_ALL": "C.UTF-8"},  # names beyond ASCII stay what they are
                stdin=subprocess.DEVNULL,
                stdout=messages,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # no terminal either: a password prompt fails instead of waiting
            )
        except OSError as error:
            raise StoppedError(f"could not be started: {error}") from error
        try:
            status = _watch(process, folder.parent, limit)
        finally:
            # The group, so that nothing that it has started goes on writing.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return f"exit status {status}{_last_line(log)}"


def _watch(process: subprocess.Popen[bytes], folder: Path, limit: int) -> int:
    """Wait for the end, looking at the disk in between; looking takes at most a tenth of the time."""
    pause, before, since = 0.1, -1, time.monotonic()
    while True:
        try:
            return process.wait(pause)
        except subprocess.TimeoutExpired:
            began = time.monotonic()
            if (size := _size(folder)) > limit:
                raise StoppedError(
                    f"stopped: it wrote more than the {limit:,} bytes that were to be expected"
                ) from None
            if size != before:
                before, since = size, began
            if began - since > _STALL_S:
                raise StoppedError(f"stopped: it wrote nothing for {_STALL_S:.0f} s") from None
            pause = max(0.1, 10 * (time.monotonic() - began))


def _size(folder: Path) -> int:
    """Return the bytes of all files below a folder."""
    size = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):  # moved meanwhile
                size += Path(root, name).lstat().st_size
    return size


def _last_line(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 2000))
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    return f", {lines[-1][-200:]!r}" if lines else ""
