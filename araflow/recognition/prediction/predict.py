"""From videos to labels: what a recogniser says of a video, or of each stretch of it."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from araflow.acquire.types import Sources
from araflow.core.clip import Clip
from araflow.core.errors import ClipError, SourceError, SpecError
from araflow.core.listing import say, told
from araflow.datasets import folder
from araflow.media.video import Frames, VideoInfo
from araflow.recognition.evaluation.scores import Scores, fuse
from araflow.recognition.prediction._video_plans import span
from araflow.recognition.prediction._video_windows import VideoWindow, over, sliding, whole
from araflow.recognition.prediction.runners import Runner, Tensors
from araflow.recognition.prediction.video_flow import FlowMaker, flow_maker
from araflow.recognition.spec import EvaluationMode, ModelSpec

if TYPE_CHECKING:
    import pyarrow as pa

_T = TypeVar("_T")
_BATCH = 4
"""Windows at once; a batch of more takes memory and, on a CPU, wins no time."""


@dataclasses.dataclass(frozen=True, slots=True)
class Prediction:
    """What a recogniser says of a video, or of one window of it.

    Attributes:
        video: The video, as it was named.
        start_frame: First frame that was looked at, 0-based.
        end_frame: The frame after the last that was looked at. Flow of a frame leads to the next one, which a
            recogniser of flow has looked at, too.
        start_seconds: ``start_frame`` over the frame rate that the container states; ``None`` where it states none.
        end_seconds: ``end_frame`` likewise.
        windows: Windows whose probabilities were averaged.
        labels: The most probable classes, the most probable first.
        probabilities: Theirs.
    """

    video: str
    start_frame: int
    end_frame: int
    start_seconds: float | None
    end_seconds: float | None
    windows: int
    labels: tuple[str, ...]
    probabilities: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return dataclasses.asdict(self)


def predict(
    runner: Runner,
    video: Path,
    *,
    top: int = 5,
    window: int | None = None,
    stride: int | None = None,
    mode: EvaluationMode | None = None,
    segments: int | None = None,
    flow: FlowMaker | None = None,
    upright: bool | None = None,
) -> list[Prediction]:
    """Recognise the action of a video, or of windows that slide over it.

    Of a whole video it says what an evaluation of the same clip says: the same windows, the same flow, the mean of
    their softmax. A class is always named, also for a video that shows none of them.

    Args:
        runner: The recogniser.
        video: A video file, or a folder of frames.
        top: How many classes to name, at most.
        window: Length of a sliding window in frames; ``_video_plans.within`` says which of these are looked at.
            ``None``: one prediction for the whole video.
        stride: Frames from one window's start to the next's; ``None``: windows without overlap.
        mode: ``center``, ``conv`` or ``all``, for a whole video only; ``None``: as it was evaluated
            (``ModelSpec.looking``).
        segments: Windows of ``conv``; ``None`` likewise.
        flow: What ``flow_maker`` returned; ``None`` settles it.
        upright: Rotate and mirror frames as the file asks for; ``False``: they are seen as they are coded; ``None``: as
            in training.

    Returns:
        One prediction, or one per window in order: windows that would go past the end are left out, and a video that
        is shorter than a window is one.

    Raises:
        ClipError: The video cannot be used.
        OSError: It cannot be read.
        SpecError: ``top``, ``window``, ``stride`` or ``segments`` is less than 1, or ``stride`` comes without
            ``window``.
        UnavailableError: What computed flow for training is not here.
    """
    given = {"top": top, "window": window, "stride": stride, "segments": segments}
    for name, value in given.items():
        if value is not None and value < 1:
            raise SpecError(f"{name}: must be at least 1 (found {value})")
    flow = flow or flow_maker(runner.spec)
    upright = runner.spec.frames.upright if upright is None else upright
    if window is None:
        if stride is not None:
            raise SpecError("stride: is for sliding windows; give window, too")
        windows = whole(video, runner.spec, flow, runner.spec.looking(mode, segments), upright=upright)
        return [_one(runner, video, list(_scored(runner, windows)), top)]
    windows = sliding(video, runner.spec, flow, window=window, stride=stride or window, upright=upright)
    return [_one(runner, video, [scored], top) for scored in _scored(runner, windows)]


def watched(
    runner: Runner,
    name: str,
    info: VideoInfo,
    frames: Frames,
    *,
    top: int = 5,
    window: int,
    stride: int,
    flow: FlowMaker | None = None,
) -> Iterator[Prediction]:
    """Yield what a recogniser says of frames as they come, as of a camera: one prediction per sliding window.

    Args:
        runner: The recogniser.
        name: What the predictions call the video.
        info: What is known of the frames.
        frames: Closed at the end.
        top: How many classes to name, at most.
        window: Length of a window in frames.
        stride: Frames from one window's start to the next's.
        flow: What ``flow_maker`` returned; ``None`` settles it.
    """
    windows = over(info, frames, runner.spec, flow or flow_maker(runner.spec), window=window, stride=stride)
    for scored in _scored(runner, windows, 1):
        yield _one(runner, name, [scored], top)


def moments(spec: ModelSpec) -> tuple[int, int]:
    """Return window and stride, in frames, by which moments of a video are told: a window as in training, and half one.

    Args:
        spec: What the recogniser knows of itself.
    """
    window = span(spec)
    return window, max(1, window // 2)


def batches(
    windows: Iterable[VideoWindow], size: int = _BATCH
) -> Iterator[tuple[list[VideoWindow], dict[str, Tensors]]]:
    """Yield so many windows at a time, and their tensors stacked: per stream float32 (batch, …)."""
    pending = iter(windows)
    while batch := list(itertools.islice(pending, size)):
        yield batch, {name: np.stack([one.tensors[name] for one in batch]) for name in batch[0].tensors}


def _scored(
    runner: Runner, windows: Iterable[VideoWindow], size: int = _BATCH
) -> Iterator[tuple[VideoWindow, Tensors]]:
    for batch, tensors in batches(windows, size):
        for one, logits in zip(batch, runner(**tensors), strict=True):
            yield dataclasses.replace(one, tensors={}), logits  # a long video's tensors must not pile up


def _one(runner: Runner, video: Path | str, scored: Sequence[tuple[VideoWindow, Tensors]], top: int) -> Prediction:
    """Average windows into one prediction."""
    count = len(scored)
    clips = np.zeros(count, np.int64)
    scores = Scores((str(video),), clips, np.arange(count), np.stack([logits for _, logits in scored]))
    probabilities = fuse(scores)[0]
    order = np.argsort(-probabilities, kind="stable")[:top].tolist()
    start, end = min(one.start for one, _ in scored), max(one.end for one, _ in scored)
    fps = scored[0][0].fps
    return Prediction(
        video=str(video),
        start_frame=start,
        end_frame=end,
        start_seconds=start / fps if fps else None,
        end_seconds=end / fps if fps else None,
        windows=count,
        labels=tuple(runner.spec.labels[index] for index in order),
        probabilities=tuple(float(probabilities[index]) for index in order),
    )


def list_videos(sources: Sequence[Path]) -> list[Clip]:
    """List videos: each source is a video, a folder of frames, a folder with videos somewhere below, or a CSV list.

    Raises:
        SourceError: A source is absent, or holds no video.
    """
    found: list[Clip] = []
    for source in sources:
        listing = folder.list_clips(Sources(source, None), None)
        if not listing.clips:
            over = told(listing.passed_over)
            raise SourceError(
                f"{source}: no videos found: no video files and no folders of images; for a dataset that araflow built "
                "there are araflow evaluate and araflow features" + (over and f"; {over}")
            )
        say(listing.passed_over, listing.remarks)
        found += listing.clips
    return found


def attempted(videos: Iterable[Clip], work: Callable[[Path], _T]) -> Iterator[tuple[Clip, _T | None, str]]:
    """Do something with each video; one that cannot be used is an answer with its reason, not an error.

    Args:
        videos: What ``list_videos`` returned.
        work: Takes a video's path.

    Yields:
        The video, what ``work`` returned (``None`` if it could not be used), and the reason (``code: detail``, empty
        if all is well).
    """
    for clip in videos:
        if clip.source is None:
            yield clip, None, f"missing: {clip.name} is listed, but not there"
            continue
        try:
            yield clip, work(clip.source), ""
        except ClipError as error:
            yield clip, None, str(error)
        except OSError as error:
            yield clip, None, f"io-error: {error.strerror or error}"


def table(rows: Sequence[dict[str, Any]]) -> pa.Table:
    """Return rows of predictions, and of videos that could not be used, as a table.

    Args:
        rows: ``Prediction.to_json``'s dicts with ``reason`` (``None`` where all is well); a video that could not be
            used has only ``video`` and ``reason``.
    """
    import pyarrow as pa

    columns = {
        "video": pa.string(),
        "start_frame": pa.int64(),
        "end_frame": pa.int64(),
        "start_seconds": pa.float64(),
        "end_seconds": pa.float64(),
        "windows": pa.int64(),
        "labels": pa.list_(pa.string()),
        "probabilities": pa.list_(pa.float64()),
        "reason": pa.string(),
    }
    schema = pa.schema(list(columns.items()))
    return pa.Table.from_pylist([{name: row.get(name) for name in columns} for row in rows], schema=schema)
