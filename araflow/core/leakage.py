"""How much of a test set was seen in training: clips of one source look alike, and some videos lie there twice.

What is not known is said to be unknown, never to be unrelated.
"""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

NO_GROUPS = "unknown: no groups (a column group in a CSV list tells what a clip was cut from)"
"""What stands for a number of leaked clips where not one source is known."""


class Seen(NamedTuple):
    """A clip, as far as leakage goes.

    Attributes:
        label: Its class.
        group: What it was cut from; ``None`` where that is not known.
        split: Its split.
        sha256: Digest of its video; ``None`` where that is not known.
    """

    label: str | None
    group: str | None
    split: str | None
    sha256: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Leakage:
    """How much of a test set was seen in training: as clips of the same source group, or as videos of the same bytes.

    Attributes:
        test: Number of test clips.
        same_class: Of those, how many were seen so in training clips of the same class; ``None`` where that is known
            of none of them.
        any_class: Of those, how many were seen so in training clips of any class; ``None`` likewise.
        unknown: Of those, how many may have been seen without anybody knowing: they have no group, or no training clip
            has one.
    """

    test: int
    same_class: int | None
    any_class: int | None
    unknown: int = 0

    def told(self, leaked: int | None) -> str:
        """Say how many of the test clips leaked.

        Args:
            leaked: ``same_class`` or ``any_class``.
        """
        if leaked is None:
            return NO_GROUPS
        if self.unknown:
            return f"{leaked:,} of {self.test - self.unknown:,} with known source; {self.unknown:,} unknown"
        return f"{leaked:,} of {self.test:,}"

    def share(self, leaked: int | None) -> float:
        """Return the share that leaked of the test clips of which it is known, 0 to 1; NaN where there are none."""
        known = self.test - self.unknown
        return math.nan if leaked is None or not known else leaked / known


@dataclasses.dataclass(frozen=True, slots=True)
class LeakageReport:
    """How much of each class's test set was seen in training.

    Attributes:
        by_class: Class to its leakage, in order of name; ``None`` stands for clips without a class, and comes first.
        total: Of all classes together.
    """

    by_class: dict[str | None, Leakage]
    total: Leakage


class _Known:
    """What is known of training clips."""

    def __init__(self) -> None:
        self.groups: set[str] = set()
        self.digests: set[str] = set()

    def add(self, clip: Seen) -> None:
        self.groups |= set() if clip.group is None else {clip.group}
        self.digests |= set() if clip.sha256 is None else {clip.sha256}

    def holds(self, clip: Seen) -> bool:
        return clip.group in self.groups or clip.sha256 in self.digests


def leakage(rows: Iterable[Seen]) -> LeakageReport:
    """Count test clips whose source group, or whose very bytes, are also in training.

    Args:
        rows: The clips.
    """
    test_of: dict[str | None, list[Seen]] = defaultdict(list)
    train_of: dict[str | None, _Known] = defaultdict(_Known)
    every, trained = _Known(), False
    for clip in rows:
        test = test_of[clip.label]
        if clip.split == "test":
            test.append(clip)
        elif clip.split == "train":
            trained = True
            train_of[clip.label].add(clip)
            every.add(clip)
    by_class = {}
    for label, test in sorted(test_of.items(), key=lambda item: (item[0] is not None, item[0])):
        silent = sum(trained and (clip.group is None or not every.groups) and not every.holds(clip) for clip in test)
        same, some = (sum(known.holds(clip) for clip in test) for known in (train_of[label], every))
        by_class[label] = _counted(len(test), same, some, silent)
    counts = ((one.test, one.same_class or 0, one.any_class or 0, one.unknown) for one in by_class.values())
    test_clips, same, some, silent = map(sum, zip((0, 0, 0, 0), *counts, strict=True))
    return LeakageReport(by_class, _counted(test_clips, same, some, silent))


def _counted(test: int, same_class: int, any_class: int, unknown: int) -> Leakage:
    nothing = unknown and unknown == test
    return Leakage(test, None if nothing else same_class, None if nothing else any_class, unknown)
