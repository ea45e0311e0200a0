"""Where Kinetics' files lie: what belongs where when archives are unpacked, and what a folder holds."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from araflow.acquire import walk
from araflow.core.errors import SourceError
from araflow.datasets._kinetics import lists
from araflow.datasets._kinetics.index import REPLACED, is_replacement

log = logging.getLogger(__name__)
_SUBSETS = {"train": "train", "val": "val", "validate": "val", "validation": "val", "test": "test"}
"""Folder names of subsets."""


class ListPlaces:
    """Annotation lists, in whatever folder or archive."""

    wanted: frozenset[str] | None = None

    def place(self, found: PurePosixPath) -> PurePosixPath | None:
        hidden = found.name.startswith(".")
        return None if hidden or found.suffix not in (".csv", ".txt") else PurePosixPath("lists", found.name)

    def enter(self, found: PurePosixPath) -> bool:
        return True


class VideoPlaces:
    """Clips in whatever archives: flat, an archive per class, or class folders within."""

    wanted: frozenset[str] | None = None

    def __init__(self, labels: Sequence[str]) -> None:
        self._labels = labels

    def place(self, found: PurePosixPath) -> PurePosixPath | None:
        if found.name.startswith(".") or lists.parse_name(found.name) is None:
            return None
        if is_replacement(found):
            return PurePosixPath("videos", REPLACED, found.name)
        label, subset = label_and_subset(found, self._labels)
        return PurePosixPath("videos", subset or "", "unlabelled" if label is None else lists.slug(label), found.name)

    def enter(self, found: PurePosixPath) -> bool:
        return True


def label_and_subset(place: PurePosixPath, labels: Sequence[str]) -> tuple[str | None, str | None]:
    """Read label and subset from the folders and archives that a file lies in, the nearest first."""
    names = [folder.name for folder in place.parents]
    label = next((found for name in names if (found := lists.find_label(name, labels))), None)
    return label, next((_SUBSETS[name] for name in names if name in _SUBSETS), None)


class Videos:
    """The videos in a folder.

    Args:
        folder: ``None`` for none.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._by_name: dict[str, PurePosixPath] = {}
        self._replacements: dict[str, PurePosixPath] = {}
        for path in [] if folder is None else sorted(walk.files(folder), reverse=True):
            if lists.parse_name(path.name) is None or folder is None:
                continue
            place = PurePosixPath(path.relative_to(folder).as_posix())
            if is_replacement(place):
                self._replacements[path.name[:11]] = place
            else:
                self._by_name[path.name] = place  # of two, the one that sorts first

    def places(self) -> list[PurePosixPath]:
        """Return where each clip is, relative to the folder; replacements apart."""
        return sorted(self._by_name.values())

    def find(self, name: str) -> tuple[Path | None, bool]:
        """Return where a clip's video is, and whether that is a replacement, known by the id of its video."""
        if self._folder is None:
            return None, False
        replacement, place = self._replacements.get(name[:11]), self._by_name.get(name)
        # By name, or by id where the clip has no file: one video may have several clips.
        if replacement is not None and (replacement.name == name or place is None):
            return self._folder / replacement, True
        return (None if place is None else self._folder / place), False


def listed(folder: Path, subsets: Sequence[str]) -> Iterator[lists.Listed]:
    """Yield every clip of the subsets' lists; one that two subsets list belongs to the first."""
    seen: set[str] = set()
    twice = 0
    for entry in _entries(folder, subsets):
        if entry.name in seen:
            twice += 1
            continue
        seen.add(entry.name)
        yield entry
    if twice:
        log.warning("%d clips are listed in more than one subset; the first of %s counts", twice, ", ".join(subsets))


def _entries(folder: Path, subsets: Sequence[str]) -> Iterator[lists.Listed]:
    found = sorted(path for path in walk.files(folder) if path.suffix in (".csv", ".txt"))
    for subset in subsets:
        words = [word for word, meant in _SUBSETS.items() if meant == subset]
        exact = [path for path in found if path.stem in words]
        near = [
            path for path in found if any(word in path.stem for word in words) and not re.search("part|path", path.stem)
        ]
        if not exact and not near:
            raise SourceError(f"{folder}: holds no list of the {subset} clips ({subset}.csv or {subset}.txt)")
        # Where both are there, Kinetics-600's .csv is the one that is incomplete.
        yield from lists.read_annotations(max(exact or near, key=lambda path: (path.suffix == ".txt", path)), subset)
