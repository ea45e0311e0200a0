"""Numbers as people read them."""

from __future__ import annotations


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Return a number and what is counted, such as ``1 clip`` and ``1,200 clips``.

    Args:
        number: How many.
        noun: For one.
        plural: For any other number; ``None``: with an s.
    """
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def duration(seconds: float) -> str:
    """Return a time to about two digits, such as ``40 seconds``, ``12 minutes`` and ``1.6 hours``."""
    if seconds < 90:
        return counted(round(seconds), "second")
    return counted(round(seconds / 60), "minute") if seconds < 5400 else f"{seconds / 3600:.1f} hours"
