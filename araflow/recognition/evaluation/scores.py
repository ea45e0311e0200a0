"""From windows to scores, and from scores to one answer per video.

A video's probability is the mean of its windows' softmax, each window once, whatever the batch size.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from araflow.core.errors import AraflowError, SpecError, TrainingError
from araflow.recognition.data.loading import loader
from araflow.recognition.spec import Compatibility
from araflow.recognition.streams import CHANNELS

if TYPE_CHECKING:
    import torch

_CPU_BATCH = 4
"""Windows at once on a CPU, always: libraries choose other algorithms for other batch sizes, whose last bits differ."""


class Scored(Protocol):
    """What is asked of a clip; ``araflow.recognition.data.clips.VideoClip`` is one."""

    @property
    def key(self) -> str:
        """Its name."""
        ...

    @property
    def label_index(self) -> int:
        """Its class."""
        ...

    @property
    def row(self) -> Mapping[str, Any]:
        """Its manifest row."""
        ...


class Windows(Protocol):
    """What is asked of a dataset; ``araflow.recognition.data.windows.EvaluationWindows`` is one.

    An item has a tensor (channels, frames, height, width) per stream, ``clip`` (index into ``clips``) and ``window``.
    """

    @property
    def clips(self) -> Sequence[Scored]:
        """The videos."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Mapping[str, Any]: ...


@dataclasses.dataclass(frozen=True, eq=False)
class Scores:
    """A network's answers.

    Attributes:
        keys: The videos' names.
        clips: int64, (windows,): index into ``keys``.
        windows: int64, (windows,): number of the window within its video.
        logits: float32, (windows, classes).
    """

    keys: tuple[str, ...]
    clips: NDArray[np.int64]
    windows: NDArray[np.int64]
    logits: NDArray[np.float32]

    @property
    def per_video(self) -> NDArray[np.int64]:
        """Number of distinct windows of each video, int64, (videos,)."""
        pairs = np.unique(np.stack([self.clips, self.windows], axis=1), axis=0)
        return np.bincount(pairs[:, 0], minlength=len(self.keys)).astype(np.int64)


def score(
    network: torch.nn.Module,
    windows: Windows,
    *,
    batch_size: int = 8,
    workers: int = 0,
    device: str | torch.device = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> Scores:
    """Run the network, in evaluation mode, on every window.

    On a CPU windows go through in fixed batches, so that the same bits come out for any ``batch_size`` and ``workers``
    (on the same machine with as many threads). On other devices they go through in batches of ``batch_size``, the last
    one filled up; other sizes then change probabilities in about the seventh digit.

    Args:
        network: Takes the streams in the order rgb, flow; returns logits (batch, classes). Moved to ``device``; its
            modules' training modes are as before afterwards.
        windows: What to score.
        batch_size: Windows at once, but for a CPU.
        workers: Loading processes; 0: none.
        device: Where to run.
        progress: Called after each batch with the number of windows done, and of all.

    Raises:
        SpecError: There is nothing to score.
        SourceError: A clip's files cannot be read; names it.
        TrainingError: The network answers with what is no number; names the clip.
    """
    import torch

    total, keys = len(windows), tuple(clip.key for clip in windows.clips)
    if total == 0:
        raise SpecError("no clip to evaluate on: the split is empty")
    device = torch.device(device)
    size = _CPU_BATCH if device.type == "cpu" else batch_size
    modes = [(module, module.training) for module in network.modules()]
    network.to(device).eval()
    clips, numbers, logits = [], [], []
    done = 0
    try:
        with torch.inference_mode():
            for batch in loader(windows, size, workers, kept=False):
                if isinstance(batch, AraflowError):
                    raise batch
                count = len(batch["clip"])
                streams = [_filled(batch[stream], size).to(device) for stream in CHANNELS if stream in batch]
                found = network(*streams)[:count].float().cpu().numpy()
                bad = ~np.isfinite(found).all(axis=1)
                if bad.any():
                    index = int(bad.argmax())
                    raise TrainingError(
                        f"the network's scores of {keys[int(batch['clip'][index])]!r}, window "
                        f"{int(batch['window'][index])}, are not numbers: its training diverged, or the precision is "
                        "too low"
                    )
                clips.append(batch["clip"].numpy())
                numbers.append(batch["window"].numpy())
                logits.append(found)
                done += count
                if progress is not None:
                    progress(done, total)
    finally:
        for module, mode in modes:
            module.training = mode
    return Scores(
        keys,
        np.concatenate(clips).astype(np.int64),
        np.concatenate(numbers).astype(np.int64),
        np.concatenate(logits).astype(np.float32),
    )


def _filled(stream: torch.Tensor, size: int) -> torch.Tensor:
    """Repeat the last window until there are ``size``: a video's scores then do not depend on how many follow it."""
    import torch

    return torch.cat([stream, stream[-1:].expand(size - len(stream), *stream.shape[1:])])


def fuse(scores: Scores, *, compat: Compatibility = "none") -> NDArray[np.float64]:
    """Average each video's windows: the mean of their softmax.

    A window that occurs twice, as where several devices share an uneven number of windows, counts once. The order of
    the windows does not matter, not even to the last bit.

    Args:
        scores: Every video with at least one window.
        compat: ``tao`` counts each video's first window twice, as NVIDIA TAO's evaluation does (it stores the first
            and then adds all); the sum is divided by the number of windows plus one.

    Returns:
        float64, (videos, classes); each row sums to 1.

    Raises:
        SpecError: A video has no window; names it.
    """
    order = np.lexsort((scores.windows, scores.clips))
    pairs = np.stack([scores.clips, scores.windows], axis=1)[order]
    new = np.ones(len(order), dtype=bool)
    new[1:] = (pairs[1:] != pairs[:-1]).any(axis=1)
    order = order[new]
    starts = np.searchsorted(scores.clips[order], np.arange(len(scores.keys) + 1))
    counts = np.diff(starts)
    if not counts.all():
        raise SpecError(f"{scores.keys[int(counts.argmin())]!r} has no window to score")
    shifted = scores.logits[order].astype(np.float64)
    powers = np.exp(shifted - shifted.max(axis=1, keepdims=True))
    probabilities = powers / powers.sum(axis=1, keepdims=True)
    first = starts[:-1]
    sums = np.add.reduceat(probabilities, first, axis=0)
    if compat == "tao":
        sums, counts = sums + probabilities[first], counts + 1
    fused: NDArray[np.float64] = sums / counts[:, None]
    return fused
