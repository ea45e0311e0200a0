"""Which listed clip a file of a part is, and where it belongs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import PurePosixPath

from araflow.core.clip import Clip
from araflow.datasets._kinetics.lists import parse_name

REPLACED = "replaced"
"""Folder below ``videos`` for replacements of broken ones."""


class Index:
    """Finds the listed clip that a file is.

    Args:
        clips: Every listed clip; its file name is the last part of ``Clip.name``.
    """

    def __init__(self, clips: Iterable[Clip]) -> None:
        self._by_name = {clip.name.rpartition("/")[2]: clip for clip in clips}
        self._by_id: dict[str, list[str]] = defaultdict(list)
        for name in self._by_name:
            self._by_id[name[:11]].append(name)

    def __iter__(self) -> Iterator[Clip]:
        return iter(self._by_name.values())

    def get(self, name: str, *, by_id: bool = False) -> Clip | None:
        """Return the clip with this file name; ``by_id`` also one whose video it is, if that has no second clip."""
        if (clip := self._by_name.get(name)) is not None or not by_id:
            return clip
        own = self._by_id.get(name[:11], [])
        return self._by_name[own[0]] if len(own) == 1 else None


class PartPlaces:
    """Puts the wanted clips of a part into ``videos/``, and notes every clip that is in it.

    Args:
        index: The listed clips.
        wanted: Whether a listed clip is wanted.
        replaces: The archive holds replacements of broken videos; ``None``: a folder or archive that is named so does.
            They are known by the id of their video, and have a place of their own.
    """

    wanted: frozenset[str] | None = None

    def __init__(self, index: Index, wanted: Callable[[Clip], bool], *, replaces: bool | None = False) -> None:
        self._index, self._wanted, self._replaces = index, wanted, replaces
        self.names: dict[str, None] = {}  # in order

    def place(self, found: PurePosixPath) -> PurePosixPath | None:
        """Return where a file belongs; see ``araflow.acquire.ingest.Places``."""
        if found.name.startswith(".") or parse_name(found.name) is None:
            return None
        self.names[found.name] = None
        apart = is_replacement(found) if self._replaces is None else self._replaces
        clip = self._index.get(found.name, by_id=apart)
        if clip is None or not self._wanted(clip):
            return None
        return PurePosixPath("videos", REPLACED if apart else "", clip.name)

    def enter(self, found: PurePosixPath) -> bool:
        """Every archive may hold clips."""
        return True


def is_replacement(found: PurePosixPath) -> bool:
    """Whether a file lies in a folder or archive that is named as a replacement, as Kinetics-400's is."""
    return any(name.startswith("replace") for name in found.parts[:-1])
