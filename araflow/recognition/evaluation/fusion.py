"""What several recognisers say of the same videos, made one answer."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from araflow.core.errors import SpecError
from araflow.recognition.evaluation.answers import Evaluation

_CLIPS_SHOWN = 5


def fuse_streams(evaluations: Sequence[Evaluation], weights: Sequence[float] | None = None) -> Evaluation:
    """Average what several recognisers, such as one for rgb and one for flow, say of the same videos.

    Late fusion by weighted averaging of the softmax scores: K. Simonyan and A. Zisserman, "Two-stream convolutional
    networks for action recognition in videos", NeurIPS 2014, section 5.

    Args:
        evaluations: Of the same videos and classes; the videos in any order.
        weights: One per evaluation, in any scale; ``None``: all alike.

    Returns:
        The fused evaluation; videos in the first one's order, ``windows`` those of all recognisers together.

    Raises:
        SpecError: The weights are not one per evaluation, positive in sum and none negative; or classes, videos or
            their true classes differ: names the clips.
    """
    weights = [1.0] * len(evaluations) if weights is None else list(weights)
    if not evaluations or len(weights) != len(evaluations):
        raise SpecError(f"weights: give one per evaluation (found {len(weights)} for {len(evaluations)})")
    if not all(np.isfinite(weights)) or min(weights) < 0 or sum(weights) == 0:
        raise SpecError(f"weights: none may be negative, and one must be greater than 0 (found {weights})")
    first = evaluations[0]
    probabilities = np.zeros_like(first.probabilities)
    windows = np.zeros_like(first.windows)
    for number, (other, weight) in enumerate(zip(evaluations, weights, strict=True), start=1):
        place = _places(first, other, number)
        probabilities += weight / sum(weights) * other.probabilities[place]
        windows += other.windows[place]
    fused = first.from_parts(first.labels, first.keys, first.targets, probabilities, windows, first.rows)
    warnings = dict.fromkeys(warning for one in evaluations for warning in one.warnings)
    return dataclasses.replace(fused, warnings=tuple(warnings))


def _places(first: Evaluation, other: Evaluation, number: int) -> list[int]:
    """Where the first evaluation's videos are in another one."""
    if other.labels != first.labels:
        raise SpecError(
            f"predictions 1 and {number} have other classes, or in another order: {_shown(first.labels)} and "
            f"{_shown(other.labels)}"
        )
    place = {key: index for index, key in enumerate(other.keys)}
    parts = [
        f"only in {own}: {_shown(sorted(clips))}"
        for own, clips in ((1, first.keys - place.keys()), (number, place.keys() - set(first.keys)))
        if clips
    ]
    if parts:
        raise SpecError(f"predictions 1 and {number} are not of the same clips; {'; '.join(parts)}")
    found = [place[key] for key in first.keys]
    differing = [key for key, right in zip(first.keys, other.targets[found] == first.targets, strict=True) if not right]
    if differing:
        raise SpecError(f"predictions 1 and {number} were held against other labels: {_shown(differing)}")
    return found


def _shown(names: Sequence[str]) -> str:
    more = len(names) - _CLIPS_SHOWN
    return ", ".join(names[:_CLIPS_SHOWN]) + (f" and {more} more" if more > 0 else "")
