"""Ends a run by SIGKILL at a chosen moment, so that every moment of it can be tried, and tried again.

A moment lies before each change to the disk, and after each rename and each ``fsync``.
"""

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

CHANGES = {"open", "os.rename", "os.mkdir", "os.link", "os.remove", "os.rmdir"}
"""Audit events; opening a file to read it counts, too."""


def in_a_child(work: Callable[[], object], kill_at: int | str | None = None) -> int:
    """Run in a forked process, and count its moments.

    Args:
        work: What to run.
        kill_at: The moment at which it is killed, from 1 on, or by its name in ``moments``; ``None`` for none.

    Returns:
        The number of moments, or -9 if it was killed.
    """
    said = _fork(work, kill_at)
    return -signal.SIGKILL if said is None else len(said)


def moments(work: Callable[[], object]) -> list[str]:
    """Run in a forked process, and return what happened at each moment, such as ``after rename manifest.parquet``."""
    said = _fork(work, None)
    assert said is not None
    return said


def _fork(work: Callable[[], object], kill_at: int | str | None) -> list[str] | None:
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        seen: list[str] = []

        def moment(when: str, event: str, name: object) -> None:
            file = Path(os.fsdecode(name)).name if isinstance(name, str | bytes | os.PathLike) else ""
            seen.append(f"{when} {event} {file}".strip())
            if kill_at in (len(seen), seen[-1]):
                os.kill(os.getpid(), signal.SIGKILL)

        def hook(event: str, arguments: tuple[object, ...]) -> None:
            if event in CHANGES:
                moment("before", event.removeprefix("os."), arguments[event == "os.rename"])

        def around(name: str, *, before: bool) -> None:
            function: Callable[..., Any] = getattr(os, name)

            def call(*arguments: Any, **options: Any) -> Any:
                if before:
                    moment("before", name, _opened(arguments[0]))
                result = function(*arguments, **options)
                moment("after", "rename" if len(arguments) > 1 else name, _opened(arguments[-1]))
                return result

            setattr(os, name, call)

        status = 1
        try:
            sys.addaudithook(hook)
            around("rename", before=False)
            around("replace", before=False)
            around("fsync", before=True)
            work()
            os.write(writer, json.dumps(seen).encode())
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
        assert os.WTERMSIG(ended) == signal.SIGKILL
        return None
    assert ended == 0, "the child says why"
    return list(json.loads(said))


def _opened(file: Any) -> Any:
    """The path of an open file, where it is one's number."""
    return Path(f"/proc/self/fd/{file}").readlink() if isinstance(file, int) else file
