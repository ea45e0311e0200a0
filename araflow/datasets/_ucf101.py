"""UCF101's file names and split lists.

Soomro, Zamir, Shah, "UCF101: A dataset of 101 human actions classes from videos in the wild", CRCV-TR-12-01, 2012. A
name reads ``v_<Class>_g<group>_c<clip>.avi``; clips of one group are cut from one video. The official lists end lines
with CR LF, the test lists name no label, and 128 files of the class ``HandstandPushups`` are called
``v_HandStandPushups_…``: names are compared without case.
"""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from araflow.core.clip import Clip
from araflow.core.errors import SourceError
from araflow.core.listing import Listing
from araflow.core.reading import read_file

log = logging.getLogger(__name__)

Folds = tuple[int | None, int | None, int | None]
"""Tags in folds 1, 2, 3: 1 train, 2 test, ``None`` where the fold does not list the clip."""

_NAME = re.compile(r"v_(?P<label>[A-Za-z0-9]+)_g(?P<group>[0-9]{2,})_c(?P<clip>[0-9]{2,})\.avi", re.IGNORECASE)
_DEPTH = 4
"""Folders searched below the one given: room for ``<unpacked>/UCF-101/<Class>``, and no circle of links."""


def parse_name(name: str) -> tuple[str, int, int]:
    """Split a clip's file name into class (as spelt in it), group number and clip number.

    Raises:
        SourceError: It is no UCF101 name.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise SourceError(f"{name!r} is not a UCF101 name; expected v_<Class>_g<number>_c<number>.avi")
    return match["label"], int(match["group"]), int(match["clip"])


def canonical(label: str, labels: Sequence[str]) -> str | None:
    """Return the class that ``label`` means, spelt as in ``labels``; case is ignored. ``None`` where it is unknown."""
    return _by_folded(tuple(labels)).get(label.casefold())


@functools.lru_cache(maxsize=8)
def _by_folded(labels: tuple[str, ...]) -> dict[str, str]:
    return {label.casefold(): label for label in labels}


def read_splits(folder: Path) -> dict[str, tuple[str, Folds]]:
    """Read ``classInd.txt``, ``trainlist0<1|2|3>.txt`` and ``testlist0<1|2|3>.txt``.

    Args:
        folder: Folder that holds them, or that holds such a folder (the archive's is called ``ucfTrainTestlist``).

    Returns:
        File name as the lists spell it to its class (spelt as in ``classInd.txt``) and its tags.

    Raises:
        SourceError: A list is missing, a line is malformed or contradicts ``classInd.txt``, or a fold lists a file
            twice.
    """
    folder = _split_folder(folder)
    numbers = _read_classes(folder / "classInd.txt")
    class_of: dict[str, tuple[str, str]] = {}  # name without case: name, class
    tags: tuple[dict[str, int], ...] = ({}, {}, {})
    for fold, tagged in enumerate(tags, start=1):
        for tag, kind in ((1, "train"), (2, "test")):
            path = folder / f"{kind}list0{fold}.txt"
            for number, line in _lines(path):
                name, label = _read_entry(f"{path}:{number}", line, numbers)
                if (key := name.casefold()) in tagged:
                    raise SourceError(f"{path}:{number}: {name!r} is listed a second time in fold {fold}")
                class_of.setdefault(key, (name, label))
                tagged[key] = tag
    return {
        name: (label, (tags[0].get(key), tags[1].get(key), tags[2].get(key))) for key, (name, label) in class_of.items()
    }


def list_clips(dataset: str, videos: Path | None, splits: Path | None, classes: Sequence[str]) -> Listing:
    """List the clips of the classes: from the split lists, or else from the videos that are there.

    Args:
        dataset: Name that the clips carry.
        videos: Folder of videos, in any layout: ``UCF-101/<Class>/…``, class folders, or all in one; or ``None``.
        splits: Folder of split lists (or one that holds it), or ``None``.
        classes: Classes to list, spelt as in ``classInd.txt``.

    Raises:
        SourceError: Neither is given, a folder holds no such files, or a class has no videos and there are no lists.
    """
    found = {} if videos is None else _find(videos)
    listed: dict[str, tuple[str, Folds]] = {}
    if splits is not None:
        everything = read_splits(splits)
        listed = {name: entry for name, entry in everything.items() if entry[0] in classes}
        known = {name.casefold() for name in everything}
        strays = [path for key, path in found.items() if key not in known]
    elif videos is not None:
        strays = []
        for path in found.values():
            match = _NAME.fullmatch(path.name)
            if match is None:
                strays.append(path)
            elif label := canonical(match["label"], classes):
                listed[path.name] = (label, (None, None, None))
        there = {label for label, _ in listed.values()}
        if absent := [label for label in classes if label not in there]:
            raise SourceError(
                f"{videos}: no videos of {len(absent)} of {len(classes)} classes, such as {absent[0]!r}; name the "
                "classes that you have (dataset.classes), or give the split lists (dataset.splits)"
            )
    else:
        raise SourceError(f"{dataset}: neither videos nor split lists to list clips from")
    if strays:
        log.warning("%d videos are in no split list, or no UCF101 names, and are left out: %s", len(strays), strays[0])
    clips = [_clip(dataset, name, label, folds, found) for name, (label, folds) in listed.items()]
    return Listing(tuple(sorted(clips, key=lambda clip: clip.key)))


def _clip(dataset: str, name: str, label: str, folds: Folds, found: dict[str, Path]) -> Clip:
    _, group, _ = parse_name(name)
    return Clip(
        dataset=dataset,
        key=f"{label}/{Path(name).stem}",
        label=label,
        group=f"{label}_g{group:02d}",
        folds=folds,
        name=f"{label}/{name}",
        source=found.get(name.casefold()),
    )


def _find(videos: Path) -> dict[str, Path]:
    """Return name without case to path of every ``.avi`` below; of two with one name the first by path is taken."""
    if not videos.is_dir():
        raise SourceError(f"{videos}: no such folder; dataset.source must hold v_<Class>_g<number>_c<number>.avi files")
    found: dict[str, Path] = {}
    for path in _walk(videos, _DEPTH):
        first = found.setdefault(path.name.casefold(), path)
        if first is not path:
            log.warning("%s is there twice; %s is taken, %s is not", path.name, first, path)
    if not found:
        raise SourceError(f"{videos}: holds no .avi files; dataset.source must hold UCF-101/<Class>/v_<Class>_….avi")
    return found


def _walk(folder: Path, depth: int) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):  # hidden, or the resource forks that macOS adds to archives
            continue
        if path.is_dir():
            if depth:
                yield from _walk(path, depth - 1)
        elif path.suffix.lower() == ".avi":
            yield path


def _split_folder(splits: Path) -> Path:
    if not splits.is_dir():
        raise SourceError(f"{splits}: no such folder; dataset.splits must hold classInd.txt and trainlist01.txt")
    for folder in (splits, *sorted(p for p in splits.iterdir() if p.is_dir() and not p.name.startswith("."))):
        if (folder / "trainlist01.txt").is_file():
            return folder
    raise SourceError(f"{splits}: holds no UCF101 split lists (classInd.txt, trainlist01.txt, testlist01.txt …)")


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line number and text of every line that is not blank."""
    try:
        text = read_file(path).decode("ascii")
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}: an official split list is missing or unreadable") from error
    except UnicodeDecodeError as error:
        raise SourceError(f"{path}: not a UCF101 split list: {error}") from error
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            yield number, line.strip()


def _read_classes(path: Path) -> dict[str, int]:
    numbers: dict[str, int] = {}
    seen: set[str] = set()
    for number, line in _lines(path):
        words = line.split()
        if len(words) != 2 or not words[0].isdecimal() or not seen.isdisjoint(line.casefold().split()):
            raise SourceError(f"{path}:{number}: expected '<number> <Class>', each once; found {line!r}")
        seen.update(line.casefold().split())
        numbers[words[1]] = int(words[0])
    return numbers


def _read_entry(where: str, line: str, numbers: dict[str, int]) -> tuple[str, str]:
    """Read ``<Class>/<file>`` and, in training lists, its label; return file name and class."""
    words = line.split()
    folder, slash, name = words[0].rpartition("/")
    if not slash or len(words) > 2:
        raise SourceError(f"{where}: expected '<Class>/<file>' and, in a training list, its number; found {line!r}")
    try:
        spelt, _, _ = parse_name(name)
    except SourceError as error:
        raise SourceError(f"{where}: {error}") from error
    label = canonical(folder, list(numbers))
    if label is None or label.casefold() != spelt.casefold():
        raise SourceError(f"{where}: {folder!r} is not a class of classInd.txt, or not that of {name!r}")
    if len(words) == 2 and words[1] != str(numbers[label]):
        raise SourceError(f"{where}: label {words[1]!r}, but classInd.txt gives {label} the number {numbers[label]}")
    return name, label
