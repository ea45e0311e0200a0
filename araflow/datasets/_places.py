"""Where the files of HMDB51 and UCF101 belong, whatever layout and nesting of archives they come in."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

from araflow.acquire import tree
from araflow.datasets import _shelves
from araflow.datasets._named import Grammar


@dataclasses.dataclass(frozen=True, slots=True)
class ClassFolders:
    """``videos/<class>/<clip>`` and ``splits/<list>``; see ``araflow.acquire.types.Places``.

    Attributes:
        wanted: Class names; ``None`` for all.
        grammar: How clips are named.
        lists: Names of the official lists.
        class_named: Returns the class that the stem of an archive's name names, or ``None``.
        subsets: Folders named after subsets are kept: ``videos/train/<class>/<clip>``.
    """

    wanted: frozenset[str] | None
    grammar: Grammar[Any]
    lists: re.Pattern[str]
    class_named: Callable[[str], str | None]
    subsets: bool = False

    def place(self, found: PurePosixPath) -> PurePosixPath | None:
        """Return where a file belongs."""
        if tree.is_hidden(found.name):
            return None
        if self.lists.fullmatch(found.name):
            return PurePosixPath("splits", found.name)
        clip = _shelves.clip_at(found, self.grammar.read)
        if clip is None:
            return None
        name, lies = clip
        label = self.grammar.label(name)
        if self.wanted is not None and label not in self.wanted:
            return None
        subset = _shelves.subset_around(found) if self.subsets else None
        folder = PurePosixPath("videos", subset or "", label)
        return folder / found.name if lies == found else folder / _shelves.named(lies) / found.name

    def enter(self, found: PurePosixPath) -> bool:
        """Whether an archive may hold something wanted: not if it is named as another class."""
        label = self.class_named(found.name.partition(".")[0])
        return label is None or self.wanted is None or label in self.wanted


def why_not(grammar: Grammar[Any], found: PurePosixPath) -> str:
    """Say why a file has no place."""
    clip = None if tree.is_hidden(found.name) else _shelves.clip_at(found, grammar.read)
    return _shelves.why_not(found, grammar.read) if clip is None else "unwanted-class"
