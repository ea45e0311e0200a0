"""Any videos of one's own in a folder: which file is which clip, and what is left over."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path, PurePosixPath

from araflow.acquire import tree
from araflow.acquire.tree import File, Kind
from araflow.core.clip import Clip
from araflow.core.listing import Listing
from araflow.media.source_files import VIDEO_SUFFIXES


def list_clips(root: Path) -> Listing:
    """List every video file, and every folder that directly holds images, below a folder.

    Raises:
        SourceError: A folder cannot be read.
    """
    found = tree.look_through(root)
    over = found.passed_over
    videos = {file.place: file.path for file in found.of(Kind.VIDEO)}
    frames = _frame_folders(found, set(videos))
    for file in found.files:
        if file.kind is Kind.IMAGE and file.folder not in frames:
            over.add("beside-clips", file.suffix, file.place)
        elif file.kind is Kind.ARCHIVE:
            over.add("archive", file.suffix, file.place)
        elif file.kind in (Kind.LIST, Kind.OTHER):
            over.add("suffix", file.suffix or "without suffix", file.place)
    for folder in found.empty:
        if folder and folder not in frames:
            over.add("empty-folder", "", folder)
    names = {folder or root.resolve().name: root / folder for folder in frames}
    return Listing(tuple(_with_keys(videos | names)), over.entries())


def single(path: Path) -> Clip:
    """Return the clip that is one video file."""
    return _clip(path.name, path.name if path.stem in (".", "..") else path.stem, path)


def _frame_folders(found: tree.Tree, videos: set[str]) -> set[str]:
    """Folders that directly hold images, and no clip below; and those in a video's place."""
    images = {file.folder for file in found.of(Kind.IMAGE)}
    named = {folder for folder in _folders(found.files, found.empty) if _suffix(folder) in VIDEO_SUFFIXES}
    taken: set[str] = set()
    inhabited = {parent for place in videos for parent in _above(place)}
    for folder in sorted(images | named, key=lambda folder: -len(folder.split("/")) if folder else 1):
        if folder not in inhabited:
            taken.add(folder)
            inhabited.update(_above(folder))
    return taken


def _folders(files: tuple[File, ...], empty: tuple[str, ...]) -> set[str]:
    found = {parent for file in files for parent in _above(file.place)}
    return found.union(empty) - {""}


def _above(place: str) -> list[str]:
    """Return the folders around a place below the root, the root itself (empty) included."""
    parts = place.split("/")
    return ["/".join(parts[:number]) for number in range(len(parts))] if place else []


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def _with_keys(found: dict[str, Path]) -> list[Clip]:
    stem_of = {name: str(PurePosixPath(name).with_suffix("")) for name in found}
    stems = Counter(stem_of.values())
    folders = {str(parent) for name in found for parent in PurePosixPath(name).parents}
    clips = []
    for name, path in found.items():
        stem = stem_of[name]
        taken = stems[stem] > 1 or stem in found or stem in folders
        clips.append(_clip(name, name if path.is_dir() or taken else stem, path))
    return clips


def _clip(name: str, key: str, path: Path) -> Clip:
    # Parquet holds text, file names are bytes: what is not UTF-8 is shown escaped.
    name, key = (os.fsencode(text).decode("utf-8", "backslashreplace") for text in (name, key))
    label, slash, _ = name.partition("/")
    return Clip(dataset="folder", key=key, label=label if slash else None, name=name, source=path)
