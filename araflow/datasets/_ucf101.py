"""UCF101's file names and split lists.

Soomro, Zamir, Shah, "UCF101: A dataset of 101 human actions classes from videos in the wild", CRCV-TR-12-01, 2012. A
name reads ``v_<Class>_g<group>_c<clip>.avi``; clips of one group are cut from one video. The official lists end lines
with CR LF, the test lists name no label, and 128 files of the class ``HandstandPushups`` are called
``v_HandStandPushups_…``: names are compared without case.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import re
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path

from araflow.acquire import walk
from araflow.core.clip import Clip
from araflow.core.errors import SourceError
from araflow.datasets import _official, _shelves
from araflow.datasets._official import Entry, Folds

Name = tuple[str, int, int]
"""Class, group number and clip number."""

_STEM = re.compile(r"v_(?P<label>[A-Za-z0-9]+)_g(?P<group>[0-9]{2,})_c(?P<clip>[0-9]{2,})", re.IGNORECASE)
_COLUMNS = ("clip_name", "label")
_SUBSET_LISTS = ("train.csv", "val.csv", "test.csv")


def parse_name(name: str) -> tuple[str, int, int]:
    """Split a clip's file name into class (as spelt in it), group number and clip number.

    Raises:
        SourceError: It is no UCF101 name.
    """
    found = _parse(name[:-4]) if name.lower().endswith(".avi") else None
    if found is None:
        raise SourceError(f"{name!r} is not a UCF101 name; expected v_<Class>_g<number>_c<number>.avi")
    return found


def _parse(stem: str) -> tuple[str, int, int] | None:
    match = _STEM.fullmatch(stem)
    return None if match is None else (match["label"], int(match["group"]), int(match["clip"]))


def canonical(label: str, labels: Sequence[str]) -> str | None:
    """Return the class that ``label`` means, spelt as in ``labels``; case is ignored. ``None`` where it is unknown."""
    return _by_folded(tuple(labels)).get(label.casefold())


@functools.lru_cache(maxsize=8)
def _by_folded(labels: tuple[str, ...]) -> dict[str, str]:
    return {label.casefold(): label for label in labels}


def read_splits(folder: Path) -> dict[str, tuple[str, Folds]]:
    """Read ``classInd.txt``, ``trainlist0<1|2|3>.txt`` and ``testlist0<1|2|3>.txt``.

    Args:
        folder: Folder that holds them.

    Returns:
        File name as the lists spell it (``.avi`` whatever suffix they have) to its class (spelt as in ``classInd.txt``)
        and its tags.

    Raises:
        SourceError: A list is missing, a line is malformed or contradicts ``classInd.txt``, or a fold lists a file
            twice.
    """
    numbers = _read_classes(folder / "classInd.txt")
    class_of: dict[str, tuple[str, str]] = {}  # name without case: name, class
    tags: tuple[dict[str, int], ...] = ({}, {}, {})
    for fold, tagged in enumerate(tags, start=1):
        for tag, kind in ((1, "train"), (2, "test")):
            path = folder / f"{kind}list0{fold}.txt"
            for number, line in _official.text_lines(path, "a UCF101 split list"):
                name, label = _read_entry(f"{path}:{number}", line, numbers)
                if (key := name.casefold()) in tagged:
                    raise SourceError(f"{path}:{number}: {name!r} is listed a second time in fold {fold}")
                class_of.setdefault(key, (name, label))
                tagged[key] = tag
    return {
        name: (label, (tags[0].get(key), tags[1].get(key), tags[2].get(key))) for key, (name, label) in class_of.items()
    }


def read_lists(splits: Path, labels: Sequence[str]) -> dict[Name, Entry]:
    """Read the official split lists, MMAction2's, or the CSV files of a split of Kaggle's.

    Args:
        splits: Folder that holds them, at whatever depth (the archive's is called ``ucfTrainTestlist``).
        labels: All classes, as ``classInd.txt`` spells them.

    Raises:
        SourceError: There are none, or they are not what they should be.
    """
    if not splits.is_dir():
        raise SourceError(f"{splits}: no such folder; dataset.splits must hold classInd.txt and trainlist01.txt")
    paths = sorted(path for path in walk.files(splits) if path.suffix in (".txt", ".csv"))
    if (own := next((path for path in paths if path.name == "trainlist01.txt"), None)) is not None:
        found = read_splits(own.parent)
        entries = (Entry(name[:-4], label, folds) for name, (label, folds) in found.items())
        return {(entry.label, *parse_name(f"{entry.stem}.avi")[1:]): entry for entry in entries}
    if chosen := _official.fold_lists(paths, "ucf101"):
        return _official.read_fold_lists(chosen, lambda name, _: _entry_of(name, labels), unlisted=None)
    if own_split := [path for path in paths if path.name in _SUBSET_LISTS]:
        return _read_subsets([path for path in own_split if path.parent == own_split[0].parent], labels)
    seen = f"; it holds {len(paths)} other lists, such as {paths[0].name}" if paths else ""
    raise SourceError(
        f"{splits}: holds no UCF101 split lists (classInd.txt, trainlist01.txt, testlist01.txt …), nor MMAction2's "
        f"(ucf101_train_split_<1|2|3>_videos.txt), nor train.csv and test.csv with columns clip_name and label{seen}"
    )


def _entry_of(name: str, labels: Sequence[str]) -> tuple[Name, Entry] | None:
    stem = _shelves.stem_of(name)
    if (parsed := _parse(stem)) is None or (label := canonical(parsed[0], labels)) is None:
        return None
    return (label, *parsed[1:]), Entry(stem, label)


def _read_subsets(paths: Sequence[Path], labels: Sequence[str]) -> dict[Name, Entry]:
    """Read Kaggle's ``train.csv``, ``val.csv`` and ``test.csv``, which have nothing of the official folds."""
    entries: dict[Name, Entry] = {}
    for path in paths:
        lines = list(_official.text_lines(path, "a UCF101 list of clips"))
        try:
            rows = list(csv.reader((line for _, line in lines), strict=True))
        except csv.Error as error:
            raise SourceError(f"{path}: not readable as CSV: {error}") from error
        header = rows[0] if rows else []
        if not set(_COLUMNS) <= set(header):
            raise SourceError(f"{path}: a list of clips has the columns {' and '.join(_COLUMNS)}; found {header}")
        for (number, line), row in zip(lines[1:], rows[1:], strict=False):
            values = dict(zip(header, row, strict=False))
            found = _entry_of(values["clip_name"], labels)
            if found is None or found[1].label.casefold() != values.get("label", "").casefold():
                raise SourceError(f"{path}:{number}: expected a UCF101 name and its class; found {line!r}")
            if found[0] in entries:
                raise SourceError(f"{path}:{number}: {values['clip_name']!r} is listed a second time")
            entries[found[0]] = dataclasses.replace(found[1], subset=path.stem)
    return entries


@dataclasses.dataclass(frozen=True, slots=True)
class Grammar:
    """UCF101's names, for ``araflow.datasets._named``.

    Attributes:
        labels: All classes, as ``classInd.txt`` spells them.
    """

    labels: tuple[str, ...]
    title = "UCF101"
    original = ".avi"
    layout = "UCF-101/<Class>/v_<Class>_g<number>_c<number>.avi"
    forms: tuple[Callable[[Name], Hashable], ...] = ()

    def read(self, stem: str, folders: Sequence[str]) -> Name | None:
        """Return class, as ``classInd.txt`` spells it, and numbers."""
        found = _entry_of(stem, self.labels)
        return None if found is None else found[0]

    def label(self, name: Name) -> str:
        """Return its class."""
        return name[0]

    def lists(self, splits: Path, classes: Sequence[str]) -> dict[Name, Entry]:
        """Read split lists."""
        return read_lists(splits, self.labels)

    def clip(self, entry: Entry, source: Path | None) -> Clip:
        """Return a clip."""
        _, group, _ = parse_name(f"{entry.stem}.avi")
        return Clip(
            dataset="ucf101",
            key=f"{entry.label}/{entry.stem}",
            label=entry.label,
            group=f"{entry.label}_g{group:02d}",
            folds=entry.folds,
            subset=entry.subset,
            name=f"{entry.label}/{entry.stem}.avi",
            source=source,
        )


def _read_classes(path: Path) -> dict[str, int]:
    numbers: dict[str, int] = {}
    seen: set[str] = set()
    for number, line in _official.text_lines(path, "a UCF101 class list"):
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
    name = f"{_shelves.stem_of(name)}.avi"
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
