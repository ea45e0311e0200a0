"""Clips of a dataset whose names say their class, HMDB51 and UCF101: from official lists, or from what is there."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Protocol, TypeVar

from araflow.acquire.types import Sources
from araflow.core.clip import Clip
from araflow.core.errors import SourceError
from araflow.core.listing import Leftovers, Listing, told
from araflow.datasets import _shelves
from araflow.datasets._official import Entry
from araflow.datasets._shelves import Shelf

Name = TypeVar("Name", bound=Hashable)


class Grammar(Protocol[Name]):
    """How a dataset names its clips.

    Attributes:
        title: The dataset's name, for messages.
        original: Suffix of its own files.
        layout: Where its files lie, for messages.
        forms: What names are compared by where they are not equal; see ``_shelves.match``.
    """

    title: str
    original: str
    layout: str

    @property
    def forms(self) -> Sequence[Callable[[Name], Hashable]]: ...

    def read(self, stem: str, folders: Sequence[str]) -> Name | None:
        """See ``_shelves.Read``."""

    def label(self, name: Name) -> str:
        """Return the class that a name is of."""

    def lists(self, splits: Path, classes: Sequence[str]) -> Mapping[Name, Entry]:
        """Read the official lists below a folder; what they say of other classes may be left out."""

    def clip(self, entry: Entry, source: Path | None) -> Clip:
        """Return a clip."""


def list_clips(grammar: Grammar[Name], files: Sources, classes: Sequence[str]) -> Listing:
    """List the clips of the classes; see ``araflow.datasets.Dataset``.

    Args:
        grammar: How they are named.
        files: Folder of videos, in any layout, and of lists; either may be ``None``.
        classes: Classes to list.

    Raises:
        SourceError: Neither is given, a folder holds no such files, or a class has no videos and there are no lists.
    """
    if files.splits is None and files.videos is None:
        raise SourceError(f"{grammar.title}: neither videos nor official lists to list clips from")
    shelf = None if files.videos is None else _look_through(grammar, files.videos, classes)
    entries = None
    if files.splits is not None:
        listed = grammar.lists(files.splits, classes)
        entries = {name: entry for name, entry in listed.items() if entry.label in classes}
    if shelf is None:
        assert entries is not None, "one of them is given"
        return _listing([grammar.clip(entry, None) for entry in entries.values()], Leftovers(), [])
    shelf.passed_over.extend(files.passed_over)
    remarks = list(shelf.remarks())
    if entries is None:
        entries = _entries_of(grammar, shelf, classes)
        labels = {entry.label for entry in entries.values()}
        if absent := [label for label in classes if label not in labels]:
            raise SourceError(
                f"{files.videos}: no videos of {len(absent)} of {len(classes)} classes, such as {absent[0]!r}; name "
                "the classes that you have (dataset.classes), or give the official lists (dataset.splits)"
            )
        taken = {name: name for name in entries}
        remarks += _of_subsets(shelf, entries)
    else:
        taken, changed = _shelves.match(entries, shelf, grammar.forms)
        remarks += _of_changed(shelf, entries, taken, changed)
    there = set(taken.values())
    left = [name for name in shelf.place_of if name not in there]
    wanted = [name for name in left if grammar.label(name) in classes]
    shelf.leave("unwanted-class", set(left) - set(wanted))
    shelf.leave("not-listed", wanted)
    clips = [grammar.clip(entry, shelf.path(taken[name]) if name in taken else None) for name, entry in entries.items()]
    return _listing(clips, shelf.passed_over, remarks)


def _listing(clips: Collection[Clip], passed_over: Leftovers, remarks: Sequence[str]) -> Listing:
    return Listing(tuple(sorted(clips, key=lambda clip: clip.key)), passed_over.entries(), tuple(remarks))


def _look_through(grammar: Grammar[Name], videos: Path, classes: Sequence[str]) -> Shelf[Name]:
    if not videos.is_dir():
        raise SourceError(f"{videos}: no such folder; dataset.source must hold {grammar.layout}")
    shelf = _shelves.look_through(videos, grammar.read, grammar.original)
    places = (videos, *(path for path in videos.iterdir() if path.is_dir()))
    kept_for = any((place / label).is_dir() for place in places for label in classes)  # its clips may be gone by now
    if not (kept_for or any(grammar.label(name) in classes for name in shelf.place_of)):
        shelf.leave("unwanted-class", shelf.place_of)
        seen = told(shelf.passed_over.entries())
        raise SourceError(
            f"{videos}: holds no {grammar.title} clips of {', '.join(classes[:5])}{', …' if len(classes) > 5 else ''}; "
            f"dataset.source must hold {grammar.layout}, or the like" + (f"; {seen}" if seen else "")
        )
    return shelf


def _entries_of(grammar: Grammar[Name], shelf: Shelf[Name], classes: Sequence[str]) -> dict[Name, Entry]:
    entries = {}
    for name, place in shelf.place_of.items():
        if (label := grammar.label(name)) in classes:
            entries[name] = Entry(shelf.stem(name), label, subset=_shelves.subset_around(PurePosixPath(place)))
    return entries


def _of_subsets(shelf: Shelf[Name], entries: Mapping[Name, Entry]) -> list[str]:
    subsets = sorted({entry.subset for entry in entries.values() if entry.subset is not None})
    if not subsets:
        return []
    remarks = [
        "there are no official lists, so split.protocol=official goes by the folders that are named "
        + ", ".join(subsets)
    ]
    both = [
        (name, place)
        for name, own in shelf.others.items()
        for place in own
        if name in entries and _shelves.subset_around(PurePosixPath(place)) != entries[name].subset
    ]
    if both:
        name, place = both[0]
        remarks.append(
            f"{len(both):,} clips lie in two of these folders, such as {shelf.place_of[name]!r} and {place!r}; the "
            "first counts"
        )
    return remarks


def _of_changed(
    shelf: Shelf[Name], entries: Mapping[Name, Entry], taken: Mapping[Name, Name], changed: Sequence[Name]
) -> list[str]:
    otherwise = [name for name in changed if shelf.stem(taken[name]) != entries[name].stem]
    if not otherwise:
        return []
    listed = min(otherwise, key=lambda name: entries[name].stem)
    return [
        f"{len(otherwise):,} clips were found by names that differ from the lists' in case or special characters, such "
        f"as {shelf.place_of[taken[listed]]!r} for {entries[listed].stem!r}"
    ]
