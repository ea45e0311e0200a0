"""Where the files of HMDB51 and UCF101 belong, whatever layout and nesting of archives they come in."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import PurePosixPath


@dataclasses.dataclass(frozen=True, slots=True)
class ClassFolders:
    """``videos/<class>/<clip>`` and ``splits/<list>``; see ``araflow.acquire.ingest.Places``.

    Attributes:
        wanted: Class names; ``None`` for all.
        label_of: Returns the class of a video file, or ``None`` for any other file.
        is_split: Whether a file is one of the official split files.
        class_named: Returns the class that the stem of an archive's name names, or ``None``.
    """

    wanted: frozenset[str] | None
    label_of: Callable[[PurePosixPath], str | None]
    is_split: Callable[[PurePosixPath], bool]
    class_named: Callable[[str], str | None]

    def place(self, found: PurePosixPath) -> PurePosixPath | None:
        """Return where a file belongs."""
        if found.name.startswith("."):
            return None
        if self.is_split(found):
            return PurePosixPath("splits", found.name)
        label = self.label_of(found)
        if label is None or (self.wanted is not None and label not in self.wanted):
            return None
        return PurePosixPath("videos", label, found.name)

    def enter(self, found: PurePosixPath) -> bool:
        """Whether an archive may hold something wanted: not if it is named as another class."""
        label = self.class_named(found.name.partition(".")[0])
        return label is None or self.wanted is None or label in self.wanted
