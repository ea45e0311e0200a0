"""What lies in a dataset's folder, clip by clip: ``clips.csv``, and its counts per class."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from araflow.acquire.folder import DatasetFolder
from araflow.acquire.notes import read_table, write_table
from araflow.core.clip import Clip
from araflow.core.listing import PassedOver
from araflow.core.tally import Tally
from araflow.media import containers
from araflow.media.source_files import frame_files

STATUS_FILE = "clips.csv"
_COLUMNS = ("key", "label", "subset", "file", "status")
_STATUSES = ("ok", "replaced", "corrupt", "missing")
_SHORTEST = 12
"""Bytes of a RIFF header, or of the first box of an MP4 file."""


class Listed(NamedTuple):
    """What a dataset's folder holds once it was filled."""

    clips: list[tuple[Clip, Path]]
    """Every listed clip with where its video lies, or would."""
    remarks: list[str]
    """What else is to be said."""
    passed_over: tuple[PassedOver, ...] = ()
    """What of the user's became no clip."""


@dataclasses.dataclass(frozen=True, slots=True)
class Acquired:
    """What lies in a dataset's folder.

    Attributes:
        name: The dataset.
        folder: Where.
        classes: Per class its listed clips by status.
        total: The same of all classes together.
        bytes: Size of the videos that are there.
        remarks: What else is to be said.
        passed_over: What of the user's became no clip.
    """

    name: str
    folder: str
    classes: list[dict[str, Any]]
    total: dict[str, int]
    bytes: int
    remarks: list[str]
    passed_over: tuple[PassedOver, ...] = ()

    @property
    def absent(self) -> int:
        """Listed clips that are missing or cut short."""
        return self.total["missing"] + self.total["corrupt"]


def status_of(path: Path, *, replaced: bool = False) -> str:
    """Return ``ok``, ``missing``, ``replaced``, or ``corrupt``: it was cut, or seems to be. Nothing is decoded.

    A folder of frames is ``ok`` if it has any.
    """
    try:
        if path.is_dir():
            return ("replaced" if replaced else "ok") if frame_files(path) else "corrupt"
        if path.stat().st_size < _SHORTEST or containers.ending(path).lacking:
            return "corrupt"
    except FileNotFoundError:
        return "missing"
    except OSError:  # it, or the folder in its place, may not be read
        return "corrupt"
    return "replaced" if replaced else "ok"


def size_of(path: Path) -> int:
    """Return a file's bytes; 0 for one that is not there, or that the disk does not give."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def write(folder: DatasetFolder, statuses: Sequence[tuple[Clip, Path, str]]) -> None:
    """Write where each clip lies and how it is.

    Raises:
        SourceError: What is there cannot be read, or it cannot be written.
    """
    rows = read(folder)
    for clip, path, status in statuses:
        place = path.relative_to(folder.path).as_posix()
        rows[clip.key] = [clip.key, clip.label or "", clip.subset or "", place, status]
    write_table(folder.path / STATUS_FILE, _COLUMNS, [row for _, row in sorted(rows.items())])


def read(folder: DatasetFolder) -> dict[str, list[str]]:
    """Return the rows that are there, by key: those of other classes, fetched before, and also what is no status.

    Raises:
        SourceError: They cannot be read.
    """
    rows = read_table(folder.path / STATUS_FILE, _COLUMNS)
    return {row[0] if len(row) == len(_COLUMNS) else ",".join(row): row for row in rows}


def by_class(statuses: Sequence[tuple[Clip, Path, str]], labels: Sequence[str] | None) -> Tally:
    """Count the clips of each class by status."""
    counts: Counter[tuple[str | None, str]] = Counter()
    for clip, _, status in statuses:
        counts[clip.label, "listed"] += 1
        counts[clip.label, status] += 1
    return Tally.of(counts, ("listed", *_STATUSES), labels or ())
