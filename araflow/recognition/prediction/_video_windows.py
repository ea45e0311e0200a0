"""From a video to the windows that a recogniser sees, as if the video had been built into a dataset first.

Frames are decoded, kept in the form of training's, and cropped one at a time, and optical flow is computed, quantised
and passed through JPEG on the way; a picture is kept only as long as a window still needs it. So memory does not grow
with the video's length, and a window has the very bytes that training and evaluation read from files.

A place in a video is counted in frames, from 0. For flow it is the flow field from that frame to the next, so that a
video of n frames has n - 1 places where the recogniser sees flow.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from araflow import optical
from araflow.core.errors import ClipError, SpecError
from araflow.media import frame_files, video
from araflow.media.fields import GrayFrame
from araflow.recognition.data import samplers, transforms
from araflow.recognition.prediction._video_plans import Listed, Plan, Seen, Sliding, Span, longest, per_stream, within
from araflow.recognition.prediction.video_flow import FlowMaker, gains, stored
from araflow.recognition.spec import ModelSpec, Views
from araflow.recognition.streams import Stream


@dataclasses.dataclass(frozen=True, eq=False)
class VideoWindow:
    """What a recogniser sees of a video at once.

    Attributes:
        start: First place that it looks at.
        end: The place after the last.
        fps: Frames per second, as the container states it or as they were taken, or ``None``.
        tensors: Per stream, float32 (channels, frames, height, width).
    """

    start: int
    end: int
    fps: float | None
    tensors: dict[str, NDArray[np.float32]]


def whole(
    source: Path,
    spec: ModelSpec,
    flow: FlowMaker | None,
    views: Views,
    *,
    upright: bool = True,
) -> Iterator[VideoWindow]:
    """Yield the windows by which evaluation would score the whole video.

    Decodes twice: only a decoder knows how many frames there are.

    Args:
        source: A video file, or a folder of frames.
        spec: What the recogniser knows of itself.
        flow: What ``flow_maker`` returned.
        views: By which windows.
        upright: As of ``video.read``.

    Raises:
        ClipError: The video cannot be used.
        OSError: It cannot be read.
    """
    places = _count(source, spec, upright)
    with _too_short():
        windows = samplers.evaluation_windows(
            places,
            longest(spec),
            sampler=spec.sampler,
            sample_rate=spec.sample_rate,
            short_clip=spec.short_clip,
            mode=views.mode,
            segments=views.segments,
        )
    plan = Listed([Span.over(per_stream(window, spec)) for window in windows])
    yield from _gather(source, spec, flow, plan, upright)


def sliding(
    source: Path, spec: ModelSpec, flow: FlowMaker | None, *, window: int, stride: int, upright: bool = True
) -> Iterator[VideoWindow]:
    """Yield windows of so many places at places 0, ``stride``, 2 × ``stride`` …, as far as they fit into the video.

    A video shorter than a window is one window, as long as it is. What the recogniser sees of a window is what
    ``within`` picks.

    Args:
        source: A video file, or a folder of frames.
        spec: What the recogniser knows of itself.
        flow: What ``flow_maker`` returned.
        window: Places that a window spans, at least 1.
        stride: Places from one window's start to the next's, at least 1.
        upright: As of ``video.read``.

    Raises:
        ClipError: The video cannot be used.
        OSError: It cannot be read.
    """
    found = False
    plan = Sliding(window, stride, per_stream(within(window, spec), spec))
    for item in _gather(source, spec, flow, plan, upright):
        found = True
        yield item
    if not found:
        places = _count(source, spec, upright)
        with _too_short():
            indices = per_stream(within(places, spec), spec)
        yield from _gather(source, spec, flow, Listed([Span(0, places, indices)]), upright)


def over(
    info: video.VideoInfo, frames: video.Frames, spec: ModelSpec, flow: FlowMaker | None, *, window: int, stride: int
) -> Iterator[VideoWindow]:
    """Yield windows as ``sliding`` does, of frames that come from elsewhere; of fewer than a window's, none.

    Args:
        info: What is known of the frames.
        frames: Closed at the end.
        spec: What the recogniser knows of itself.
        flow: What ``flow_maker`` returned.
        window: Places that a window spans, at least 1.
        stride: Places from one window's start to the next's, at least 1.
    """
    info, frames = frame_files.kept(info, frames, spec.frames.form)
    return _through(info, frames, spec, flow, Sliding(window, stride, per_stream(within(window, spec), spec)))


def _gather(source: Path, spec: ModelSpec, flow: FlowMaker | None, plan: Plan, upright: bool) -> Iterator[VideoWindow]:
    """Go through the video once, and yield each window as soon as its last place has come."""
    return _through(*frame_files.read(source, spec.frames.form, upright=upright), spec, flow, plan)


def _through(
    info: video.VideoInfo, frames: video.Frames, spec: ModelSpec, flow: FlowMaker | None, plan: Plan
) -> Iterator[VideoWindow]:
    open_: list[Span] = []
    with contextlib.closing(frames), contextlib.closing(_pictures(frames, spec, flow, plan)) as pictures:
        for place, seen in enumerate(pictures):
            open_ += plan.starting(place)
            for span in open_:
                span.collect(place, seen)
            for span in [span for span in open_ if span.end == place + 1]:
                open_.remove(span)
                yield VideoWindow(span.start, span.end, info.fps, _tensors(span, spec))
            if place == plan.last:
                return


def _pictures(frames: video.Frames, spec: ModelSpec, flow: FlowMaker | None, plan: Plan) -> Generator[Seen, None, None]:
    """Yield, place by place, what is wanted of it."""
    crop = _Crop(spec)
    if flow is None:
        for place, rgb in enumerate(frames):
            yield {"rgb": (crop(rgb, "rgb"), None)} if plan.wants(place) else {}
        return
    kept: dict[int, NDArray[np.uint8]] = {}

    def grays() -> Iterator[GrayFrame]:
        for place, rgb in enumerate(frames):
            if "rgb" in spec.streams and plan.wants(place):
                kept[place] = crop(rgb, "rgb")
            yield cast(GrayFrame, cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY))

    backend = optical.load(flow.choice.backend)
    for place, field in enumerate(backend.compute(grays(), flow.choice.algorithm, flow.preset)):
        seen: Seen = {}
        if plan.wants(place):
            if "rgb" in spec.streams:
                seen["rgb"] = kept.pop(place), None
            levels, radius = stored(field, flow.storage)
            seen["flow"] = crop(levels, "flow"), radius
        yield seen


class _Crop:
    """Crops and resizes each picture as evaluation does; all by the first stream's window, as in ``data``."""

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec
        self._one = {name: spec.stream(name).model_copy(update={"frames": 1}) for name in spec.streams}
        self._view: transforms.View | None = None

    def __call__(self, picture: NDArray[np.uint8], stream: Stream) -> NDArray[np.uint8]:
        if self._view is None:
            self._view = transforms.evaluation_view(
                self._spec.stream(self._spec.streams[0]),
                (picture.shape[0], picture.shape[1]),
                short_side=self._spec.short_side,
                center_crop=self._spec.center_crop,
            )
        found: NDArray[np.uint8] = transforms.cropped([picture], self._one[stream], self._view)[0]
        return found


def _tensors(span: Span, spec: ModelSpec) -> dict[str, NDArray[np.float32]]:
    found = {}
    for stream, indices in span.indices.items():
        pictures, radii = zip(*(span.pictures[stream, index] for index in indices), strict=True)
        scale = gains(spec.flow, radii) if stream == "flow" and spec.flow is not None else None
        found[str(stream)] = transforms.normalised(np.stack(pictures), stream, spec.stream(stream), gains=scale)
    return found


def _count(source: Path, spec: ModelSpec, upright: bool) -> int:
    """Return how many places a video has.

    Raises:
        ClipError: There are none.
    """
    info, frames = frame_files.read(source, spec.frames.form, upright=upright)
    with contextlib.closing(frames):
        count = sum(1 for _ in frames)
    if count == 0:
        raise ClipError("no-frames", info.complaints[0] if info.complaints else "none decoded")
    if "flow" in spec.streams:
        count -= 1
        if count == 0:
            raise ClipError("one-frame", "optical flow needs two")
    return count


@contextlib.contextmanager
def _too_short() -> Iterator[None]:
    """A recogniser that refuses short clips refuses this video, not the whole run."""
    try:
        yield
    except SpecError as error:
        raise ClipError("too-short", str(error)) from error
