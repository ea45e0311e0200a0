"""HMDB51's file names and split files, shared by the datasets that are laid out as HMDB51 is.

Kuehne et al., "HMDB: a large video database for human motion recognition", ICCV 2011. A name reads
``<title>_<class>_<body>_<camera>_np<people>_<view>_<quality>_<index>.avi``. Titles hold underscores, class words and
any of ``! # ( ) [ ] & + ; ~ @ -``, so a name is read from its end, never split at underscores.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from urllib.parse import unquote

from araflow.acquire import walk
from araflow.core.clip import Attributes, Clip
from araflow.core.errors import SourceError
from araflow.datasets import _official, _shelves
from araflow.datasets._official import Entry

BODY = {"h": "head", "u": "upper", "f": "full", "l": "lower"}
CAMERA = {"cm": "moving", "nm": "static"}
VIEW = {"fr": "front", "ba": "back", "le": "left", "ri": "right"}
QUALITY = {"bad": "bad", "med": "medium", "goo": "good"}
_TAIL = (
    r"_(?P<body>[hufl])_(?P<camera>cm|nm)_np(?P<people>\d+)_(?P<view>fr|ba|le|ri)"
    r"_(?P<quality>bad|med|goo)_(?P<index>\d+)"
)
_STEM = re.compile(rf"(?P<front>[^/\\\0]+){_TAIL}", re.ASCII)
"""The title and the class, which only a known class tells apart; no name must lead out of its folder."""
TAGS = {"0": 0, "1": 1, "2": 2}
"""Split tags: 0 unused, 1 train, 2 test."""
Name = tuple[str, str]
"""Class and file name without suffix."""


def parse_name(name: str, label: str) -> tuple[str, Attributes]:
    """Split a clip's file name into its source title and its attributes.

    Args:
        name: File name with suffix, such as ``Crash_walk_f_cm_np1_ri_med_0.avi``.
        label: The clip's class, known from its folder or split file.

    Raises:
        SourceError: The name does not follow the grammar for this class.
    """
    found = _parse(name.removesuffix(".avi"), label) if name.endswith(".avi") else None
    if found is None:
        raise SourceError(
            f"{name!r} is not an HMDB51 name of class {label!r}; expected "
            f"<title>_{label}_<h|u|f|l>_<cm|nm>_np<number>_<fr|ba|le|ri>_<bad|med|goo>_<index>.avi"
        )
    return found


def _parse(stem: str, label: str) -> tuple[str, Attributes] | None:
    match = _STEM.fullmatch(stem)
    if match is None or not (title := match["front"].removesuffix(f"_{label}")) or title == match["front"]:
        return None
    return title, Attributes(
        body=BODY[match["body"]],
        camera=CAMERA[match["camera"]],
        people=int(match["people"]),
        view=VIEW[match["view"]],
        quality=QUALITY[match["quality"]],
    )


def find_label(stem: str, labels: Sequence[str], folders: Sequence[str] = ()) -> str | None:
    """Return the class of a name without suffix, or ``None`` if it is no name of any.

    Of the folders and archives around it, the nearest first, one that is named as a class that fits decides: some
    classes end in others. Otherwise it is the longest class that fits.
    """
    if _STEM.fullmatch(stem) is None:
        return None
    around = (folder.partition(".")[0] for folder in folders)
    nearest = (folder for folder in around if folder in labels)
    return next(
        (label for label in (*nearest, *_longest_first(tuple(labels))) if _parse(stem, label) is not None), None
    )


@functools.lru_cache(maxsize=8)
def _longest_first(labels: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(labels, key=len, reverse=True))


def read_splits(folder: Path, label: str) -> dict[str, tuple[int, int, int]]:
    """Read the three official split files of one class.

    Args:
        folder: Folder that holds ``<class>_test_split<1|2|3>.txt``.
        label: The class.

    Returns:
        File name to its tags in folds 1, 2, 3 (0 unused, 1 train, 2 test). The suffix is ``.avi`` whatever a line has.

    Raises:
        SourceError: A file is missing, a line is malformed, or the three files list different clips.
    """
    folds = [_read_split(folder / f"{label}_test_split{fold}.txt") for fold in (1, 2, 3)]
    for fold, tags in enumerate(folds[1:], start=2):
        if odd := sorted(folds[0].keys() ^ tags.keys()):
            raise SourceError(
                f"{folder}: the split files of {label!r} disagree: {odd[0]!r} is in fold 1 or fold {fold} only"
            )
    return {name: (tag, folds[1][name], folds[2][name]) for name, tag in folds[0].items()}


def _read_split(path: Path) -> dict[str, int]:
    tags: dict[str, int] = {}
    for number, line in _official.text_lines(path, "an HMDB51 split file"):
        words = line.split()
        name = f"{_shelves.stem_of(words[0])}.avi"
        if len(words) != 2 or words[1] not in TAGS or name in tags:
            raise SourceError(f"{path}:{number}: expected '<name>.avi <0|1|2>', once per name; found {line!r}")
        tags[name] = TAGS[words[1]]
    return tags


def read_lists(splits: Path, classes: Sequence[str], labels: Sequence[str]) -> dict[Name, Entry]:
    """Read the official split files, or MMAction2's, of the classes.

    Args:
        splits: Folder that holds them, at whatever depth.
        classes: The classes that are wanted.
        labels: All classes, since a name may end in several.

    Raises:
        SourceError: There are none, or they are not what they should be.
    """
    if not splits.is_dir():
        raise SourceError(f"{splits}: no such folder; dataset.splits must hold <class>_test_split<1|2|3>.txt")
    paths = sorted(path for path in walk.files(splits) if path.suffix == ".txt")
    if (own := next((path for path in paths if path.name.endswith("_test_split1.txt")), None)) is not None:
        entries = {}
        for label in classes:
            for name, folds in read_splits(own.parent, label).items():
                parse_name(name, label)
                stem = name.removesuffix(".avi")
                entries[label, stem] = Entry(stem, label, folds)
        return entries
    if chosen := _official.fold_lists(paths, "hmdb51"):

        def entry_of(name: str, folder: str) -> tuple[Name, Entry] | None:
            stem = _shelves.stem_of(name)
            label = find_label(stem, labels, (folder,))
            return None if label is None else ((label, stem), Entry(stem, label))

        return _official.read_fold_lists(chosen, entry_of, unlisted=0)
    seen = f"; it holds {len(paths)} other .txt files, such as {paths[0].name}" if paths else ""
    raise SourceError(
        f"{splits}: holds no official split files (<class>_test_split<1|2|3>.txt), nor MMAction2's "
        f"(hmdb51_train_split_<1|2|3>_videos.txt){seen}"
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Grammar:
    """HMDB51's names, for ``araflow.datasets._named``.

    Attributes:
        labels: All classes.
        dataset: Name of the dataset that is laid out so.
    """

    labels: tuple[str, ...]
    dataset: str = "hmdb51"
    title = "HMDB51"
    original = ".avi"
    layout = "class/clip.avi"

    def read(self, stem: str, folders: Sequence[str]) -> Name | None:
        """Return class and name."""
        label = find_label(stem, self.labels, folders)
        return None if label is None else (label, stem)

    def label(self, name: Name) -> str:
        """Return its class."""
        return name[0]

    @property
    def forms(self) -> tuple[Callable[[Name], Hashable], ...]:
        """Whatever the class's folder; special characters of the title replaced; and without any."""
        return (lambda name: name[1], lambda name: _plain(name[1], "_"), lambda name: _plain(name[1], ""))

    def lists(self, splits: Path, classes: Sequence[str]) -> dict[Name, Entry]:
        """Read split files."""
        return read_lists(splits, classes, self.labels)

    def clip(self, entry: Entry, source: Path | None) -> Clip:
        """Return a clip."""
        name = f"{entry.stem}.avi"
        title, attributes = parse_name(name, entry.label)
        return Clip(
            dataset=self.dataset,
            key=f"{entry.label}/{entry.stem}",
            label=entry.label,
            group=title,
            folds=entry.folds,
            subset=entry.subset,
            attributes=attributes,
            name=f"{entry.label}/{name}",
            source=source,
        )


def _plain(stem: str, mark: str) -> tuple[str, str]:
    """Return title and class without special characters and case, and the rest of the name as it is.

    Windows, Kaggle and web servers change ``!#&;[]`` in titles: each to ``_``, to ``%21``, or to nothing.
    """
    front = stem[: match.end("front")] if (match := _STEM.fullmatch(stem)) is not None else stem
    return re.sub("[^a-z0-9]", mark, unquote(front).casefold()), stem[len(front) :]
