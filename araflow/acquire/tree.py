"""One look through a folder: every file in it, by kind, and what is passed over by everybody.

Which file is which clip is for the dataset to say; that hidden files and araflow's own output are none is said here.
"""

from __future__ import annotations

import dataclasses
import enum
import os
from pathlib import Path, PurePosixPath

from araflow.acquire.walk import is_archive_name
from araflow.core.errors import SourceError
from araflow.core.files import PROOF, STATE
from araflow.core.listing import Leftovers
from araflow.media import signs
from araflow.media.source_files import IMAGE_SUFFIXES, VIDEO_SUFFIXES

LIST_SUFFIXES = frozenset({".csv", ".txt", ".tsv", ".json"})
_OTHER = (
    ".md .html .htm .xml .yaml .yml .toml .ini .log .py .ipynb .sh .m .c .h .npy .npz .pkl .h5 .hdf5 .mat .pt "
    ".pth .onnx .parquet .arrow .safetensors .bin .wav .mp3 .m4a .flac .aac .wma .opus .srt .vtt .ass .sub "
    ".pdf .doc .docx .xls .xlsx .flo .part .crdownload .download .aria2 .tmp"
)
_NEVER_VIDEO = frozenset(_OTHER.split())
"""Not opened to see what they are; half a download is no video yet."""
_KEPT_BY_OTHERS = frozenset({"__macosx", "@eadir", "lost+found", "$recycle.bin", "system volume information"})
"""Folders that file systems and archivers keep beside what they hold."""
_NOTED_BY_OTHERS = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"})


class Kind(enum.Enum):
    """What a file is, by its name, or else by its first bytes."""

    VIDEO = "video"
    IMAGE = "image"
    ARCHIVE = "archive"
    LIST = "list"
    OTHER = "other"


@dataclasses.dataclass(frozen=True, slots=True)
class File:
    """A file in a folder that was looked through.

    Attributes:
        root: The folder.
        place: Path below it, with ``/``.
        kind: What it is.
    """

    root: Path
    place: str
    kind: Kind

    @property
    def path(self) -> Path:
        """Where it lies."""
        return self.root / self.place

    @property
    def name(self) -> str:
        """File name with suffix."""
        return self.place.rpartition("/")[2]

    @property
    def folder(self) -> str:
        """Path of its folder below the root, with ``/``; empty for the root itself."""
        return self.place.rpartition("/")[0]

    @property
    def suffix(self) -> str:
        """Suffix in lower case, with the dot."""
        return PurePosixPath(self.name).suffix.lower()


@dataclasses.dataclass(frozen=True, slots=True)
class Tree:
    """What a folder holds.

    Attributes:
        files: In the order of their paths, folder by folder.
        empty: Paths below the root, with ``/``, of folders that hold nothing.
        passed_over: What is no file of anybody's: hidden, written by araflow, a link in a circle, what
            is called an archive and is no file.
    """

    files: tuple[File, ...]
    empty: tuple[str, ...]
    passed_over: Leftovers

    def of(self, *kinds: Kind) -> list[File]:
        """Return the files of these kinds."""
        return [file for file in self.files if file.kind in kinds]


def look_through(root: Path, *, own: bool = False) -> Tree:
    """Find every file below a folder; links are followed, but never in a circle.

    Args:
        root: The folder.
        own: It may be one that araflow fills, which is passed over in any other place.

    Raises:
        SourceError: A folder cannot be read: it would be taken for an empty one.
    """
    files: list[File] = []
    empty: list[str] = []
    over = Leftovers()
    to_see: list[tuple[str, frozenset[tuple[int, int]]]] = [("", frozenset())]
    try:
        while to_see:
            below, above = to_see.pop()
            folder = root / below
            status = folder.stat()
            if (here := (status.st_dev, status.st_ino)) in above:
                over.add("circle", "", below)
                continue
            with os.scandir(folder) as entries:
                found = [(entry.name, _is_folder(entry)) for entry in entries]
            if not (own and not below) and any(name in (STATE, PROOF) for name, _ in found):
                over.add("output", "", below or ".")
                continue
            shown = 0
            for name, is_folder in found:
                place = f"{below}/{name}" if below else name
                if is_hidden(name):
                    over.add("hidden", "", place)
                    continue
                shown += 1
                if is_folder:
                    to_see.append((place, above | {here}))
                elif (kind := kind_at(folder / name)) is Kind.ARCHIVE and not (folder / name).is_file():
                    # Whoever opens it may wait for ever.
                    over.add("no-file", PurePosixPath(name).suffix.lower(), place)
                else:
                    files.append(File(root, place, kind))
            if not shown:
                empty.append(below)
    except OSError as error:
        raise SourceError(f"{error.filename}: {error.strerror}") from error
    return Tree(tuple(sorted(files, key=lambda file: file.place.split("/"))), tuple(sorted(empty)), over)


def kind_of(name: str) -> Kind:
    """Say what a file is by its name."""
    suffix = PurePosixPath(name).suffix.lower()
    if suffix in VIDEO_SUFFIXES:
        return Kind.VIDEO
    if suffix in IMAGE_SUFFIXES:
        return Kind.IMAGE
    if is_archive_name(name):
        return Kind.ARCHIVE
    return Kind.LIST if suffix in LIST_SUFFIXES else Kind.OTHER


def kind_at(path: Path) -> Kind:
    """Say what a file is by its name, or else by its first bytes."""
    kind = kind_of(path.name)
    if kind is not Kind.OTHER or path.suffix.lower() in _NEVER_VIDEO:
        return kind
    try:
        return Kind.VIDEO if signs.is_video(path) else kind
    except OSError:  # a pipe, a link that leads nowhere, a file of somebody else's
        return kind


def is_hidden(name: str) -> bool:
    """Whether a file or folder is hidden, or is what systems keep beside the files of people."""
    return name.startswith(".") or name.lower() in _KEPT_BY_OTHERS or name.lower() in _NOTED_BY_OTHERS


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads in a circle
        return False
