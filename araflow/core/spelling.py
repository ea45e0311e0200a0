"""Names as people, and some file systems, take them: whatever their Unicode form and case, and 2 before 10.

macOS and archives made there write ``café`` decomposed (NFD), most lists composed (NFC); both look the same. Windows,
and macOS as it comes, take ``Walk`` and ``walk`` for one name.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path


def composed(name: str) -> str:
    """Return a name in Unicode's composed form (NFC): equal for names that look the same."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def folded(name: str) -> str:
    """Return a name without its case, composed: equal for names that a file system which ignores case takes for one.

    Unicode's canonical caseless matching (The Unicode Standard, section 3.13, D145).
    """
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


def natural(name: str) -> tuple[list[str | tuple[int, str]], str]:
    """Return what sorts names in natural order: numbers in them by value, all else as text, so that 2 is before 10."""
    texts: list[str | tuple[int, str]] = [*re.split("[0-9]+", name)]
    numbers = [number.lstrip("0") for number in re.findall("[0-9]+", name)]
    parts = [part for pair in zip(texts, [(len(one), one) for one in numbers], strict=False) for part in pair]
    return [*parts, texts[-1]], name


def alike(names: Iterable[str]) -> list[tuple[str, str]]:
    """Return two names for each that differs from an earlier one in nothing but Unicode's form, or case."""
    first: dict[str, str] = {}
    return [(one, name) for name in names if (one := first.setdefault(folded(name), name)) != name]


class Names:
    """Names that are there, to be found however they are spelled.

    Args:
        names: The names, or paths with ``/``.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(names)
        self._composed: dict[str, list[str]] = defaultdict(list)
        self._folded: dict[str, list[str]] = defaultdict(list)
        for name in sorted(self._names):
            self._composed[composed(name)].append(name)
            self._folded[folded(name)].append(name)

    def find(self, wanted: str) -> str | None:
        """Return what is there of a name: itself, or else the only one that differs in nothing but form, or case.

        Of several that differ so, nobody knows which is meant: ``None``.
        """
        if wanted in self._names:
            return wanted
        for found in (self._composed.get(composed(wanted)), self._folded.get(folded(wanted))):
            if found is not None:
                return found[0] if len(found) == 1 else None
        return None


class Paths:
    """Finds files whose names are spelled otherwise; each folder that is looked into is read once."""

    def __init__(self) -> None:
        self._folders: dict[Path, Names] = {}

    def find(self, path: Path) -> Path | None:
        """Return a path that is there: itself, or else the only one spelled like it (``Names.find``), part by part.

        A folder that cannot be read holds nothing that could be found so.
        """
        if os.path.lexists(path):
            return path
        if path.parent == path or (folder := self.find(path.parent)) is None:
            return None
        if folder not in self._folders:
            try:
                self._folders[folder] = Names(path.name for path in folder.iterdir())
            except OSError:
                self._folders[folder] = Names(())
        name = self._folders[folder].find(path.name)
        return None if name is None else folder / name
