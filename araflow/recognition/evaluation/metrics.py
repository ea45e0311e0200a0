"""How well videos were recognised: accuracies with their uncertainty, per class and per attribute; pure NumPy.

Of equal probabilities the lowest class index comes first, here and wherever classes are ranked (``ranked``).
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from araflow.core.errors import SpecError, TrainingError

ATTRIBUTES = ("camera", "view", "body", "quality", "people")
"""Manifest columns by whose values accuracy is broken down."""
_TOP = 5
_Z = statistics.NormalDist().inv_cdf(0.975)


def wilson(hits: int, count: int) -> tuple[float, float]:
    """Return the 95 % score interval of a proportion.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927), 209–212; as
    method 3 in R. G. Newcombe, Statistics in Medicine 17 (1998), 857–872. With p = hits / count and z = 1.96::

        (p + z² / 2n ± z √(p (1 − p) / n + z² / 4n²)) / (1 + z² / n)

    It treats videos as independent, which clips of one film are not: the truth is somewhat less certain.

    Args:
        hits: Successes.
        count: Trials; of none, nothing is known: (0, 1).

    Returns:
        Lower and upper end, within 0 and 1.
    """
    if count == 0:
        return 0.0, 1.0
    share, square = hits / count, _Z * _Z
    middle = share + square / (2 * count)
    half = _Z * math.sqrt(share * (1 - share) / count + square / (4 * count * count))
    scale = 1 + square / count
    # The ends of 0 and of all are 0 and 1 exactly; rounding would miss them.
    low = 0.0 if hits == 0 else (middle - half) / scale
    return low, 1.0 if hits == count else (middle + half) / scale


@dataclasses.dataclass(frozen=True, slots=True)
class Rate:
    """So many of so many.

    Attributes:
        hits: How many were right.
        count: Out of how many.
    """

    hits: int
    count: int

    @property
    def value(self) -> float:
        """The share, 0 to 1; not a number where there are none."""
        return self.hits / self.count if self.count else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """The share's 95 % interval; see ``wilson``."""
        return wilson(self.hits, self.count)

    def to_json(self) -> dict[str, Any]:
        """Return value (null where there are none), both ends of the interval, and the counts."""
        low, high = self.interval
        return {"value": _or_none(self.value), "low": low, "high": high, "hits": self.hits, "count": self.count}


@dataclasses.dataclass(frozen=True, slots=True)
class ClassMetrics:
    """How well one class was recognised.

    Attributes:
        label: Its name.
        recall: Of its videos, how many were called by its name.
        precision: Of the videos called by its name, how many were of it.
    """

    label: str
    recall: Rate
    precision: Rate

    @property
    def f1(self) -> float:
        """Harmonic mean of recall and precision: 2 hits / (videos + called so); not a number where both are none."""
        return Rate(2 * self.recall.hits, self.recall.count + self.precision.count).value

    def to_json(self) -> dict[str, Any]:
        """Return all of it; null where a figure has nothing to be counted on."""
        return {
            "label": self.label,
            "count": self.recall.count,
            "recall": self.recall.to_json(),
            "precision": self.precision.to_json(),
            "f1": _or_none(self.f1),
        }


@dataclasses.dataclass(frozen=True, eq=False)
class Metrics:
    """How well a set of videos was recognised.

    Attributes:
        top1: Videos whose most probable class is theirs.
        top5: Videos whose class is among the ``k`` most probable ones.
        k: 5, or the number of classes where there are fewer (``top5`` then is always all).
        mean_class: Mean recall of the classes that have videos here, 0 to 1.
        classes: Per class, in label order.
        majority: What calling every video by ``majority_label`` would score.
        majority_label: The class with most videos here; of equals the first.
        attributes: Top-1 by attribute and its value, as text; attributes that are known of no video are left out.
        confusion: int64, (true class, predicted class), counts.
    """

    top1: Rate
    top5: Rate
    k: int
    mean_class: float
    classes: tuple[ClassMetrics, ...]
    majority: Rate
    majority_label: str
    attributes: Mapping[str, Mapping[str, Rate]]
    confusion: NDArray[np.int64]

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict; the confusion matrix is left to a file of its own."""
        return {
            "videos": self.top1.count,
            "top1": self.top1.to_json(),
            "top5": {"k": self.k, **self.top5.to_json()},
            "mean_class": self.mean_class,
            "majority": {"label": self.majority_label, **self.majority.to_json()},
            "classes": [entry.to_json() for entry in self.classes],
            "attributes": {
                name: {value: rate.to_json() for value, rate in rates.items()}
                for name, rates in self.attributes.items()
            },
        }


def ranked(probabilities: NDArray[np.floating[Any]], k: int = _TOP) -> NDArray[np.int64]:
    """Return the ``k`` most probable classes, best first; of equals the lowest index first.

    Args:
        probabilities: (videos, classes).
        k: How many; all classes where there are fewer.

    Returns:
        int64, (videos, min(k, classes)).
    """
    return np.argsort(-probabilities, axis=1, kind="stable")[:, :k].astype(np.int64)


def measure(
    probabilities: NDArray[np.float64],
    targets: NDArray[np.int64],
    labels: Sequence[str],
    *,
    keys: Sequence[str] | None = None,
    rows: Sequence[Mapping[str, Any]] | None = None,
) -> Metrics:
    """Compare probabilities with the truth.

    Args:
        probabilities: float64, (videos, classes).
        targets: int64, (videos,): the true classes' indices.
        labels: Class names in label order.
        keys: The videos' names, for messages.
        rows: Per video its attributes; those of ``ATTRIBUTES`` that are there count.

    Raises:
        SpecError: There is no video, or the arguments do not belong together.
        TrainingError: A probability is not a number; names the clip.
    """
    _check(probabilities, targets, labels, keys)
    classes = len(labels)
    k = min(_TOP, classes)
    best = ranked(probabilities, k)
    right = best[:, 0] == targets
    confusion = np.bincount(targets * classes + best[:, 0], minlength=classes * classes).reshape(classes, classes)
    present, called, hits = confusion.sum(axis=1), confusion.sum(axis=0), confusion.diagonal()
    there = present > 0
    most = int(present.argmax())
    return Metrics(
        top1=_rate(right),
        top5=_rate((best == targets[:, None]).any(axis=1)),
        k=k,
        mean_class=float((hits[there] / present[there]).mean()),
        classes=tuple(
            ClassMetrics(label, Rate(int(hit), int(count)), Rate(int(hit), int(named)))
            for label, hit, count, named in zip(labels, hits, present, called, strict=True)
        ),
        majority=Rate(int(present[most]), len(targets)),
        majority_label=labels[most],
        attributes=_by_attribute(right, rows or ()),
        confusion=confusion.astype(np.int64),
    )


def _check(
    probabilities: NDArray[np.float64], targets: NDArray[np.int64], labels: Sequence[str], keys: Sequence[str] | None
) -> None:
    if len(targets) == 0:
        raise SpecError("no video to measure on: the split is empty")
    if probabilities.shape != (len(targets), len(labels)):
        raise SpecError(
            f"probabilities have the shape {probabilities.shape}, but there are {len(targets)} videos and "
            f"{len(labels)} classes"
        )

    def name(wrong: NDArray[np.bool_]) -> str:
        index = int(wrong.argmax())
        return repr(keys[index]) if keys is not None else f"video {index}"

    outside = (targets < 0) | (targets >= len(labels))
    if outside.any():
        raise SpecError(f"label_index of {name(outside)} is not in 0 to {len(labels) - 1}")
    bad = ~np.isfinite(probabilities.sum(axis=1))
    if bad.any():
        raise TrainingError(
            f"the probabilities of {name(bad)} are not numbers ({int(bad.sum())} of {len(bad)} videos): the training "
            "diverged, or the precision is too low"
        )


def _rate(right: NDArray[np.bool_]) -> Rate:
    return Rate(int(right.sum()), len(right))


def _by_attribute(right: NDArray[np.bool_], rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Rate]]:
    found = {}
    for name in ATTRIBUTES:
        values = [row.get(name) for row in rows]
        known = sorted({value for value in values if value is not None})  # numbers by size, not by their digits
        if known:
            found[name] = {
                str(value): _rate(right[np.array([own == value for own in values], dtype=bool)]) for value in known
            }
    return found


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
