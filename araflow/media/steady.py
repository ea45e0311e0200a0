"""Frames at an even rate: those that a player shows at 0, 1/fps, 2/fps, … seconds after a video's first frame.

A frame is shown until the next one begins, the last one as long as the container's rate says; so frames are left out
where a video has more of them, and come again where it has fewer, or a gap. A frame that begins within a tenth of a
frame's time after such a moment counts as shown: Matroska, for one, rounds its timestamps to milliseconds.

Timestamps are taken at their word as far as they go up, by ten seconds at most. Where one does not (HMDB51's do not),
or is not there, every frame from then on, and the four before it, takes the time that the container's rate says; the
clip's reason tells.
"""

from __future__ import annotations

import contextlib
import math
from collections import deque

from araflow.media.video import Frames, RgbFrame, VideoInfo

_SHOWN = 0.1
"""Of a frame's time, by how much a frame may begin later and count as shown."""
_AHEAD = 4
"""Frames whose timestamps are looked at before one is believed: decoders put as many out of order."""
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
        clock, held, number = _Clock(info.fps), None, 0
        waiting: deque[RgbFrame] = deque()
        info.decoded = 0

        def until(time: float) -> Frames:
            """Yield the frame that is held as often as it is shown before another begins."""
            nonlocal number
            while held is not None and number / fps + _SHOWN / clock.rate < time:
                yield held
                number += 1

        for frame in frames:
            info.decoded += 1
            waiting.append(frame.copy())  # the next one may take its memory
            clock.see(info.time)
            if len(waiting) > _AHEAD:
                yield from until(clock.next())
                held = waiting.popleft()
        for frame in waiting:
            yield from until(clock.next())
            held = frame
        yield from until(clock.now + 1 / clock.rate)
        if clock.doubted is not None:
            rate = f"{info.fps:g} frames per second"
            info.note(f"timestamps are not in order, from frame {clock.doubted} on {rate} are assumed")


def count(frames: int, rate: float | None, fps: float | None) -> int:
    """Return how many frames ``steady`` makes of so many of an even rate; as many where there is nothing to do."""
    return frames if rate is None or fps is None else max(1, math.ceil((frames - _SHOWN) * fps / rate))


class _Clock:
    """When each frame begins, in seconds after the first one.

    Attributes:
        rate: Frames per second, where timestamps are of no use.
        now: When the frame began that was asked for last.
        doubted: The first frame whose timestamp was not believed; ``None`` while all are.
    """

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.now = 0.0
        self.doubted: int | None = None
        self._ahead: deque[float] = deque()
        self._last: float | None = None
        self._seen = self._asked = 0

    def see(self, stamp: float | None) -> None:
        """Take the next frame's timestamp, in seconds; frames may be seen before they are asked for."""
        later = None if stamp is None or self._last is None else stamp - self._last
        if self.doubted is None and self._seen and (later is None or not 0 < later <= _LONGEST):
            self.doubted = max(1, self._asked)
        self._ahead.append(later if self._seen and later is not None else 0.0)
        self._last = stamp
        self._seen += 1

    def next(self) -> float:
        """Return when the next frame begins."""
        later = self._ahead.popleft()
        if self._asked:
            self.now += later if self.doubted is None else 1 / self.rate
        self._asked += 1
        return self.now
