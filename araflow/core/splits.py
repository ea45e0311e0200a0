"""Which clips are for training, validation and test: as lists say, random per class, or by source group; pure.

Clips of one film look alike, so a random split puts near-copies of training clips into the test set; ``leakage.py``
counts them. The random protocol is that of NVIDIA's ActionRecognitionNet model card ("randomly 10 % video per class"),
whose counts come out exactly; its seed and list are not published.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from fractions import Fraction

from araflow.core.clip import Clip
from araflow.core.errors import SpecError
from araflow.core.spec import SplitSpec

_OFFICIAL = {0: "unused", 1: "train", 2: "test"}
SPLITS = ("train", "val", "test", "unused")
WORDS = {
    **dict.fromkeys(("train", "training", "trainval", "trn"), "train"),
    **dict.fromkeys(("val", "valid", "validate", "validation", "eval", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "tst"), "test"),
}
"""Words of lists and of folders' names, to the split that they mean."""
OFFICIAL = (
    "official needs the dataset's own lists (dataset.splits=PATH, a folder or archive that holds them), folders named "
    "train, val and test, or, for videos of your own, a CSV list with a column split"
)
"""What that protocol goes by, for messages."""


def named(text: str) -> str | None:
    """Return the split that lists and folders of others call so: ``train``, ``val`` or ``test``; else ``None``."""
    return WORDS.get(text.strip().lower())


def settled(clips: Sequence[Clip], spec: SplitSpec) -> SplitSpec:
    """Return what ``auto`` comes to: ``official`` where every clip has a split of its own, ``random`` where none has.

    Where some have one, it stays ``auto``: they keep theirs, and the others are drawn.
    """
    known = sum(_own(clip, spec.fold) is not None for clip in clips)
    if spec.protocol != "auto" or 0 < known < len(clips):
        return spec
    return spec.model_copy(update={"protocol": "official" if known else "random"})


def assign(clips: Sequence[Clip], spec: SplitSpec) -> dict[str, str]:
    """Give every labelled clip its split.

    ``official`` takes what the dataset's own lists or folders say; ``auto`` too, and draws the clips that have no split
    of their own as ``random`` draws all of them.

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
    elif spec.protocol == "group":
        result = _grouped(clips, spec, by_class)
    else:
        own = _known(clips, spec.fold) if spec.protocol == "auto" else {}
        result = {clip.key: "train" for clip in clips} | own
        for members in by_class.values():
            drawn = [clip for clip in members if clip.key not in own]
            ranked = sorted(drawn, key=lambda clip: _rank(spec.seed, "test", clip.key))
            result.update((clip.key, "test") for clip in ranked[: share(spec.test_fraction, len(drawn))])
    if spec.val_fraction:
        _set_aside(result, by_class, spec)
    return result


def remark(clips: Sequence[Clip], spec: SplitSpec) -> str | None:
    """Say how clips' own splits meet a protocol that does not simply take them; ``None`` where there is nothing to say.

    Folds are not spoken of: a dataset that has them is often split otherwise.
    """
    known = sum(clip.subset is not None for clip in clips)
    if not known or spec.protocol == "official" or (spec.protocol == "auto" and known == len(clips)):
        return None
    if spec.protocol != "auto":
        return (
            f"the split that lists or folders give {known:,} of {len(clips):,} clips is not used, since "
            f"split.protocol={spec.protocol} draws another; auto or official takes it"
        )
    return (
        f"{len(clips) - known:,} of {len(clips):,} clips have no split of their own and are drawn at random "
        f"(split.test_fraction={spec.test_fraction})"
    )


def share(fraction: float, size: int) -> int:
    """Return floor(fraction × size), with the fraction read as the decimal that was written (0.29 × 100 is 29)."""
    return math.floor(Fraction(str(fraction)) * size)


def _rank(seed: int, purpose: str, key: str) -> bytes:
    """A pseudo-random rank that depends on nothing but its arguments, on every platform and Python version."""
    return hashlib.sha256(f"{seed}\0{purpose}\0{key}".encode()).digest()


def _own(clip: Clip, fold: int) -> str | None:
    """Return the split that the dataset's own lists or folders give a clip; ``None`` where they give none."""
    tag = clip.folds[fold - 1]
    return clip.subset if clip.subset is not None or tag is None else _OFFICIAL[tag]


def _known(clips: Sequence[Clip], fold: int) -> dict[str, str]:
    return {clip.key: split for clip in clips if (split := _own(clip, fold)) is not None}


def _official(clips: Sequence[Clip], fold: int) -> dict[str, str]:
    result = _known(clips, fold)
    if lacking := next((clip for clip in clips if clip.key not in result), None):
        no_folds = all(tag is None for clip in clips for tag in clip.folds)
        if result and no_folds:
            raise SpecError(
                f"split.protocol: official needs a split for every clip, and {lacking.key!r} is the first of "
                f"{len(clips) - len(result)} that have none: give them one, or use auto, random or group"
            )
        lacks = f"{lacking.key!r} has no {'split' if no_folds else f'fold {fold}'}"
        raise SpecError(
            f"split.protocol: {OFFICIAL}; {lacks}: give one of these, or use split.protocol=auto, random or group"
        )
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
            raise SpecError(
                f"split.protocol: group needs source groups, and {clip.key!r} has none: use split.protocol=random"
            )
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
