"""What ``benchmarks.compare`` measures and ``benchmarks.tables`` shows."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from statistics import median

WORKERS = 2
"""Processes of every contender."""
START_FRAMES = 2
"""Frames of each clip in a run that shows what starting costs."""


@dataclass
class Result:
    """What was measured for one algorithm; lists have one item a round.

    Attributes:
        clips: Number of clips.
        start_s: CPU seconds of a run with next to nothing to do, for ``naive`` and araflow. The other peers start a
            process or more for each clip, which no run is without.
        frames: Number of frames written, which the contenders agree on.
        cpu_s: CPU seconds of a whole run, by contender.
        kernels: CPU milliseconds per frame, by kernel.
        png: Milliseconds and bytes per frame of araflow's and OpenCV's PNG encoder.
    """

    clips: int
    start_s: dict[str, float]
    frames: int = 0
    cpu_s: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    kernels: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    png: list[dict[str, dict[str, float]]] = field(default_factory=list)

    def per_1000(self, contender: str, *, with_start: bool = True) -> float:
        """Median CPU seconds per 1,000 frames, with process starts or without."""
        spent, frames = median(self.cpu_s[contender]), self.frames
        if not with_start:
            spent, frames = spent - self.start_s[contender], frames - START_FRAMES * WORKERS
        return spent / frames * 1000

    @property
    def floor(self) -> float:
        """Sum of the kernels' medians, in CPU seconds per 1,000 frames, which is also milliseconds per frame."""
        return sum(median(times) for times in self.kernels.values())
