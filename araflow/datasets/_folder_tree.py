"""Any videos of one's own in a folder: which file is which clip, and what is left over."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from pathlib import Path, PurePosixPath

from araflow.acquire import tree
from araflow.acquire.tree import File, Kind
from araflow.core.clip import Clip
from araflow.core.listing import Listing
from araflow.datasets import _folder_frames, _folder_labels
from araflow.datasets._folder_frames import above
from araflow.media.source_files import VIDEO_SUFFIXES


def list_clips(root: Path, wanted: Collection[str] | None = None) -> Listing:
    """List every video file, and every folder that directly holds frames, below a folder.

    Args:
        root: The folder.
        wanted: Classes that are asked for; folders called so are classes, whatever else their names may mean.

    Raises:
        SourceError: A folder cannot be read.
    """
    found = tree.look_through(root)
    over = found.passed_over
    videos = _without_previews(found.of(Kind.VIDEO))
    in_place = {place for place in _folders(found) if PurePosixPath(place).suffix.lower() in VIDEO_SUFFIXES}
    frames = _folder_frames.find(found.of(Kind.IMAGE), videos, in_place)
    for file in found.files:
        if file.place in frames.flow:
            over.add("flow-images", frames.flow[file.place], file.place)
        elif (file.kind is Kind.VIDEO and file.place not in videos) or (
            file.kind is Kind.IMAGE and file.folder not in frames.folders
        ):
            over.add("beside-clips", file.suffix, file.place)
        elif file.kind is Kind.ARCHIVE:
            over.add("archive", file.suffix, file.place)
        elif file.kind in (Kind.LIST, Kind.OTHER):
            over.add("suffix", file.suffix or "without suffix", file.place)
    for folder in found.empty:
        if folder and folder not in frames.folders:
            over.add("empty-folder", "", folder)
    clips: dict[str, str] = {place: place for place in videos}  # what gives the key: what is read
    clips |= {named or root.resolve().name: folder for folder, named in frames.folders.items()}
    around = [tuple(place.split("/")[:-1]) for place in clips]
    shelves, remarks = _folder_labels.read(around, root.resolve().name, wanted)
    keys = _keys(clips, frames.folders.values())
    listed = (
        _clip(place if named else root.resolve().name, key, root / place, shelf)
        for (named, place), key, shelf in zip(clips.items(), keys, shelves, strict=True)
    )
    return Listing(tuple(listed), over.entries(), (*remarks, *frames.remarks))


def single(path: Path) -> Clip:
    """Return the clip that is one video file."""
    key = path.name if path.stem in (".", "..") else path.stem
    return _clip(path.name, key, path, _folder_labels.Shelf(None, None))


def _without_previews(videos: Iterable[File]) -> frozenset[str]:
    """Leave out animated pictures beside videos of the same name: they show what is in them."""
    by_stem: dict[str, list[File]] = defaultdict(list)
    for file in videos:
        by_stem[_stem(file.place)].append(file)
    return frozenset(
        file.place
        for files in by_stem.values()
        for file in files
        if file.suffix != ".gif" or all(other.suffix == ".gif" for other in files)
    )


def _folders(found: tree.Tree) -> set[str]:
    direct = {file.folder for file in found.files}.union(found.empty)
    return direct.union(*map(above, direct)) - {""}


def _keys(clips: Collection[str], folders: Collection[str]) -> list[str]:
    """A clip's key is its path without suffix, or with it, where another would have the same key or lie within it."""
    stem_of = {name: _stem(name) for name in clips}
    stems = Counter(stem_of.values())
    direct = {name.rpartition("/")[0] for name in clips}
    around = direct.union(*map(above, direct))
    taken = {name for name, stem in stem_of.items() if stems[stem] > 1 or stem in clips or stem in around}
    return [name if name in taken or name in folders else stem for name, stem in stem_of.items()]


def _stem(place: str) -> str:
    dot = place.rfind(".")
    return place[:dot] if place.rfind("/") + 1 < dot < len(place) - 1 else place


def _clip(name: str, key: str, path: Path, shelf: _folder_labels.Shelf) -> Clip:
    # Parquet holds text, file names are bytes: what is not UTF-8 is shown escaped.
    name, key, label = (
        os.fsencode(text).decode("utf-8", "backslashreplace") for text in (name, key, shelf.label or "")
    )
    return Clip(dataset="folder", key=key, label=label or None, name=name, source=path, subset=shelf.subset)
