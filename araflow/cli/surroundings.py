"""What surrounds a command and may be gone or full: its standard streams, its working folder, memory, the terminal."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator
from typing import Any

from araflow.cli.console import say_error
from araflow.core.errors import AraflowError


def prepare() -> None:
    """Make standard streams that nothing fails by: a log that cannot be written stops nothing."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # else the next file that is opened would be taken for the stream
            os.open(os.devnull, os.O_RDWR)
    sys.stdin = sys.stdin or open(os.devnull)  # noqa: PTH123, SIM115
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115
    elif sys.stdout is sys.__stdout__:
        old: Any = sys.stdout
        output = io.BufferedWriter(_Output(1, "w", closefd=False))
        sys.stdout = io.TextIOWrapper(output, old.encoding, old.errors, line_buffering=old.line_buffering)
    if sys.stderr is sys.__stderr__:
        encoding = sys.stderr.encoding if sys.stderr else "utf-8"
        log = io.BufferedWriter(_Log(2, "w", closefd=False))
        sys.stderr = io.TextIOWrapper(log, encoding, "backslashreplace", line_buffering=True)


class _LostError(OSError):
    """Standard output cannot be written, or nobody reads it any more."""


class _Output(io.FileIO):
    lost: OSError | None = None

    def write(self, data: Any) -> int:  # noqa: ANN401
        try:
            return super().write(data)
        except OSError as error:
            self.lost = error
            raise _LostError(error.errno, error.strerror) from error


class _Log(io.FileIO):
    def write(self, data: Any) -> int:  # noqa: ANN401
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes  # what is logged stops nothing


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Say on a line what the machine has not, in the place of a traceback.

    Raises:
        AraflowError: A file cannot be written or read, or there are no more threads or memory.
        SystemExit: Standard output cannot be written; ``finish`` says so.
    """
    try:
        yield
    except _LostError:
        sys.exit(1)
    except OSError as error:
        raise AraflowError(f"{error.filename or 'the system says'}: {error.strerror or error}") from error
    except MemoryError as error:
        raise AraflowError(f"there is not enough memory ({error or 'it is all in use, or ulimit -v'})") from error
    except ImportError as error:
        if not any(text in str(error) for text in ("failed to map segment", "annot allocate memory")):
            raise
        raise AraflowError(f"there is not enough memory to load a library: {error}") from error
    except RuntimeError as error:
        if "start new thread" not in str(error):
            raise
        raise AraflowError("no thread can be started: raise ulimit -u or -v, or wait for other programs") from error


def check_folder() -> None:
    """Make sure that there is a working folder, from which relative paths are taken.

    Raises:
        AraflowError: It has been removed.
    """
    try:
        os.getcwd()  # noqa: PTH109
    except OSError as error:
        raise AraflowError(f"the working folder is gone ({error.strerror}): change to one that is there") from error


def finish() -> None:
    """Have all that was said on standard output be there, or say that it is not, and exit with 1."""
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    if isinstance(raw, _Output) and raw.lost is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # else what is left would fail once more when Python ends
        if raw.lost.errno != errno.EPIPE:  # who was reading has gone, and has seen enough
            say_error(f"error: standard output cannot be written: {raw.lost.strerror}")
        sys.exit(1)
