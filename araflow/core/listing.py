"""What a dataset lists: its clips, and what lies beside them and became none."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from araflow.core.clip import Clip

log = logging.getLogger(__name__)

WHYS = {
    "suffix": "no video by name or content",
    "no-name": "not named as the dataset names its clips",
    "not-listed": "in no list",
    "unwanted-class": "of a class that is not wanted",
    "unwanted-subset": "of a subset that is not wanted",
    "twice": "beside another of the same name, which was taken",
    "beside-clips": "images beside clips",
    "flow-images": "images of optical flow, which is computed anew",
    "archive": "archives, which are not looked into here",
    "no-file": "called archives, but no files: pipes, sockets, devices, links that lead nowhere",
    "empty-folder": "folders without any file",
    "circle": "links that lead in a circle",
    "output": "folders that araflow made",
    "hidden": "hidden",
}
"""Every reason why something became no clip, with its meaning, in the order in which they are told."""
QUIET = frozenset({"hidden", "output", "unwanted-class", "unwanted-subset"})
"""Reasons that are counted but are no news: nobody is warned of them, and no manifest keeps them."""


@dataclasses.dataclass(frozen=True, slots=True)
class PassedOver:
    """Files that became no clip, one entry per reason and kind.

    Attributes:
        why: A code from ``WHYS``.
        what: The suffix, folder or name that they share, such as ``.txt``; empty where there is none.
        count: How many.
        example: The first of them, as a path below the source, with ``/``.
    """

    why: str
    what: str
    count: int
    example: str


@dataclasses.dataclass(frozen=True, slots=True)
class Listing:
    """What a dataset lists.

    Attributes:
        clips: Sorted by key.
        passed_over: What became no clip.
        remarks: What was guessed, in words, without the names of folders above the source: told as warnings, and kept
            in the manifest's metadata.
    """

    clips: tuple[Clip, ...]
    passed_over: tuple[PassedOver, ...] = ()
    remarks: tuple[str, ...] = ()


class Leftovers:
    """Counts what is passed over."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], list[str | int]] = {}

    def add(self, why: str, what: str, example: str) -> None:
        """Count one.

        Args:
            why: A code from ``WHYS``.
            what: What it shares with others of its kind.
            example: Its path below the source.
        """
        if why not in WHYS:
            raise ValueError(f"why: {why!r} is none of {', '.join(WHYS)}")
        entry = self._found.setdefault((why, _text(what)), [0, _text(example)])
        entry[0] = int(entry[0]) + 1
        entry[1] = min(str(entry[1]), _text(example))

    def extend(self, others: Sequence[PassedOver]) -> None:
        """Take over what was counted elsewhere."""
        for one in others:
            entry = self._found.setdefault((one.why, one.what), [0, one.example])
            entry[0] = int(entry[0]) + one.count
            entry[1] = min(str(entry[1]), one.example)

    def since(self, before: Sequence[PassedOver]) -> tuple[PassedOver, ...]:
        """Return what was counted after ``entries`` had returned ``before``."""
        known = {(one.why, one.what): one.count for one in before}
        later = (
            dataclasses.replace(one, count=one.count - known.get((one.why, one.what), 0)) for one in self.entries()
        )
        return tuple(one for one in later if one.count)

    def entries(self) -> tuple[PassedOver, ...]:
        """Return what was counted, in the order of ``WHYS``, the most frequent first."""
        order = {why: number for number, why in enumerate(WHYS)}
        found = [PassedOver(*key, int(count), str(example)) for key, (count, example) in self._found.items()]
        return tuple(sorted(found, key=lambda one: (order[one.why], -one.count, one.what)))


def loud(passed_over: Sequence[PassedOver]) -> tuple[PassedOver, ...]:
    """Return what somebody ought to hear of."""
    return tuple(one for one in passed_over if one.why not in QUIET)


def told(passed_over: Sequence[PassedOver]) -> str:
    """Say in one line what was passed over; empty where there is nothing to hear of."""
    by_why: dict[str, list[PassedOver]] = defaultdict(list)
    for one in loud(passed_over):
        by_why[one.why].append(one)
    parts = []
    for why, own in by_why.items():
        kinds = ", ".join(f"{one.count:,} {one.what or WHYS[why]}" for one in own)
        meaning = f"{WHYS[why]}, " if own[0].what else ""
        parts.append(f"{kinds} ({meaning}such as {own[0].example})")
    total = sum(one.count for one in loud(passed_over))
    return f"{total:,} {'is no clip' if total == 1 else 'are no clips'}: {'; '.join(parts)}" if parts else ""


def say(passed_over: Sequence[PassedOver], remarks: Sequence[str]) -> None:
    """Warn of what was guessed, and of what was passed over."""
    for remark in remarks:
        log.warning("%s", remark)
    if over := told(passed_over):
        log.warning("%s", over)


def beside(passed_over: Sequence[PassedOver], remarks: Sequence[str]) -> dict[str, Any]:
    """Return what a manifest keeps of it in its metadata: nothing where there is nothing to hear of."""
    kept = {"passed_over": [dataclasses.asdict(one) for one in loud(passed_over)], "remarks": list(remarks)}
    return {name: value for name, value in kept.items() if value}


def _text(name: str) -> str:
    """File names are bytes, metadata is text: what is not UTF-8 is shown escaped."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
