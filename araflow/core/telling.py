"""How much a command tells on its way: little (``-q``), what people want to know, or all (``-v``).

A command sets it once for its process. What is kept elsewhere, such as a run's history, does not depend on it.
"""

from __future__ import annotations

import contextlib
import enum
import logging
from collections.abc import Iterator
from typing import Final, Protocol

from araflow.core import json_log
from araflow.core.clip import ClipRecord, Outcome


class Amount(enum.IntEnum):
    """How much is told."""

    QUIET = 0
    """Warnings and errors."""
    USUAL = 1
    """Also what begins and how far it is."""
    VERBOSE = 2
    """Also details: shards, what was read again, what Prefect says."""


class Meter(Protocol):
    """What shows how far work is."""

    def begin(self, total: int) -> None:
        """Say how many there are."""
        ...

    def advance(self, count: int = 1) -> None:
        """Count what is settled; safe to call from several threads."""
        ...


class NoMeter:
    """A ``Meter`` that shows nothing."""

    def begin(self, total: int) -> None:
        """See ``Meter``."""

    def advance(self, count: int = 1) -> None:
        """See ``Meter``."""


DETAIL: Final = {"detail": True}
"""``extra`` of a log line that only ``-v`` shows."""
_amount = Amount.USUAL


def amount() -> Amount:
    """Return how much is told."""
    return _amount


@contextlib.contextmanager
def telling(wanted: Amount) -> Iterator[None]:
    """Tell so much in this process."""
    global _amount
    before, _amount = _amount, wanted
    try:
        yield
    finally:
        _amount = before


def is_told(record: logging.LogRecord) -> bool:
    """Whether a log line is shown."""
    if record.levelno >= logging.WARNING:
        return True
    if json_log.wanted():  # machines look for themselves
        return _amount > Amount.QUIET
    return _amount >= (Amount.VERBOSE if getattr(record, "detail", False) else Amount.USUAL)


def say_bad(log: logging.Logger, record: ClipRecord) -> None:
    """Warn of a clip that is not made, but of missing ones, which are many or none: the last line counts them."""
    if record.outcome in (Outcome.QUARANTINED, Outcome.FAILED) and record.reason_code != "missing":
        about = {"clip": record.key, "outcome": record.outcome, "reason": record.reason}
        log.warning("%s: %s: %s", record.key, record.outcome, record.reason, extra=about)
