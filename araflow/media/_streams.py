"""Which stream of a container is the video, and what is to be said of it before anything is decoded."""

from __future__ import annotations

from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from araflow.core.errors import ClipError

_HDR = {16: "PQ", 18: "HLG"}
"""Transfer characteristics of ITU-T H.273, table 3, whose pictures are far brighter than a screen's."""
_SQUARE = 0.01
"""Samples that are nearly square (2048:2043) come from rounding a width to whole pixels."""
_MOST_FRAMES = 1 << 30
"""A header that states as many was written before the number was known."""


def choose(container: InputContainer) -> tuple[VideoStream, list[str]]:
    """Return the stream that players show, as FFmpeg picks it: the default one, then the largest, then the first.

    Returns:
        The stream, and notes on the choice where there was one.

    Raises:
        ClipError: There is none; a cover picture is none.
    """
    every = container.streams.video
    moving = [stream for stream in every if not stream.disposition & Disposition.attached_pic]
    if not moving:
        raise ClipError("not-a-video", "its only picture is a cover" if every else "no video stream")
    best = max(moving, key=lambda stream: (bool(stream.disposition & Disposition.default), _pixels(stream)))
    if len(moving) == 1:
        return best, []
    why = "default" if best.disposition & Disposition.default else "largest"
    return best, [f"{len(moving)} video streams, taken is number {moving.index(best) + 1}, the {why}"]


def notes(stream: VideoStream) -> list[str]:
    """Say what a player would apply, and is not applied here."""
    found = []
    aspect = stream.sample_aspect_ratio
    if aspect and abs(aspect - 1) > _SQUARE:
        found.append(f"sample aspect {aspect.numerator}:{aspect.denominator}, not applied")
    if curve := _HDR.get(stream.codec_context.color_trc):
        found.append(f"HDR ({curve}), not mapped to a screen's range")
    return found


def stated_frames(stream: VideoStream) -> int | None:
    """Return how many frames the container says that there are to see; ``None`` where it does not say.

    What an edit list leaves out is not to be seen; PyAV tells since 17.
    """
    if not 0 < stream.frames < _MOST_FRAMES:  # a damaged header may have numbers below zero
        return None
    if "mp4" not in stream.container.format.name:
        return stream.frames
    left_out = sum(bool(entry.is_discard) for entry in getattr(stream, "index_entries", ()))
    return stream.frames - left_out


def _pixels(stream: VideoStream) -> int:
    context = stream.codec_context
    return context.width * context.height if context else 0  # a stream without a known codec has no context
