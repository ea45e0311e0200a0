"""What a dataset consists of before its clips are known, what belongs where in it, and how progress is told."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Protocol

from araflow.core.listing import PassedOver

Progress = Callable[[str, int, int | None], None]
"""Takes a file's name, its bytes so far (those of an earlier run included) and its bytes in all, if known."""


def no_progress(name: str, done: int, total: int | None) -> None:
    """Show nothing; the default of every ``progress``."""


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """One archive of a dataset that comes in parts.

    Attributes:
        url: Its address.
        subset: ``train``, ``val`` or ``test``; ``None`` for a replacement, which may serve all of them.
        label: The only class in it, where that is known.
        guessed: The class is known by the archive's number alone.
        replaces: Its videos replace broken ones of other parts, by the id of the video.
        size: Bytes, or ``None`` where unknown.
        sha256: Hexadecimal digest, or ``None`` where unknown.
    """

    url: str
    subset: str | None
    label: str | None = None
    guessed: bool = False
    replaces: bool = False
    size: int | None = None
    sha256: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Sources:
    """Where a dataset's files lie on this machine.

    Attributes:
        videos: Folder of videos, or ``None`` while only lists are at hand.
        splits: Folder of official split files or lists, or ``None``.
        subsets: Which of the dataset's own subsets are wanted, where it has these.
        parts: Archives that are to be fetched one at a time, each deleted once its clips are made.
        chosen: File names of the clips to take, where a sample was drawn from parts; ``None`` takes all.
        downloads: Addresses of what was downloaded for these clips, those of ``parts`` apart.
        passed_over: What lies beside ``videos`` in what the user gave.
    """

    videos: Path | None
    splits: Path | None
    subsets: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()
    chosen: frozenset[str] | None = None
    downloads: frozenset[str] = frozenset()
    passed_over: tuple[PassedOver, ...] = ()


class Places(Protocol):
    """What a dataset says of a file that was found.

    A path such as ``hmdb51_org.rar/walk.rar/walk/x.avi`` begins with the names of the archives that the file is in.
    """

    @property
    def wanted(self) -> frozenset[str] | None:
        """Names of the classes that are wanted; ``None`` for all."""

    def place(self, found: PurePosixPath) -> PurePosixPath | None:
        """Return where the file belongs below the target; ``None`` where it is not wanted."""

    def enter(self, found: PurePosixPath) -> bool:
        """Whether an archive within the source may hold something wanted."""
