"""Which settings suit so many clips, of such lengths and sizes, on such a machine; pure.

The numbers are ours, not from a paper: tried on the five classes of JHMDB that HMDB5 nearly has (220 clips of 15 to 40
frames, from random weights, on two cores), where windows of 8 fields over the whole clip at 64x64 pixels were right
more often than consecutive ones, larger ones or cropped ones in the same time. They are a start, not an optimum.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from araflow.core.spec import SplitSpec
from araflow.core.splits import share
from araflow.core.words import counted
from araflow.recognition.streams import STREAMS, Modality

ARCHITECTURE = "arn_2d"
VAL_FRACTION = 0.15
"""Of the training clips, for choosing the epoch."""
_VAL = f"{100 * VAL_FRACTION:.0f} % of its training clips set aside as val"
_LEAST_VAL = 5
"""Val clips of the smallest class. Fewer choose by chance, and are missed in training: of 53 test clips of JHMDB, 36
and 29 were right after two trainings of 60 epochs on 167 clips, 28 after one with 22 of these set aside, by whose loss
it ended after 41. So much varies by chance that this is a choice, not a finding."""
_TEST_FRACTION = 0.25
"""Where nothing says which clips are for test."""


@dataclasses.dataclass(frozen=True, slots=True)
class Choice:
    """Settings that belong together, and why they are so.

    Attributes:
        values: By dotted key.
        why: In words, as a person is told.
    """

    values: Mapping[str, Any]
    why: str


@dataclasses.dataclass(frozen=True, slots=True)
class Facts:
    """What the settings follow from.

    Attributes:
        train: Training clips of each class.
        val: Val clips in all.
        lengths: Frames (flow fields) of each training clip.
        short_side: Of the stored pictures, in pixels; the smallest clip's.
        modality: What the recogniser is to see.
        cores: Usable cores.
        gpu: Whether there is a CUDA device.
        architecture: As set by the user; ``None``: to be chosen.
        epochs: Likewise.
    """

    train: Sequence[int]
    val: int
    lengths: Sequence[int]
    short_side: int
    modality: Modality
    cores: int
    gpu: bool
    architecture: str | None = None
    epochs: int | None = None


def choose(facts: Facts) -> list[Choice]:
    """Return window, batch, epochs and the rest; the same for the same facts."""
    return [_network(facts), _looks(facts), *_balance(facts), *_training(facts)]


def split_anew(by_class: Mapping[str, int], *, grouped: bool) -> Choice:
    """Return a split for clips of which nothing says, or nothing useful, which are for test.

    Args:
        by_class: Finished clips of each class.
        grouped: Whether each clip's source is known.
    """
    smallest = min(by_class.values(), default=0)
    fraction = _TEST_FRACTION if share(_TEST_FRACTION, smallest) else 0.5
    protocol = "group" if grouped else "random"
    how = "whole sources" if grouped else "clips at random: it is not known which were cut from one video"
    values: dict[str, Any] = {"split.protocol": protocol, "split.test_fraction": fraction, "split.seed": 0}
    why = f"split anew by {protocol}, {100 * fraction:.0f} % of each class for test ({how})"
    if with_val([count - share(fraction, count) for count in by_class.values()]):
        values["split.val_fraction"] = VAL_FRACTION
        why += f", {_VAL}"
    return Choice(values, why)


def with_val_of(own: SplitSpec) -> Choice:
    """Return a manifest's own split with val clips."""
    values = {f"split.{key}": value for key, value in own.model_dump().items()} | {"split.val_fraction": VAL_FRACTION}
    return Choice(values, _VAL)


def with_val(by_class: Sequence[int]) -> bool:
    """Whether there are training clips enough, of each class, to set some aside as val."""
    return share(VAL_FRACTION, min(by_class, default=0)) >= _LEAST_VAL


def _network(facts: Facts) -> Choice:
    """A window that the machine computes in minutes, and the clips can fill; another architecture has its own."""
    start = f"network: {facts.architecture or ARCHITECTURE} on {facts.modality}, from random weights"
    if facts.architecture is not None:
        return Choice({"network.modality": facts.modality}, f"{start}, with the window that it was published with")
    middle = statistics.median(facts.lengths)
    frames, size = (32, 224) if facts.gpu else (8 if middle < 96 else 16, 64 if facts.cores < 8 else 96)
    size = max(64, min(size, facts.short_side // 16 * 16))  # less leaves one value per channel in the last stage
    window = {"frames": frames, "width": size, "height": size}
    streams = STREAMS[facts.modality]
    values: dict[str, Any] = {f"network.{one}.{name}": number for one in streams for name, number in window.items()}
    values |= {"network.architecture": ARCHITECTURE, "network.modality": facts.modality}
    values |= {"data.sampler": "segments", "data.crop": "none", "network.dropout": 0.5 if facts.gpu else 0.2}
    shown = f"{min(facts.lengths)} to {max(facts.lengths)} long, half of them {middle:.0f} or more"
    machine = "a GPU" if facts.gpu else counted(facts.cores, "CPU core")
    why = f"{start}; on {machine} windows of {frames} frames of {size}x{size}, spread over the whole clip"
    return Choice(values, f"{why} (clips are {shown})")


def _looks(facts: Facts) -> Choice:
    """How test clips are scored, and what is varied in training."""
    values: dict[str, Any] = {"evaluation.mode": "conv", "evaluation.segments": 5}
    if "rgb" in STREAMS[facts.modality]:
        values |= {"data.brightness": 0.3, "data.contrast": 0.3, "data.saturation": 0.3}
    return Choice(values, "each test clip is scored by 5 windows")


def _balance(facts: Facts) -> list[Choice]:
    least, most = min(facts.train), max(facts.train)
    if most < 2 * least:
        return []
    why = f"classes weigh alike, since they have {least} to {most} training clips"
    return [Choice({"training.class_weights": "balanced"}, why)]


def _training(facts: Facts) -> list[Choice]:
    """Batch and epochs: so many windows that a small network from random weights stops gaining, within minutes."""
    clips = sum(facts.train)
    batch = max(2, min(32 if facts.gpu else 8, clips // 4))
    wanted = 30_000 if facts.gpu else 10_000
    epochs = facts.epochs or max(10, min(60, round(wanted / clips)))
    optimizer = {"name": "adamw", "lr": 0.001, "weight_decay": 0.05, "schedule": "cosine", "min_lr": 0.0}
    optimizer["warmup_epochs"] = min(2, epochs - 1)
    values: dict[str, Any] = {"training.batch_size": batch, "training.optimizer": optimizer}
    values |= {"training.epochs": epochs}
    found = [Choice(values, f"{counted(epochs, 'epoch')} of {counted(clips, 'clip')}, {batch} windows a step")]
    if facts.val:
        patience = max(5, epochs // 2)  # a loss may rise for long while more and more clips are named rightly
        why = f"of all epochs the one that names most of {facts.val} val clips is kept; it ends after {patience} "
        found.append(Choice({"training.early_stopping": patience}, f"{why}without a lower loss on these"))
    return found
