"""What is known of processes: how many may run at once, how one was lost, what one is told, and how one is ended."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import NoReturn


def usable_cores() -> int:
    """Return how many cores this process may use, which containers and batch systems make fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclasses.dataclass(frozen=True, slots=True)
class Lost:
    """A worker ended without an answer.

    Attributes:
        timed_out: It took too long and was killed.
        exit_code: Its exit code; negative is the number of the signal that ended it.
    """

    timed_out: bool
    exit_code: int | None

    def __str__(self) -> str:
        if self.timed_out:
            return "took too long"
        if self.exit_code is not None and self.exit_code < 0:
            number = -self.exit_code
            known = number in list(signal.Signals)  # most real-time signals have no name
            return f"ended by {signal.Signals(number).name if known else f'signal {number}'}"
        return f"ended with exit code {self.exit_code}"


@contextlib.contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Have this process, and those that it starts meanwhile, see environment variables."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def ending_signals() -> list[signal.Signals]:
    """Return what may tell this process to end besides Ctrl-C: SIGTERM and SIGHUP, unless they are ignored (nohup)."""
    numbers: list[signal.Signals] = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    return [one for one in numbers if signal.getsignal(one) is not signal.SIG_IGN]


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Have SIGTERM, and SIGHUP of a terminal that is closed, end Python as an exit does: what is half made is removed.

    The exit status is 128 and the signal's number, as in a shell. What else is to be told by a signal is told once.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # handlers are the main thread's
        return
    numbers = ending_signals()

    def end(number: int, frame: object) -> NoReturn:
        for one in numbers:
            signal.signal(one, signal.SIG_IGN)
        sys.exit(128 + number)

    previous = {number: signal.signal(number, end) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
