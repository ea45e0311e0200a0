"""Score clips with a recogniser, and measure its answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from araflow.core.processes import usable_cores
from araflow.recognition.evaluation.answers import Evaluation
from araflow.recognition.evaluation.scores import fuse, score
from araflow.recognition.spec import EvaluationSpec

if TYPE_CHECKING:
    from araflow.recognition.data.clips import VideoClip

_WINDOWS_PER_PROCESS = 64
"""Fewer do not repay the seconds that a loading process takes to start."""


def evaluate(
    checkpoint: Path,
    clips: Sequence[VideoClip],
    spec: EvaluationSpec,
    *,
    workers: int | None = None,
    split: str | None = None,
    device: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Score clips with a recogniser.

    Args:
        checkpoint: Its file.
        clips: The videos, their labels in its order.
        spec: Settings.
        workers: Loading processes; ``None``: one per usable core, at most 8, and fewer for few windows.
        split: The split that they are; ``None``: as their rows say.
        device: Where to run; ``None``: the GPU where there is one.
        progress: See ``score``.

    Raises:
        SourceError: The checkpoint or a clip cannot be read.
        SpecError: There is no clip.
        TrainingError: The recogniser answers with what is no number.
    """
    import torch

    from araflow.recognition.checkpoint import load
    from araflow.recognition.data.windows import EvaluationWindows

    network, model = load(checkpoint)
    windows = EvaluationWindows(clips, model, spec)
    if workers is None:
        workers = min(8, usable_cores(), len(windows) // _WINDOWS_PER_PROCESS)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    scores = score(network, windows, batch_size=spec.batch_size, workers=workers, device=device, progress=progress)
    fused = fuse(scores, compat=spec.compat)
    return Evaluation.of(fused, clips, model.labels, windows=scores.per_video, split=split)
