"""One answer per video, and how good they are: the value that is fused, shown and written."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from araflow.recognition.evaluation.metrics import ATTRIBUTES, Metrics, measure
from araflow.recognition.evaluation.scores import Scored

DESCRIPTION = ("split", "group", *ATTRIBUTES)
"""Manifest columns that an evaluation keeps of each video."""


@dataclasses.dataclass(frozen=True, eq=False)
class Evaluation:
    """One answer per video, and how good they are.

    Attributes:
        labels: Class names in label order.
        keys: The videos' names.
        targets: int64, (videos,): true classes.
        probabilities: float64, (videos, classes).
        windows: int64, (videos,): windows that were scored.
        rows: Per video its split, group and attributes.
        metrics: How good they are.
        warnings: What makes the figures worth less than they seem, such as flow that is not training's.
    """

    labels: tuple[str, ...]
    keys: tuple[str, ...]
    targets: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    windows: NDArray[np.int64]
    rows: tuple[Mapping[str, Any], ...]
    metrics: Metrics
    warnings: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        probabilities: NDArray[np.float64],
        clips: Sequence[Scored],
        labels: Sequence[str],
        *,
        windows: NDArray[np.int64],
        split: str | None = None,
    ) -> Evaluation:
        """Measure probabilities.

        Args:
            probabilities: float64, (videos, classes).
            clips: The videos, in the same order.
            labels: Class names in label order.
            windows: Number of windows of each.
            split: The split that they are; ``None``: as their rows say.

        Raises:
            SpecError: There is no video, or the arguments do not belong together.
            TrainingError: A probability is not a number; names the clip.
        """
        rows = [{name: clip.row.get(name) for name in DESCRIPTION} for clip in clips]
        if split is not None:
            rows = [{**row, "split": split} for row in rows]
        targets = np.array([clip.label_index for clip in clips], dtype=np.int64)
        return cls.from_parts(labels, [clip.key for clip in clips], targets, probabilities, windows, rows)

    @classmethod
    def from_parts(
        cls,
        labels: Sequence[str],
        keys: Sequence[str],
        targets: NDArray[np.int64],
        probabilities: NDArray[np.float64],
        windows: NDArray[np.int64],
        rows: Sequence[Mapping[str, Any]],
    ) -> Evaluation:
        """Measure probabilities whose clips are not at hand: arguments as the attributes, errors as ``of``."""
        found = measure(probabilities, targets, labels, keys=keys, rows=rows)
        return cls(tuple(labels), tuple(keys), targets, probabilities, windows, tuple(rows), found)

    def to_json(self) -> dict[str, Any]:
        """Return the figures JSON-ready, with the warnings where there are any."""
        return {**self.metrics.to_json(), **({"warnings": list(self.warnings)} if self.warnings else {})}
