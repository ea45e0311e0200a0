"""Frames at an even rate: those that a player shows at 0, 1/fps, 2/fps, … seconds after a video's first frame.

A frame is shown until the next one begins, the last one as long as the container's rate says; so frames are left out
where a video has more of them, and come again where it has fewer, or a gap. A frame that begins within a tenth of a
frame's time after such a moment counts as shown: Matroska, for one, rounds its timestamps to milliseconds.

Timestamps are taken at their word as far as they go up, by ten seconds at most. From the first one on that does not
(HMDB51's do not), or that is not there, every frame takes the time that the container's rate says; the clip's reason
tells.
"""

from __future__ import annotations

import contextlib
import math

from araflow.media.video import Frames, VideoInfo

_SHOWN = 0.1
"""Of a frame's time, by how much a frame may begin later and count as shown."""
_LONGEST = 10.0
"""Seconds that a frame may take; longer gaps come from damaged or joined files, and would be filled with its copies."""


def steady(frames: Frames, info: VideoInfo, fps: float) -> Frames:
    """Yield the frames that are shown every 1/``fps`` seconds; all of them where no rate is known, with a note.

    Args:
        frames: As they are decoded.
        info: What goes with them; ``decoded`` counts them.
        fps: Frames per second.

    Yields:
        As of ``video.read``; one frame may come several times.
    """
    with contextlib.closing(frames):
        if info.fps is None:
            info.note("no frame rate is known, frames are taken as they come")
            yield from frames
            return
        length, clock = 1 / info.fps, _Clock(info)
        held, number, info.decoded = None, 0, 0
        for frame in frames:
            info.decoded += 1
            begins = clock.next()
            while held is not None and number / fps + _SHOWN * length < begins:
                yield held
                number += 1
            held = frame.copy()  # the next one may take its memory
        while held is not None and number / fps + _SHOWN * length < clock.now + length:
            yield held
            number += 1


def count(frames: int, rate: float | None, fps: float | None) -> int:
    """Return how many frames ``steady`` makes of so many of an even rate; as many where there is nothing to do."""
    return frames if rate is None or fps is None else max(1, math.ceil((frames - _SHOWN) * fps / rate))


class _Clock:
    """When each frame begins, in seconds after the first one."""

    def __init__(self, info: VideoInfo) -> None:
        self.now = 0.0
        self._info = info
        self._start: float | None = None
        self._trusted = True

    def next(self) -> float:
        """Return when the frame begins that was decoded last."""
        stamp, number = self._info.time, (self._info.decoded or 1) - 1
        if not number:
            self._start = stamp
            return self.now
        later = None if stamp is None or self._start is None else stamp - self._start - self.now
        if self._trusted and (later is None or not 0 < later <= _LONGEST):
            self._trusted = False
            rate = f"{self._info.fps:g} frames per second"
            self._info.note(f"timestamps are not in order from frame {number} on, {rate} are assumed")
        self.now += later if self._trusted and later is not None else 1 / (self._info.fps or 1)
        return self.now
