"""Official lists of HMDB51 and UCF101 as text: what encoding they are in, and the form that MMAction2 gives them.

MMAction2 writes a list per fold and side, such as ``ucf101_train_split_1_videos.txt``; what it calls ``val`` is the
test side. A line is ``<class>/<clip> [<frames>] <number>``, and the numbers are those of the sorted classes.
"""

from __future__ import annotations

import codecs
import dataclasses
import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TypeVar

from araflow.core.errors import SourceError
from araflow.core.reading import read_file

Name = TypeVar("Name", bound=Hashable)
Folds = tuple[int | None, int | None, int | None]
"""Tags in folds 1, 2, 3: 0 unused, 1 train, 2 test, ``None`` where a fold does not list the clip."""

_FOLD_LIST = re.compile(
    r"(?:(?P<dataset>[a-z0-9]+)_)?(?P<side>train|val|test)_?split_?(?P<fold>[123])(?:_(?:videos|rawframes))?\.txt"
)
_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """What is known of a clip before its file is looked for.

    Attributes:
        stem: Its name without suffix.
        label: Its class.
        folds: Its tags.
        subset: ``train``, ``val`` or ``test``, where lists or folders of somebody's own say that instead.
    """

    stem: str
    label: str
    folds: Folds = (None, None, None)
    subset: str | None = None


def text_lines(path: Path, what: str) -> Iterator[tuple[int, str]]:
    """Yield line number and text of every line that is not blank; a byte order mark is no part of it.

    Args:
        path: The list: in ASCII, with or without the mark of UTF-8, or in UTF-16.
        what: What it is, for messages, such as ``a UCF101 split list``.

    Raises:
        SourceError: It cannot be read, or is no text in ASCII.
    """
    try:
        data = read_file(path)
        text = data.decode("utf-16" if data.startswith(_MARKS) else "utf-8-sig")
        text.encode("ascii")
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}: {what} is missing or unreadable") from error
    except UnicodeError as error:
        raise SourceError(f"{path}: not {what}: {error}") from error
    if not text.strip() and data.startswith(_MARKS):
        raise SourceError(f"{path}: not {what}: a byte order mark and nothing else")
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            yield number, line.strip()


def fold_lists(paths: Iterable[Path], dataset: str) -> list[tuple[int, int, Path]]:
    """Return fold, tag (1 train, 2 test) and path of MMAction2's lists; of videos and raw frames, the videos'."""
    chosen: dict[tuple[int, str], Path] = {}
    for path in sorted(paths, key=lambda path: (path.stem.endswith("_rawframes"), path)):
        match = _FOLD_LIST.fullmatch(path.name.lower())
        if match is not None and match["dataset"] in (None, dataset):
            chosen.setdefault((int(match["fold"]), match["side"]), path)
    return [(fold, 1 if side == "train" else 2, path) for (fold, side), path in sorted(chosen.items())]


def read_fold_lists(
    chosen: Iterable[tuple[int, int, Path]],
    entry_of: Callable[[str, str], tuple[Name, Entry] | None],
    unlisted: int | None,
) -> dict[Name, Entry]:
    """Read MMAction2's lists.

    Args:
        chosen: As ``fold_lists`` returns them.
        entry_of: Takes a clip's name without suffix and its folder's; returns which clip that is, without tags.
        unlisted: The tag of a clip that a fold does not list, though there are lists of that fold.

    Raises:
        SourceError: A list cannot be read, a line is malformed, a clip is listed twice in a fold, or a number stands
            for two classes.
    """
    entries: dict[Name, Entry] = {}
    tags: dict[int, dict[Name, int]] = {}
    label_of: dict[str, str] = {}
    for fold, tag, path in chosen:
        own = tags.setdefault(fold, {})
        for number, line in text_lines(path, "a split list"):
            words = line.split()
            place = PurePosixPath(words[0])
            found = entry_of(place.name, place.parent.name)
            if found is None or len(words) not in (2, 3) or not all(word.isdecimal() for word in words[1:]):
                raise SourceError(
                    f"{path}:{number}: expected '<class>/<clip> <number>', or '<class>/<clip> <frames> <number>'; "
                    f"found {line!r}"
                )
            name, entry = found
            if (other := label_of.setdefault(words[-1], entry.label)) != entry.label:
                raise SourceError(f"{path}:{number}: {words[-1]} is the number of {other!r}, too; found {line!r}")
            if name in own:
                raise SourceError(f"{path}:{number}: {entry.stem!r} is listed a second time in fold {fold}")
            entries.setdefault(name, entry)
            own[name] = tag
    return {name: dataclasses.replace(entry, folds=_folds(name, tags, unlisted)) for name, entry in entries.items()}


def _folds(name: Name, tags: Mapping[int, Mapping[Name, int]], unlisted: int | None) -> Folds:
    first, second, third = (tags[fold].get(name, unlisted) if fold in tags else None for fold in (1, 2, 3))
    return first, second, third
