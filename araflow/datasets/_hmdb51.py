"""HMDB51's file names and split files, shared by the datasets that are laid out as HMDB51 is.

Kuehne et al., "HMDB: a large video database for human motion recognition", ICCV 2011. A name reads
``<title>_<class>_<body>_<camera>_np<people>_<view>_<quality>_<index>.avi``. Titles hold underscores, class words and
any of ``! # ( ) [ ] & + ; ~ @ -``, so a name is read from its end, never split at underscores.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from araflow.core.clip import Attributes, Clip
from araflow.core.errors import SourceError
from araflow.core.listing import Listing
from araflow.core.reading import read_file

log = logging.getLogger(__name__)

BODY = {"h": "head", "u": "upper", "f": "full", "l": "lower"}
CAMERA = {"cm": "moving", "nm": "static"}
VIEW = {"fr": "front", "ba": "back", "le": "left", "ri": "right"}
QUALITY = {"bad": "bad", "med": "medium", "goo": "good"}
_TITLE = r"[^/\\\0]+"  # a name from a split file must not lead out of its folder
_TAIL = (
    r"_(?P<body>[hufl])_(?P<camera>cm|nm)_np(?P<people>\d+)_(?P<view>fr|ba|le|ri)"
    r"_(?P<quality>bad|med|goo)_(?P<index>\d+)\.avi"
)
TAGS = {"0": 0, "1": 1, "2": 2}
"""Split tags: 0 unused, 1 train, 2 test."""


def parse_name(name: str, label: str) -> tuple[str, Attributes]:
    """Split a clip's file name into its source title and its attributes.

    Args:
        name: File name with suffix, such as ``Crash_walk_f_cm_np1_ri_med_0.avi``.
        label: The clip's class, known from its folder or split file.

    Raises:
        SourceError: The name does not follow the grammar for this class.
    """
    match = re.fullmatch(rf"(?P<title>{_TITLE})_{re.escape(label)}{_TAIL}", name)
    if match is None:
        raise SourceError(
            f"{name!r} is not an HMDB51 name of class {label!r}; expected "
            f"<title>_{label}_<h|u|f|l>_<cm|nm>_np<number>_<fr|ba|le|ri>_<bad|med|goo>_<index>.avi"
        )
    return match["title"], Attributes(
        body=BODY[match["body"]],
        camera=CAMERA[match["camera"]],
        people=int(match["people"]),
        view=VIEW[match["view"]],
        quality=QUALITY[match["quality"]],
    )


def find_label(name: str, labels: Sequence[str]) -> str:
    """Return the class in a file name: the longest known class that fits, since some classes end in others.

    Raises:
        SourceError: None fits.
    """
    for label in sorted(labels, key=len, reverse=True):
        if re.fullmatch(rf"{_TITLE}_{re.escape(label)}{_TAIL}", name):
            return label
    raise SourceError(f"{name!r} is not an HMDB51 name of any of {len(labels)} classes")


def read_splits(folder: Path, label: str) -> dict[str, tuple[int, int, int]]:
    """Read the three official split files of one class.

    Args:
        folder: Folder that holds ``<class>_test_split<1|2|3>.txt``.
        label: The class.

    Returns:
        File name to its tags in folds 1, 2, 3 (0 unused, 1 train, 2 test).

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
    try:
        lines = read_file(path).decode("ascii").splitlines()
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}: an official split file is missing or unreadable") from error
    except UnicodeDecodeError as error:
        raise SourceError(f"{path}: not an HMDB51 split file: {error}") from error
    tags: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if not (words := line.split()):
            continue
        if len(words) != 2 or words[1] not in TAGS or words[0] in tags:
            raise SourceError(f"{path}:{number}: expected '<name>.avi <0|1|2>', once per name; found {line!r}")
        tags[words[0]] = TAGS[words[1]]
    return tags


def list_clips(
    dataset: str, videos: Path | None, splits: Path | None, classes: Sequence[str], suffix: str = ".avi"
) -> Listing:
    """List the clips of an HMDB51-shaped dataset: from the split files, or else from the folders.

    Args:
        dataset: Name that the clips carry.
        videos: Folder ``class/clip.avi`` (or one that holds such a folder), or ``None``.
        splits: Folder of split files (or one that holds it), or ``None``.
        classes: Classes to list.
        suffix: Suffix of clip files, used when folders are listed.

    Raises:
        SourceError: Neither is given, a class folder or split file is missing, or a name does not parse.
    """
    root = None if videos is None else class_root(videos, classes)
    found = {} if root is None else {label: _names(root / label, suffix) for label in classes}
    listed: Mapping[str, Mapping[str, tuple[int | None, int | None, int | None]]]
    if splits is not None:
        split_folder = _split_folder(splits)
        listed = {label: read_splits(split_folder, label) for label in classes}
        extra = [f"{label}/{name}" for label, names in found.items() for name in names if name not in listed[label]]
        if extra:
            log.warning("%d videos are in no split file and are left out, such as %s", len(extra), extra[0])
    elif root is not None:
        if absent := [label for label in classes if not (root / label).is_dir()]:
            raise SourceError(
                f"{root}: no folder for {len(absent)} of {len(classes)} classes, such as {absent[0]!r}; name the "
                "classes that you have (dataset.classes), or give the split files (dataset.splits)"
            )
        listed = {label: dict.fromkeys(names, (None, None, None)) for label, names in found.items()}
    else:
        raise SourceError(f"{dataset}: neither videos nor split files to list clips from")
    clips = []
    for label, names in listed.items():
        for name, folds in names.items():
            title, attributes = parse_name(name, label)
            path = None if root is None else root / label / name
            clips.append(
                Clip(
                    dataset=dataset,
                    key=f"{label}/{name.removesuffix(suffix)}",
                    label=label,
                    group=title,
                    folds=folds,
                    attributes=attributes,
                    name=f"{label}/{name}",
                    source=path if path is not None and path.is_file() else None,
                )
            )
    return Listing(tuple(sorted(clips, key=lambda clip: clip.key)))


def class_root(videos: Path, classes: Sequence[str]) -> Path:
    """Return the folder that holds the class folders: ``videos`` itself, or the one folder inside that does.

    Raises:
        SourceError: No class folder is found.
    """
    if not videos.is_dir():
        raise SourceError(f"{videos}: no such folder; dataset.source must hold class/clip.avi")
    for root in (videos, *sorted(p for p in videos.iterdir() if p.is_dir())):
        if any((root / label).is_dir() for label in classes):
            return root
    raise SourceError(
        f"{videos}: holds none of the class folders {', '.join(classes[:5])}{', …' if len(classes) > 5 else ''}; "
        "dataset.source must hold class/clip.avi"
    )


def _names(folder: Path, suffix: str) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(p.name for p in folder.iterdir() if p.suffix == suffix and not p.name.startswith("._"))


def _split_folder(splits: Path) -> Path:
    if not splits.is_dir():
        raise SourceError(f"{splits}: no such folder; dataset.splits must hold <class>_test_split<1|2|3>.txt")
    for folder in (splits, *sorted(p for p in splits.iterdir() if p.is_dir())):
        if any(not p.name.startswith("._") for p in folder.glob("*_test_split1.txt")):
            return folder
    raise SourceError(f"{splits}: holds no official split files (<class>_test_split<1|2|3>.txt)")
