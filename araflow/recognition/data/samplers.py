"""Which frames of a clip make a window; pure NumPy.

A window is an int64 array of 0-based indices, one per frame that the network sees. Four samplers draw it, with n the
frames of the clip, L the length of the window, r the sample rate:

``consecutive``
    Every r-th frame from a start. A window takes up L × r frames, as NVIDIA TAO counts.
``dense``
    As ``consecutive``, with the step at which L frames span 64 of the clip's: 64 // L (of a shorter clip n // L, at
    least 1). TSM's dense sampling (Lin et al., "TSM: temporal shift module", ICCV 2019) with one frame per part.
``random_interval``
    One frame of each of L intervals of n // L frames; what is left over at the end is never seen. TAO's sampler, and
    TSN's in its first code.
``segments``
    One frame of each of L equal segments which together are the whole clip (Wang et al., "Temporal segment networks",
    ECCV 2016). Segments need not be whole numbers of frames, so the end of the clip is seen too.

Training draws at random; evaluation is fixed, in one of three modes:

=================  =======================  ==================================  ====================================
sampler            center: one window       conv: ``segments`` windows          all
=================  =======================  ==================================  ====================================
consecutive,       the middle valid start   the middles of so many equal parts  starts L × r apart, and of each the r
dense                                       of the range of valid starts        phases: no frame twice, tail left out
random_interval    each interval's middle   as all (as in TAO)                  n // L windows: the first frame of
                                                                                each interval, the second, …
segments           each segment's middle    the middles of so many equal parts  n // L windows: as conv with so many
                                            of every segment
=================  =======================  ==================================  ====================================

A clip shorter than L × r (``consecutive``) or L (``dense``) has one window, from its first frame on; past the end it
loops, repeats the last frame, or is refused. The other two samplers show frames of a short clip more than once, in
order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from araflow.core.errors import SpecError

if TYPE_CHECKING:  # worker processes start sooner without the settings' machinery
    from araflow.recognition.spec import DataSpec, EvaluationMode, Sampler, ShortClip

Indices = NDArray[np.int64]

DENSE_FRAMES = 64
"""Frames of a clip that a dense window spans (MMAction2's ``DenseSampleFrames``, ``sample_range``)."""


def training_window(frames: int, length: int, data: DataSpec, rng: np.random.Generator) -> Indices:
    """Draw a window for training.

    Args:
        frames: Frames of the clip (or flow fields), at least 1.
        length: Frames of the window, at least 1.
        data: Gives ``sampler``, ``sample_rate`` and ``short_clip``.
        rng: Source of randomness.

    Returns:
        int64 (length,), each in 0 … frames - 1, never decreasing except where a short clip loops. Under
        ``consecutive`` and ``dense`` every start from which the window fits is equally likely.

    Raises:
        ValueError: ``frames`` or ``length`` is less than 1.
        SpecError: The clip is too short, and ``short_clip`` is ``refuse``.
    """
    _check(frames, length)
    places = np.arange(length)
    if data.sampler == "random_interval":
        interval = frames // length
        if interval == 0:
            return np.sort(rng.integers(frames, size=length))
        return places * interval + rng.integers(interval, size=length)
    if data.sampler == "segments":
        return _in_segments(frames, length, rng.random(length))
    step = _step(frames, length, data.sampler, data.sample_rate)
    start = int(rng.integers(max(0, frames - length * step) + 1))
    return _fold(start + places * step, frames, data.short_clip)


def evaluation_windows(
    frames: int,
    length: int,
    *,
    sampler: Sampler,
    sample_rate: int,
    short_clip: ShortClip,
    mode: EvaluationMode,
    segments: int,
) -> Indices:
    """Return the windows by which a clip is scored; the module's table says which these are.

    Args:
        frames: Frames of the clip (or flow fields), at least 1.
        length: Frames of the window, at least 1.
        sampler: As in training.
        sample_rate: Step between frames, for ``consecutive``.
        short_clip: ``loop``, ``repeat`` or ``refuse``, for ``consecutive`` and ``dense``.
        mode: ``center``, ``conv`` or ``all``.
        segments: Windows of ``conv``.

    Returns:
        int64 (windows, length), each in 0 … frames - 1; at least one window.

    Raises:
        ValueError: ``frames``, ``length`` or ``segments`` is less than 1.
        SpecError: The clip is too short, and ``short_clip`` is ``refuse``.
    """
    _check(frames, length)
    if segments < 1:
        raise ValueError(f"segments must be at least 1 (found {segments})")
    if sampler == "random_interval":
        interval = frames // length
        if mode == "center" or interval == 0:
            return _middles(frames / length, length)[np.newaxis]
        return np.arange(interval)[:, np.newaxis] + np.arange(length) * interval
    if sampler == "segments":
        count = {"center": 1, "conv": segments, "all": max(1, frames // length)}[mode]
        parts = (np.arange(count) + 0.5) / count
        return _in_segments(frames, length, parts[:, np.newaxis])
    step = _step(frames, length, sampler, sample_rate)
    span = length * step
    starts = frames - span + 1
    if starts <= 0:
        first = np.zeros(1, np.int64)
    elif mode == "center":
        first = np.array([starts // 2])
    elif mode == "conv":
        first = _middles(starts / segments, segments)
    else:
        first = (np.arange(frames // span)[:, np.newaxis] * span + np.arange(step)).ravel()
    return _fold(first[:, np.newaxis] + np.arange(length) * step, frames, short_clip)


def shorter(window: Indices, length: int) -> Indices:
    """Return the indices of a shorter stream that is shown beside a longer one, evenly taken from the longer's.

    Args:
        window: The longer stream's indices, int64 (…, frames).
        length: Frames of the shorter one, at most as many.

    Returns:
        int64 (…, length): the middles of ``length`` equal parts of the window.

    Raises:
        ValueError: ``length`` is less than 1, or more than the window has.
    """
    if not 1 <= length <= window.shape[-1]:
        raise ValueError(f"length must be 1 to {window.shape[-1]}, the longer stream's (found {length})")
    return window[..., _middles(window.shape[-1] / length, length)]


def _check(frames: int, length: int) -> None:
    if frames < 1 or length < 1:
        raise ValueError(f"frames and length must be at least 1 (found {frames} and {length})")


def _step(frames: int, length: int, sampler: Sampler, sample_rate: int) -> int:
    """Return the step between the frames of a window."""
    return sample_rate if sampler == "consecutive" else max(1, min(DENSE_FRAMES, frames) // length)


def _middles(width: float, count: int) -> Indices:
    """Return the middles of ``count`` neighbouring parts, each ``width`` wide.

    In this order of operations, because TAO's indices are those of ``int(width / 2 + width * i)`` in double precision,
    which for some widths is one less than exact arithmetic gives.
    """
    middles: Indices = (width / 2 + width * np.arange(count)).astype(np.int64)
    return middles


def _in_segments(frames: int, length: int, part: NDArray[np.float64]) -> Indices:
    """Return the frame at ``part`` (0 to 1, without 1) of each of ``length`` equal segments of the clip."""
    found: Indices = ((np.arange(length) + part) * (frames / length)).astype(np.int64)
    return np.minimum(found, frames - 1)  # rounding may reach the end itself


def _fold(indices: Indices, frames: int, short_clip: ShortClip) -> Indices:
    """Bring indices past the end of a short clip back into it."""
    if short_clip == "refuse" and indices[..., -1].max() >= frames:
        raise SpecError(
            f"data.short_clip: refuse: the clip has {frames} frames, a window needs {indices[..., -1].max() + 1}; use "
            "loop or repeat"
        )
    return indices % frames if short_clip == "loop" else np.minimum(indices, frames - 1)
