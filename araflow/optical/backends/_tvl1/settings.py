"""The settings of the ``numba`` and ``torch`` backends' TV-L1; apart from their solvers, which need these libraries."""

from __future__ import annotations

import dataclasses

MEDIAN = 5
"""Side in pixels of the median filter."""
SMALLEST = 16
"""Smallest side in pixels of a frame and of a pyramid level (OpenCV's limit)."""


@dataclasses.dataclass(frozen=True, slots=True)
class SolverSettings:
    """What decides a result. The defaults are those that OpenCV documents for ``DualTVL1OpticalFlow``.

    Attributes:
        tau: Time step of the dual update.
        lambda_: Weight of the data term; smaller is smoother.
        theta: How tightly the two parts of the energy are coupled.
        scales: Levels of the pyramid at most; none has a side below ``SMALLEST``.
        scale_step: Size of a level over that of the finer one.
        warps: Times that the second frame is warped at each level.
        outer: Iterations per warp that begin with a median filter.
        inner: Iterations in each of those.
        epsilon: Root mean square change in pixels at which a pair's iterations of a warp end.
    """

    tau: float = 0.25
    lambda_: float = 0.15
    theta: float = 0.3
    scales: int = 5
    scale_step: float = 0.8
    warps: int = 5
    outer: int = 10
    inner: int = 30
    epsilon: float = 0.01


# balanced is OpenCV's default to the letter, which is what "TV-L1 flow" means in the literature. Its coarsest level has
# 0.41 of the frame's sides, too much for fast motion, which then also takes longest. The others' have 0.06 to 0.13.
SETTINGS = {
    "fastest": SolverSettings(scale_step=0.7, scales=9, warps=2, epsilon=0.02),
    "fast": SolverSettings(scale_step=0.5),
    "balanced": SolverSettings(),
    "accurate": SolverSettings(scales=10),
}
"""By preset."""
