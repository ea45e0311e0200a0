"""What is known of processes: how many this machine can run at once, and how one was lost."""

from __future__ import annotations

import dataclasses
import os
import signal


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
