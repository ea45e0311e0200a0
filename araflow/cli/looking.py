"""What ``araflow predict`` and ``araflow features`` share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from araflow.core.clip import ClipRecord

EXIT_STATUS = (
    "Exit status: 0 all done; 1 failed, or a setting or file is wrong; 2 wrong options; 3 finished, but some videos "
    "could not be used; 130 interrupted."
)
CHECKPOINT = click.argument("checkpoint", type=click.Path(path_type=Path))
MODE = click.option(
    "--mode",
    type=click.Choice(["center", "conv", "all"]),
    help="Windows that are averaged over a whole video.  [default: those of its evaluation]",
)
SEGMENTS = click.option(
    "--segments", type=click.IntRange(1), help="Windows of conv.  [default: those of its evaluation, or 10]"
)


def as_record(key: str, reason: str) -> ClipRecord | None:
    """Return what the progress display is told of a video that could not be used."""
    from araflow.core.clip import ClipRecord, Outcome

    return ClipRecord(key, Outcome.QUARANTINED, reason) if reason else None
