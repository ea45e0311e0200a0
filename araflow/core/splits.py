"""Which clips are for training, validation and test: official folds, random per class, or by source group; pure.

Clips of one film look alike, so a random split puts near-copies of training clips into the test set. ``leakage``
counts them. The random protocol is that of NVIDIA's ActionRecognitionNet model card ("randomly 10 % video per class"),
whose counts come out exactly; its seed and list are not published.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction

from araflow.core.clip import Clip
from araflow.core.errors import SpecError
from araflow.core.spec import SplitSpec

_OFFICIAL = {0: "unused", 1: "train", 2: "test"}
SPLITS = ("train", "val", "test", "unused")


def assign(clips: Sequence[Clip], spec: SplitSpec) -> dict[str, str]:
    """Give every labelled clip its split.

    The result depends on the clips listed and the spec alone: not on their order, nor on what decodes. Under
    ``random``, a class's split does not depend on which other classes are taken.

    Args:
        clips: Listed clips.
        spec: Protocol and its settings.

    Returns:
        Clip key to ``train``, ``val``, ``test`` or ``unused``.

    Raises:
        SpecError: The protocol needs official folds or source groups that these clips do not have.
    """
    by_class: dict[str, list[Clip]] = defaultdict(list)
    for clip in sorted(clips, key=lambda clip: clip.key):
        by_class[clip.label or ""].append(clip)
    if spec.protocol == "official":
        result = _official(clips, spec.fold)
    elif spec.protocol == "random":
        result = {clip.key: "train" for clip in clips}
        for members in by_class.values():
            ranked = sorted(members, key=lambda clip: _rank(spec.seed, "test", clip.key))
            result.update((clip.key, "test") for clip in ranked[: share(spec.test_fraction, len(members))])
    else:
        result = _grouped(clips, spec, by_class)
    if spec.val_fraction:
        _set_aside(result, by_class, spec)
    return result


def share(fraction: float, size: int) -> int:
    """Return floor(fraction × size), with the fraction read as the decimal that was written (0.29 × 100 is 29)."""
    return math.floor(Fraction(str(fraction)) * size)


def _rank(seed: int, purpose: str, key: str) -> bytes:
    """A pseudo-random rank that depends on nothing but its arguments, on every platform and Python version."""
    return hashlib.sha256(f"{seed}\0{purpose}\0{key}".encode()).digest()


def _official(clips: Sequence[Clip], fold: int) -> dict[str, str]:
    result = {}
    for clip in clips:
        tag = clip.folds[fold - 1]
        if clip.subset is not None:
            result[clip.key] = clip.subset
            continue
        if tag is None:
            raise SpecError(
                f"split.protocol: official needs official split files, and {clip.key!r} has no fold {fold}: "
                "set dataset.splits, or use random or group"
            )
        result[clip.key] = _OFFICIAL[tag]
    return result


def _grouped(clips: Sequence[Clip], spec: SplitSpec, by_class: Mapping[str, Sequence[Clip]]) -> dict[str, str]:
    """Move whole groups to the test side until every class is as near its share as groups allow.

    Groups that span classes (a film may show both walking and running) are placed first: each that fits, then any
    whose change of side brings the counts nearer, until none does. Then, per class, an exact subset sum over the
    groups within that class alone.
    """
    sizes: dict[str, Counter[str]] = defaultdict(Counter)
    for clip in clips:
        if clip.group is None:
            raise SpecError(f"split.protocol: group needs source groups, and {clip.key!r} has none: use random")
        sizes[clip.group][clip.label or ""] += 1
    missing = {label: share(spec.test_fraction, len(members)) for label, members in by_class.items()}
    test: set[str] = set()
    ordered = sorted(sizes, key=lambda group: _rank(spec.seed, "group", group))
    spanning = [group for group in ordered if len(sizes[group]) > 1]
    alone: Counter[str] = Counter()
    for counts in sizes.values():
        if len(counts) == 1:
            alone.update(counts)

    def gain(group: str, sign: int) -> int:
        """How much nearer the counts come if ``missing`` changes by sign × the group; squared, so that all share."""
        return sum(
            _beyond(missing[label], alone[label]) ** 2 - _beyond(missing[label] + sign * count, alone[label]) ** 2
            for label, count in sizes[group].items()
        )

    def move(group: str, sign: int) -> None:
        test.symmetric_difference_update({group})
        for label, count in sizes[group].items():
            missing[label] += sign * count

    for group in spanning:
        if all(missing[label] >= count for label, count in sizes[group].items()):
            move(group, -1)
    moved = True
    while moved:
        moved = False
        for group in spanning:
            sign = 1 if group in test else -1
            if gain(group, sign) > 0:
                move(group, sign)
                moved = True
    for label in sorted(by_class):
        own = [(group, sizes[group][label]) for group in ordered if list(sizes[group]) == [label]]
        test.update(_nearest_subset(own, missing[label]))
    return {clip.key: "test" if clip.group in test else "train" for clip in clips}


def _beyond(missing: int, alone: int) -> int:
    """How many clips a class is too many (negative ``missing``) or short of what its own groups can make up."""
    return -missing if missing < 0 else max(0, missing - alone)


def _nearest_subset(groups: Sequence[tuple[str, int]], target: int) -> list[str]:
    """Return the groups whose sizes sum nearest to ``target``; of equals the smaller sum, of those the first found."""
    reached: dict[int, list[str]] = {0: []}
    for group, size in groups:
        for total, chosen in list(reached.items()):
            if total < target and total + size not in reached:
                reached[total + size] = [*chosen, group]
    return reached[min(reached, key=lambda total: (abs(total - target), total))]


def _set_aside(result: dict[str, str], by_class: Mapping[str, Sequence[Clip]], spec: SplitSpec) -> None:
    """Turn a share of each class's training clips into ``val``: whole groups under ``group``, else clips."""
    if spec.protocol == "group":
        train = [clip for members in by_class.values() for clip in members if result[clip.key] == "train"]
        again = SplitSpec.model_validate({"protocol": "group", "test_fraction": spec.val_fraction, "seed": spec.seed})
        classes: dict[str, list[Clip]] = defaultdict(list)
        for clip in train:
            classes[clip.label or ""].append(clip)
        result.update((key, "val") for key, side in _grouped(train, again, classes).items() if side == "test")
        return
    for members in by_class.values():
        train = [clip for clip in members if result[clip.key] == "train"]
        ranked = sorted(train, key=lambda clip: _rank(spec.seed, "val", clip.key))
        result.update((clip.key, "val") for clip in ranked[: share(spec.val_fraction, len(train))])


@dataclasses.dataclass(frozen=True, slots=True)
class Leakage:
    """How much of a test set was seen in training.

    Attributes:
        test: Number of test clips.
        same_class: Of those, how many share their source group with a training clip of the same class.
        any_class: Of those, how many share it with a training clip of any class.
    """

    test: int
    same_class: int
    any_class: int


@dataclasses.dataclass(frozen=True, slots=True)
class LeakageReport:
    """How much of each class's test set was seen in training.

    Attributes:
        by_class: Class to its leakage, in order of name; ``None`` stands for clips without a class, and comes first.
        total: Of all classes together.
    """

    by_class: dict[str | None, Leakage]
    total: Leakage


def leakage(rows: Iterable[tuple[str | None, str | None, str | None]]) -> LeakageReport:
    """Count test clips whose source group is also in training.

    Args:
        rows: Per clip its label, group and split; clips without a group never count as leaked.
    """
    test_of: dict[str | None, list[str | None]] = defaultdict(list)
    train_of: dict[str | None, set[str]] = defaultdict(set)
    for label, group, split in rows:
        test = test_of[label]
        if split == "test":
            test.append(group)
        elif split == "train" and group is not None:
            train_of[label].add(group)
    groups = set().union(*train_of.values())
    by_class = {
        label: Leakage(len(test), *(sum(group in seen for group in test) for seen in (train_of[label], groups)))
        for label, test in sorted(test_of.items(), key=lambda item: (item[0] is not None, item[0]))
    }
    sums = (sum(getattr(one, field.name) for one in by_class.values()) for field in dataclasses.fields(Leakage))
    return LeakageReport(by_class, Leakage(*sums))
