"""Which files are which clips where a clip's name says all: HMDB51, UCF101 and Kinetics, in whatever folders they lie.

A clip is a video, re-encoded or not, or a folder of its frames (``<clip>/img_00001.jpg``, ``<clip>/rgb/000001.png``).
"""

from __future__ import annotations

import dataclasses
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Generic, TypeVar

from araflow.acquire import tree
from araflow.acquire.tree import Kind
from araflow.core.listing import Leftovers
from araflow.core.splits import WORDS
from araflow.media import series
from araflow.media.source_files import IMAGE_SUFFIXES, VIDEO_SUFFIXES

Name = TypeVar("Name", bound=Hashable)
Read = Callable[[str, Sequence[str]], Name | None]
"""Takes a name without suffix, and the names of the folders around it, the nearest first; returns which clip it is."""

_FRAMES = frozenset({"rgb", "img", "imgs", "image", "images", "frame", "frames", "jpg", "jpegs", "png"})
"""Folders in a clip's that hold its frames."""


def subset_of(folder: str) -> str | None:
    """Return the subset that a folder or list is named after, such as ``train_256`` or ``videos_val``."""
    words = (re.sub("(list|set|split)$", "", word) for word in re.split("[^a-z]+", folder.lower()))
    meant = {WORDS[word] for word in words if word in WORDS}
    return meant.pop() if len(meant) == 1 else None


def has_subsets(folder: Path) -> bool:
    """Whether a folder, or one in it, has folders named after different subsets; nothing deeper is looked at."""
    try:
        inner = [path for path in folder.iterdir() if path.is_dir()]
        return any(
            len({subset_of(path.name) for path in own if path.is_dir()} - {None}) > 1
            for own in (inner, *(place.iterdir() for place in inner))
        )
    except OSError:  # whoever lists it will say so
        return False


def subset_around(place: PurePosixPath, classes: Callable[[str], bool] = lambda _: False) -> str | None:
    """Return the subset of the nearest folder that is named after one; folders that are classes are none."""
    names = (folder.name for folder in place.parents)
    return next((found for name in names if not classes(name) and (found := subset_of(name)) is not None), None)


def stem_of(name: str) -> str:
    """Return a name without the suffix of a video, also where a second one was added: ``x.avi.mp4``."""
    for _ in range(2):
        suffix = PurePosixPath(name).suffix
        if suffix.lower() in VIDEO_SUFFIXES:
            name = name.removesuffix(suffix)
    return name


def named(lies: PurePosixPath) -> str:
    """Return a clip's name without suffix, from where its video or its frames lie."""
    return stem_of((lies.parent if lies.name.lower() in _FRAMES else lies).name)


def clip_at(place: PurePosixPath, read: Read[Name]) -> tuple[Name, PurePosixPath] | None:
    """Say which clip a file is, or is a frame of.

    Args:
        place: The file's path below the source.
        read: Reads names.

    Returns:
        The clip, and the path of its file or of the folder of its frames.
    """
    suffix = place.suffix.lower()
    if suffix in VIDEO_SUFFIXES:
        return _read_at(place, place, read)
    if suffix not in IMAGE_SUFFIXES:
        return None
    inner = place.parent
    if inner.name.lower() in _FRAMES and (found := _read_at(inner.parent, inner, read)) is not None:
        return found
    return _read_at(inner, inner, read)


def is_flow(place: PurePosixPath, read: Read[Name]) -> bool:
    """Whether a file is an image of a clip's optical flow, in a folder of such images."""
    inner = place.parent
    image = place.suffix.lower() in IMAGE_SUFFIXES and series.may_be_flow(inner.name)
    return image and _read_at(inner.parent, inner, read) is not None


def _read_at(named: PurePosixPath, place: PurePosixPath, read: Read[Name]) -> tuple[Name, PurePosixPath] | None:
    found = read(stem_of(named.name), [folder.name for folder in named.parents if folder.name])
    return None if found is None else (found, place)


@dataclasses.dataclass(slots=True)
class Shelf(Generic[Name]):
    """The clips in a folder.

    Attributes:
        root: The folder.
        place_of: Each clip's path below it, with ``/``.
        others: Further paths of clips that are there more than once, in order.
        passed_over: What is no clip.
    """

    root: Path
    place_of: dict[Name, str]
    others: dict[Name, list[str]]
    passed_over: Leftovers

    def path(self, name: Name) -> Path:
        """Return where a clip lies."""
        return self.root / self.place_of[name]

    def stem(self, name: Name) -> str:
        """Return a clip's name without suffix, as it is spelt there."""
        return named(PurePosixPath(self.place_of[name]))

    def leave(self, why: str, names: Iterable[Name]) -> None:
        """Pass over clips that are there."""
        for name in names:
            place = self.place_of[name]
            self.passed_over.add(why, PurePosixPath(place).suffix.lower(), place)

    def remarks(self) -> Iterator[str]:
        """Say of what is there more than once whether that is the same."""
        unlike = [
            (self.place_of[name], place)
            for name, own in self.others.items()
            for place in own
            if self._differ(name, place)
        ]
        if unlike:
            taken, left = unlike[0]
            yield (
                f"{_files(len(unlike))} there again with other bytes; the first of each is taken, such as {taken!r}, "
                f"and not {left!r}"
            )

    def _differ(self, name: Name, place: str) -> bool:
        sizes = []
        for path in (self.path(name), self.root / place):
            try:
                sizes.append(path.stat().st_size if path.is_file() else None)
            except OSError:
                sizes.append(None)
        return sizes[0] != sizes[1]


def look_through(root: Path, read: Read[Name], original: str) -> Shelf[Name]:
    """Find the clips in a folder.

    Of a clip that is there more than once the original is taken before one of another suffix, that before its frames,
    and of equals the first by path.

    Args:
        root: The folder, or a dataset's folder of araflow's, which has its videos in ``videos``.
        read: Reads names.
        original: The suffix that the dataset's own files have.

    Raises:
        SourceError: A folder cannot be read.
    """
    if (root / "dataset.json").is_file() and (root / "videos").is_dir():
        root /= "videos"
    found = tree.look_through(root)
    over, place_of = found.passed_over, {}
    others: dict[Name, list[str]] = defaultdict(list)
    frames: set[str] = set()
    images: dict[str, list[str]] = defaultdict(list)
    for file in found.of(Kind.IMAGE):
        images[file.folder].append(file.name)
    for file in found.files:
        if file.kind is Kind.IMAGE and file.folder not in images:
            continue  # its folder is settled
        place = PurePosixPath(file.place)
        clip = clip_at(place, read) if file.kind in (Kind.VIDEO, Kind.IMAGE) else None
        if clip is None:
            over.add(why_not(place, read), file.suffix or "without suffix", file.place)
            continue
        name, lies = clip[0], str(clip[1])
        if file.kind is Kind.IMAGE:
            sorted_out = series.sort_out(images.pop(file.folder))
            for image in sorted_out.flow:
                over.add("flow-images", file.suffix, f"{file.folder}/{image}")
            if not sorted_out.frames:
                continue
            frames.add(lies)
        if name not in place_of:
            place_of[name] = lies
        else:
            taken, left = sorted(
                (place_of[name], lies), key=lambda at: (at in frames, PurePosixPath(at).suffix.lower() != original)
            )
            place_of[name] = taken
            others[name].append(left)
    for own in others.values():
        for lies in own:
            over.add("twice", "folders of frames" if lies in frames else PurePosixPath(lies).suffix.lower(), lies)
    return Shelf(root, place_of, dict(others), over)


def why_not(place: PurePosixPath, read: Read[Name]) -> str:
    """Say why a file that is no clip is none, by a code of ``core.listing``."""
    if tree.is_hidden(place.name):
        return "hidden"
    kind = tree.kind_of(place.name)
    if kind is Kind.ARCHIVE:
        return "archive"
    if kind is Kind.VIDEO:
        return "no-name"
    if kind is Kind.IMAGE:
        return "flow-images" if is_flow(place, read) else "beside-clips"
    return "suffix"


def match(
    listed: Collection[Name], shelf: Shelf[Name], forms: Sequence[Callable[[Name], Hashable]]
) -> tuple[dict[Name, Name], list[Name]]:
    """Find listed clips whose names were changed, by what is left of the names.

    Args:
        listed: The clips of the lists.
        shelf: The clips that are there.
        forms: What names are compared by, one after the other, where they are not equal.

    Returns:
        For each listed clip that is there its name on the shelf; and which of them have another name there.
    """
    taken = {name: name for name in listed if name in shelf.place_of}
    changed: list[Name] = []
    for form in forms:
        absent = _unique((name for name in listed if name not in taken), form)
        there = set(taken.values())
        free = _unique((name for name in shelf.place_of if name not in there), form)
        for key in absent.keys() & free.keys():
            taken[absent[key]] = free[key]
            changed.append(absent[key])
    return taken, changed


def _unique(names: Iterable[Name], form: Callable[[Name], Hashable]) -> dict[Hashable, Name]:
    by_form: dict[Hashable, list[Name]] = defaultdict(list)
    for name in names:
        by_form[form(name)].append(name)
    return {key: own[0] for key, own in by_form.items() if len(own) == 1}


def _files(number: int) -> str:
    return "1 clip is" if number == 1 else f"{number:,} clips are"
