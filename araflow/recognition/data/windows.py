"""Windows of a manifest's clips as tensors: datasets and a sampler for PyTorch's ``DataLoader``.

Whatever is drawn at random depends on the seed, the epoch and the item alone. So the same tensors come out of any
number of loading processes, in any order, and a training that goes on at epoch k sees what it would have seen.

OpenCV runs single-threaded in loading processes, of which there is one per core.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler, get_worker_info

from araflow.core.errors import SpecError
from araflow.recognition.data import samplers, transforms
from araflow.recognition.data.clips import VideoClip
from araflow.recognition.data.frames import read_frames
from araflow.recognition.flow_storage import FlowScale
from araflow.recognition.spec import DataSpec, EvaluationSpec, ModelSpec
from araflow.recognition.streams import Stream, StreamSpec

_Look = Callable[[StreamSpec, tuple[int, int]], transforms.View]
"""Makes a view from the first stream's window and its pictures' height and width."""


def tensor_of(
    frames: Iterable[NDArray[np.uint8]],
    stream: Stream,
    spec: StreamSpec,
    *,
    short_side: int = 256,
    center_crop: bool = False,
    gains: NDArray[np.float64] | None = None,
) -> Tensor:
    """Turn a window's pictures into a network's input as evaluation does.

    Args:
        frames: ``spec.frames`` pictures, uint8 (height, width, channels), or all of them in one array.
        stream: ``rgb`` or ``flow``.
        spec: The stream's window.
        short_side: Short side in pixels before the centre crop.
        center_crop: Take the centre; else the whole picture is stretched.
        gains: ``transforms.pixel_gains`` of these fields, for a network that was trained on flow in pixels.

    Returns:
        float32 (channels, frames, height, width).

    Raises:
        ValueError: There are more or fewer frames than ``spec.frames``.
    """
    size, pictures = _peek(frames)
    view = transforms.evaluation_view(spec, size, short_side=short_side, center_crop=center_crop)
    shown = transforms.cropped(pictures, spec, view)
    return torch.from_numpy(transforms.normalised(shown, stream, spec, gains=gains))


class TrainingWindows(Dataset[dict[str, Tensor | int]]):
    """Random windows of training clips.

    Item ``(epoch, index)`` has, per stream of the model, a tensor float32 (channels, frames, height, width); ``label``,
    the class; and ``clip``, which of ``clips`` it shows. The streams of a joint model share one window and one view: a
    shorter stream's frames are among the longer's, and flow k goes with frame k.

    Args:
        clips: Training clips.
        model: Streams and their windows.
        data: How they are drawn.
        seed: Seed of windows and views.

    Raises:
        SpecError: There is no clip; or flow is wanted in pixels, and a clip's scale is not known.
    """

    def __init__(self, clips: Sequence[VideoClip], model: ModelSpec, data: DataSpec, *, seed: int) -> None:
        if not clips:
            raise SpecError("split: there is no finished clip to train on; set split.protocol, or build more clips")
        self.clips = clips
        self._data, self._seed = data, seed
        self._reader = _Reader(self.clips, model, data.flow_scale)

    def __len__(self) -> int:
        return len(self.clips) * self._data.clips_per_video

    def __getitem__(self, index: tuple[int, int]) -> dict[str, Tensor | int]:
        epoch, item = index
        number = item % len(self.clips)
        clip = self.clips[number]
        rng = np.random.default_rng((self._seed, epoch, item))
        with _naming(clip):
            window = samplers.training_window(clip.length(self._reader.specs), self._reader.length, self._data, rng)
        tensors = self._reader.read(clip, window, functools.partial(transforms.training_view, self._data, rng=rng))
        return {**tensors, "label": clip.label_index, "clip": number}

    def order(self, seed: int, rank: int, world: int, epoch: int) -> EpochSampler:
        """Return the order of items, from an epoch on; one process's share of it.

        Args:
            seed: Seed of the order.
            rank: 0-based number of this process.
            world: Number of processes.
            epoch: 0-based.
        """
        found = EpochSampler(len(self), seed, rank=rank, world=world)
        found.set_epoch(epoch)
        return found


class EvaluationWindows(Dataset[dict[str, Tensor | int]]):
    """All windows by which clips are scored, clip by clip.

    An item is as in ``TrainingWindows``, and has ``window``, its number among its clip's.

    Args:
        clips: What to score.
        model: Streams, windows, sampler and crop that it was trained with.
        evaluation: Which windows; ``None``: the centre one of each clip.

    Raises:
        SpecError: A clip is too short where that is refused; or flow is wanted in pixels, and a clip's scale is not
            known.
    """

    def __init__(self, clips: Sequence[VideoClip], model: ModelSpec, evaluation: EvaluationSpec | None = None) -> None:
        self.clips = clips
        self._look = functools.partial(
            transforms.evaluation_view, short_side=model.short_side, center_crop=model.center_crop
        )
        self._windows = functools.partial(
            samplers.evaluation_windows,
            sampler=model.sampler,
            sample_rate=model.sample_rate,
            short_clip=model.short_clip,
            mode=evaluation.mode if evaluation else "center",
            segments=evaluation.segments if evaluation else 1,
        )
        self._reader = _Reader(self.clips, model, model.flow.scale if model.flow else "stored")
        self._items = [
            (number, window) for number, clip in enumerate(self.clips) for window in range(len(self._of(clip)))
        ]

    def _of(self, clip: VideoClip) -> samplers.Indices:
        with _naming(clip):
            return self._windows(clip.length(self._reader.specs), self._reader.length)

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> dict[str, Tensor | int]:
        number, window = self._items[index]
        clip = self.clips[number]
        tensors = self._reader.read(clip, self._of(clip)[window], self._look)
        return {**tensors, "label": clip.label_index, "clip": number, "window": window}


class EpochSampler(Sampler[tuple[int, int]]):
    """The order of an epoch's items, as ``(epoch, index)``; one process's share of it.

    Every item comes once; where they cannot be dealt out evenly, the first few of the order come a second time.

    Args:
        size: Number of items.
        seed: Seed of the order.
        rank: 0-based number of this process.
        world: Number of processes.
    """

    def __init__(self, size: int, seed: int, *, rank: int = 0, world: int = 1) -> None:
        self._size, self._seed, self._rank, self._world = size, seed, rank, world
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch, 0-based, comes next."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self._size // self._world)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        # Four numbers, the last not 0: NumPy takes (seed, epoch, 0) and (seed, epoch) for the same seed.
        order = np.random.default_rng((self._seed, self.epoch, 0, 1)).permutation(self._size)
        dealt = np.resize(order, len(self) * self._world)[self._rank :: self._world]
        return iter([(self.epoch, index) for index in dealt.tolist()])


class _Reader:
    """What both datasets share: a window's files as tensors."""

    def __init__(self, clips: Sequence[VideoClip], model: ModelSpec, flow_scale: FlowScale) -> None:
        self.specs = model.windows
        self._first = next(iter(self.specs.values()))
        self._in_pixels = "flow" in self.specs and flow_scale == "pixels"
        self.length = max(spec.frames for spec in self.specs.values())
        if self._in_pixels:
            for clip in clips:
                _gains(clip, [0])  # an error now, not in mid-epoch

    def read(self, clip: VideoClip, window: samplers.Indices, look: _Look) -> dict[str, Tensor]:
        if get_worker_info() is not None:
            cv2.setNumThreads(0)
        tensors: dict[str, Tensor] = {}
        view = None
        for stream, spec in self.specs.items():
            own = window if spec.frames == len(window) else samplers.shorter(window, spec.frames)
            indices = own.tolist()
            size, pictures = _peek(read_frames(clip, stream, indices))
            view = view or look(self._first, size)
            shown = transforms.cropped(pictures, spec, view)
            if stream == "rgb":
                shown = transforms.coloured(shown, view)
            gains = _gains(clip, indices) if stream == "flow" and self._in_pixels else None
            array = transforms.normalised(
                shown, stream, spec, mirrored=view.mirrored, quantizer=clip.quantizer, gains=gains
            )
            tensors[stream] = torch.from_numpy(array)
        return tensors


def _gains(clip: VideoClip, indices: Sequence[int]) -> NDArray[np.float64]:
    if clip.quantizer == "bound" and clip.bound is not None:
        return transforms.pixel_gains(bound=clip.bound)
    if clip.quantizer == "max_radius" and clip.radii is not None and len(clip.radii) == clip.flows:
        return transforms.pixel_gains(radii=[clip.radii[index] for index in indices])
    raise SpecError(
        f"data.flow_scale: pixels needs the scale of every flow field, which the row of clip {clip.key!r} does not "
        "have; use stored, or build it again"
    )


def _peek(frames: Iterable[NDArray[np.uint8]]) -> tuple[tuple[int, int], Iterator[NDArray[np.uint8]]]:
    """Return height and width of the first picture, and all of them."""
    pictures = iter(frames)
    first = next(pictures, None)
    if first is None:
        raise ValueError("there are no frames")
    return (first.shape[0], first.shape[1]), itertools.chain([first], pictures)


@contextlib.contextmanager
def _naming(clip: VideoClip) -> Iterator[None]:
    """Put the clip's name before a message about its length."""
    try:
        yield
    except SpecError as error:
        raise SpecError(f"clip {clip.key!r}: {error}") from error
