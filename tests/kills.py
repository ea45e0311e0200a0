"""Ends a run by SIGKILL at a chosen change to the disk, so that every moment of it can be tried, and tried again."""

import os
import signal
import sys
import traceback
from collections.abc import Callable

CHANGES = {"open", "os.rename", "os.mkdir", "os.link", "os.remove", "os.rmdir"}
"""Audit events; opening a file to read it counts, too."""


def in_a_child(work: Callable[[], object], kill_at: int | None = None) -> int:
    """Run in a forked process, and count its changes to the disk.

    Args:
        work: What to run.
        kill_at: The change just before which it is killed; ``None`` for none.

    Returns:
        The number of changes, or -9 if it was killed.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        count = 0

        def hook(event: str, _: object) -> None:
            nonlocal count
            if event in CHANGES:
                count += 1
                if count == kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)

        status = 1
        try:
            sys.addaudithook(hook)
            work()
            os.write(writer, count.to_bytes(8, "little"))
            status = 0
        except BaseException:
            traceback.print_exc()
            raise
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read()
    _, ended = os.waitpid(child, 0)
    if os.WIFSIGNALED(ended):
        return -os.WTERMSIG(ended)
    assert ended == 0, "the child says why"
    return int.from_bytes(said, "little")
