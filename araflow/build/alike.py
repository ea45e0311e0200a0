"""Clips whose folders would be one where a file system ignores case, or Unicode's forms: macOS, NTFS, exFAT."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator

from araflow.core.errors import OutputError
from araflow.core.keys import shown
from araflow.core.spelling import folded
from araflow.store.place import Place

log = logging.getLogger(__name__)


def check(place: Place, keys: Iterable[str]) -> None:
    """Refuse keys that the output would take for one; warn of them where it tells them apart, as a copy may not.

    Raises:
        OutputError: It would; both are named.
    """
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
