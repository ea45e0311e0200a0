"""Clips whose folders would be one where a file system ignores case, or Unicode's forms, or could not be named so."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Sequence

from araflow.core.errors import OutputError
from araflow.core.keys import shown
from araflow.core.spelling import folded
from araflow.store.place import Place

log = logging.getLogger(__name__)
_NOT_EVERYWHERE = re.compile(
    r'[\x01-\x1f:?*<>|"\\]|[. ]$|^(con|prn|aux|nul|com[0-9\u00b9\u00b2\u00b3]|lpt[0-9\u00b9\u00b2\u00b3])(?=\.|$)',
    re.IGNORECASE,
)
"""What FAT, exFAT and NTFS do not take in names, or Windows does not.

Microsoft, Naming Files, Paths, and Namespaces: https://learn.microsoft.com/windows/win32/fileio/naming-a-file
"""


def check(place: Place, keys: Sequence[str]) -> None:
    """Refuse keys that the output cannot hold, or would take for one; warn of these where a copy alone may do so.

    Raises:
        OutputError: It cannot, or would; the clips are named.
    """
    for name, key in _odd(keys):
        if place.cannot_hold(name):
            raise OutputError(
                f"{place}: cannot hold a folder called {name!a}, of clip {shown(key)}: rename it, or choose an out on "
                "another file system"
            )
    found = list(pairs(keys))
    for first, second in found:
        one, other = next(two for two in zip(first.split("/"), second.split("/"), strict=False) if two[0] != two[1])
        if place.mixes_up(one, other):
            raise OutputError(
                f"{place}: takes {one!a} and {other!a} for one name, so clips {shown(first)} and {shown(second)} would "
                "lie in each other's folders: rename one, or choose an out that tells them apart"
            )
    if found:
        first, second = found[0]
        log.warning(
            "%d clips or their folders differ from others in nothing but case or Unicode form, such as %s and %s: "
            "copied to macOS, Windows or exFAT they would be one",
            len(found),
            shown(first),
            shown(second),
        )


def _odd(keys: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield a name, and the key that it is in, for each reason why some file systems do not take it."""
    seen: set[str] = set()
    for key in keys:
        for name in key.split("/"):
            if (match := _NOT_EVERYWHERE.search(name)) and match[0].lower() not in seen:
                seen.add(match[0].lower())
                yield name, key


def pairs(keys: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield two keys for each name, of a clip or of a folder on the way to one, that another in its folder is like."""
    first_of: dict[str, tuple[str, str]] = {}
    seen: set[str] = set()
    for key in keys:
        parts = key.split("/")
        for depth in range(1, len(parts) + 1):
            name = "/".join(parts[:depth])
            if name in seen:
                continue
            seen.add(name)
            other, first = first_of.setdefault(folded(name), (name, key))
            if other != name and other.rpartition("/")[0] == name.rpartition("/")[0]:
                yield first, key
