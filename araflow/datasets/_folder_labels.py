"""What the folders around clips say: their class, and whether they are for training, validation or test."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import re
from collections import Counter
from collections.abc import Collection, Sequence

from araflow.core.spelling import folded
from araflow.core.splits import WORDS

_COMPANY = "set split data dataset subset video videos clip clips image images img frame frames rawframes rgb part"
_BESIDE = frozenset(_COMPANY.split())
"""Words that may stand beside a subset's in a folder's name; numbers may, too: ``train_256``, ``videos_val``."""
_COMMON = "data dataset datasets videos video clips images frames rawframes rgb jpg jpegs raw all"
_WRAPPERS = frozenset(_COMMON.split())
"""Folders that are named so hold classes, and are none, if everything lies in them."""


_NOT_ALL = (
    "some clips, but not all, lie in folders named after train and test: these are taken for classes, or for nothing, "
    "and say no split"
)


@dataclasses.dataclass(frozen=True, slots=True)
class Shelf:
    """Where a clip lies.

    Attributes:
        label: Its class; ``None`` where no folder says it.
        subset: ``train``, ``val`` or ``test``, where a folder says it.
    """

    label: str | None
    subset: str | None


@functools.cache
def subset_of(folder: str) -> str | None:
    """Return the subset that a folder is named after, such as ``Train``, ``train_256`` or ``videos_val``."""
    words = [word for word in re.split(r"[\W_\d]+", re.sub(r"(set|split)$", "", folder.lower())) if word]
    meant = {WORDS[word] for word in words if word in WORDS}
    return meant.pop() if len(meant) == 1 and all(word in WORDS or word in _BESIDE for word in words) else None


def read(
    places: Sequence[tuple[str, ...]], root: str, wanted: Collection[str] | None = None
) -> tuple[list[Shelf], list[str]]:
    """Read class and subset of every clip from the folders around it.

    The topmost folder is the class, unless everything lies in it, or all of the topmost are named after subsets: then
    those in it are. Below a class, too, folders may be named after subsets, if all are.

    Args:
        places: For each clip the folders around it, the topmost first.
        root: Name of the folder that holds them all.
        wanted: Classes that are asked for by name: folders called so are classes, whatever their name says.

    Returns:
        A shelf for each, and what was guessed, in words.
    """
    named = frozenset(wanted or ())
    subsets: list[str | None] = [None] * len(places)
    rest, split = list(places), False
    remarks: list[str] = []
    wrappers: list[str] = []
    while rest and all(rest):
        heads = {place[0] for place in rest}
        if not named.isdisjoint(heads):
            break
        found = [subset_of(place[0]) for place in rest]
        if all(found) and (not split or found == subsets):
            if not split:
                remarks.append(_of_subsets(found, heads))
            subsets, split = found, True
        elif len(heads) == 1 and _wraps(rest, root):
            wrappers += heads
        else:
            break
        rest = [place[1:] for place in rest]
    if wrappers:
        remarks.append(f"every clip lies in {'/'.join(wrappers)!r}, which is taken for no class")
    labels = [place[0] if place else None for place in rest]
    if not split:
        below = [subset_of(place[1]) if len(place) > 1 else None for place in rest]
        if below and all(below):
            subsets = below
            remarks.append(_of_subsets(below, {place[1] for place in rest}))
        elif {name for name in below if name} >= {"train", "test"} or (
            {subset_of(place[0]) if place else None for place in rest} >= {"train", "test"}
            and named.isdisjoint(place[0] for place in rest if place)
        ):
            remarks.append(_NOT_ALL)
    if None in labels and (split or any(labels)):
        remarks.append(f"{labels.count(None):,} of {len(labels):,} clips lie in no class folder: they have no class")
    return [Shelf(label, subset) for label, subset in zip(labels, subsets, strict=True)], remarks


def _wraps(places: Sequence[tuple[str, ...]], root: str) -> bool:
    """Whether the folder that holds everything is no class: its name says so, or several folders lie further down."""
    if not all(len(place) > 1 for place in places):
        return False
    levels = zip(min(places), max(places), strict=False)
    common = sum(1 for _ in itertools.takewhile(lambda names: names[0] == names[1], levels))
    return folded(places[0][0]) in _WRAPPERS | {folded(root)} or all(len(place) > common for place in places)


def _order(name: str) -> tuple[int, str]:
    return ("train", "val", "test").index(subset_of(name) or "test"), name


def _of_subsets(found: Sequence[str | None], names: Collection[str]) -> str:
    counts = Counter(name for name in found if name)
    said = ", ".join(f"{counts[name]:,} {name}" for name in ("train", "val", "test") if counts[name])
    return (
        f"folders named {', '.join(sorted(names, key=_order))} stand for splits ({said}), not for classes; where they "
        "are classes, name them in dataset.classes"
    )
