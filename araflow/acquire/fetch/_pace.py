"""How fast a long transfer goes: progress for a bar, and now and then a line for a log."""

from __future__ import annotations

import time
from collections.abc import Callable

LINE_EVERY = 30.0
"""Seconds between lines."""


class Pace:
    """Passes one file's progress on.

    Args:
        name: The file's name.
        report: Called at most every ``LINE_EVERY`` seconds with percent, rate and time left.
        progress: Called each time with the name, the bytes so far and, where known, the bytes in all.
    """

    def __init__(
        self, name: str, report: Callable[[str], None], progress: Callable[[str, int, int | None], None]
    ) -> None:
        self._name, self._report, self._progress = name, report, progress
        self._began = self._line = time.monotonic()
        self._since, self._start, self._done = self._began, 0, -1
        self._received = 0

    def __call__(self, done: int, total: int | None) -> None:
        """Note that ``done`` bytes are there; no more than last time means that an attempt begins."""
        self._progress(self._name, done, total)
        now = time.monotonic()
        begins, before, self._done = self._done < 0 or done <= self._done, self._done, done
        if begins:
            self._since, self._start = now, done
            return
        self._received += done - before
        if now - self._line < LINE_EVERY:
            return
        self._line = now
        rate = (done - self._start) / max(now - self._since, 1e-3)
        line = f"{self._name}: {amount(done)}" if total is None else f"{self._name}: {of(done, total)}"
        left = f", {duration((total - done) / rate)} left" if total and rate else ""
        self._report(f"{line}, {amount(rate)}/s{left}")

    def summary(self) -> str:
        """Return what arrived since this was made, how long it took (waiting included), and the rate."""
        seconds = time.monotonic() - self._began
        rate = self._received / max(seconds, 1e-3)
        return f"{amount(self._received)} arrived in {duration(seconds)} ({amount(rate)}/s)"


def of(done: int, total: int) -> str:
    """Return ``45 % of 2.10 GB``."""
    return f"{100 * done // max(total, 1)} % of {amount(total)}"


def amount(size: float) -> str:
    """Return bytes in the unit that fits: ``2.10 GB``, ``4.2 MB``, ``17.0 kB``, ``12 B``."""
    if size >= 1e9:
        return f"{size / 1e9:,.2f} GB"
    if size >= 1e6:
        return f"{size / 1e6:.1f} MB"
    return f"{size / 1e3:.1f} kB" if size >= 1e3 else f"{size:.0f} B"


def duration(seconds: float) -> str:
    """Return a time in the two units that matter: ``2 h 05 min``, ``3 min 20 s``, ``12 s``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
