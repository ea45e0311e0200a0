"""Where Kinetics' files lie: what belongs where when archives are unpacked, and what a folder holds."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from araflow.acquire import walk
from araflow.acquire.tree import is_hidden
from araflow.core.errors import SourceError
from araflow.core.listing import PassedOver
from araflow.core.words import counted
from araflow.datasets import _shelves
from araflow.datasets._kinetics import lists
from araflow.datasets._kinetics.index import REPLACED, Name, reader
from araflow.datasets._shelves import Shelf

log = logging.getLogger(__name__)


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
        clip = None if is_hidden(found.name) else _shelves.clip_at(found, reader(self._labels))
        if clip is None:
            return None
        (replaces, stem), lies = clip
        label, subset = label_and_subset(found, self._labels)
        shelf = "unlabelled" if label is None else lists.slug(label)
        folder = PurePosixPath("videos", REPLACED) if replaces else PurePosixPath("videos", subset or "", shelf)
        return folder / found.name if lies == found else folder / stem / found.name

    def why_not(self, found: PurePosixPath) -> str:
        """Say why a file has no place."""
        return _shelves.why_not(found, reader(self._labels))

    def enter(self, found: PurePosixPath) -> bool:
        return True


def label_and_subset(place: PurePosixPath, labels: Sequence[str]) -> tuple[str | None, str | None]:
    """Read label and subset from the folders and archives that a file lies in, the nearest first."""
    names = [folder.name for folder in place.parents]
    label = next((found for name in names if (found := lists.find_label(name, labels))), None)
    return label, _shelves.subset_around(place, lambda name: lists.find_label(name, labels) is not None)


class Videos:
    """The videos in a folder, and folders of their frames.

    Args:
        folder: ``None`` for none.
        labels: Every label.
        listed: Names of the lists' clips, without suffix; ``None`` where there are no lists.
    """

    def __init__(self, folder: Path | None, labels: Sequence[str], listed: Sequence[str] | None) -> None:
        self._labels, self._has_lists = labels, listed is not None
        self._around: dict[PurePosixPath, tuple[str | None, str | None]] = {}
        self._shelf: Shelf[Name] | None = None
        self._replacements: dict[str, Name] = {}
        if folder is not None:
            self._shelf = _shelves.look_through(folder, reader(labels, listed), ".mp4")
            for name in self._shelf.place_of:
                if name[0]:
                    self._replacements.setdefault(name[1][:11], name)

    def clips(self) -> Iterator[tuple[str, str | None, str | None]]:
        """Yield name, label and subset of each clip that is there; replacements apart."""
        for (replaces, stem), place in {} if self._shelf is None else self._shelf.place_of.items():
            if not replaces:
                yield stem, *self._label_and_subset(place)

    def _label_and_subset(self, place: str) -> tuple[str | None, str | None]:
        pure = PurePosixPath(place)
        if (known := self._around.get(pure.parent)) is None:
            known = self._around[pure.parent] = label_and_subset(pure, self._labels)
        return known

    def find(self, stem: str) -> tuple[Path | None, bool]:
        """Return where a clip's video is, and whether that is a replacement, known by the id of its video."""
        if self._shelf is None:
            return None, False
        replacement, there = self._replacements.get(stem[:11]), (False, stem) in self._shelf.place_of
        # By name, or by id where the clip has no file: one video may have several clips.
        if replacement is not None and (replacement[1] == stem or not there):
            return self._shelf.path(replacement), True
        return (self._shelf.path((False, stem)) if there else None), False

    def leave(self, why: str, stems: Iterable[str]) -> None:
        """Pass over clips that are there."""
        if self._shelf is not None:
            self._shelf.leave(why, ((False, stem) for stem in stems))

    @property
    def passed_over(self) -> tuple[PassedOver, ...]:
        """What is no clip."""
        return () if self._shelf is None else self._shelf.passed_over.entries()

    def remarks(self) -> Iterator[str]:
        """Say what was guessed of clips that are there more than once, and of those named by an id alone."""
        if self._shelf is None:
            return
        yield from self._shelf.remarks()
        if not self._has_lists:
            yield from self._of_two_places(self._shelf)
            bare = [name for name in self._shelf.place_of if lists.is_id(name[1])]
            if bare:
                are, they = ("is", "it shows") if len(bare) == 1 else ("are", "they show")
                yield (
                    f"{counted(len(bare), 'clip')} {are} named by the id of the video alone, such as "
                    f"{self._shelf.place_of[bare[0]]!r}: which seconds {they} is not known"
                )

    def _of_two_places(self, shelf: Shelf[Name]) -> Iterator[str]:
        for number, what in enumerate(("classes", "subsets")):
            odd = []
            for name, others in shelf.others.items():
                first, *rest = (self._label_and_subset(place)[number] for place in (shelf.place_of[name], *others))
                if unlike := [one for one in rest if one != first]:
                    odd.append((name[1], first, unlike[0]))
            if odd:
                stem, first, other = odd[0]
                verb = "clip lies" if len(odd) == 1 else "clips lie"
                yield (
                    f"{len(odd):,} {verb} in two {what}, such as {stem!r} in {first!r} and {other!r}; "
                    f"{first!r} was taken"
                )


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
        own = [path for path in found if _shelves.subset_of(path.stem) == subset]
        exact = [path for path in own if path.stem.isalpha()]
        near = [path for path in own if not re.search("part|path", path.stem)]
        if not exact and not near:
            seen = f"; it holds {', '.join(path.name for path in found[:5])}" if found else ""
            raise SourceError(f"{folder}: holds no list of the {subset} clips ({subset}.csv or {subset}.txt){seen}")
        # Where both are there, Kinetics-600's .csv is the one that is incomplete.
        yield from lists.read_annotations(max(exact or near, key=lambda path: (path.suffix == ".txt", path)), subset)
