"""Which places of a video make a window: windows that are known beforehand, and sliding ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from araflow.recognition.data import samplers
from araflow.recognition.spec import ModelSpec
from araflow.recognition.streams import Stream

StreamIndices = dict[Stream, list[int]]
"""The places that each stream shows, in order."""
Seen = dict[Stream, tuple[NDArray[np.uint8], float | None]]
"""What is seen at a place: per stream the cropped picture, and the radius of ``max_radius``."""


def longest(spec: ModelSpec) -> int:
    """Return the frames of the longest stream."""
    return max(spec.stream(stream).frames for stream in spec.streams)


def within(places: int, spec: ModelSpec) -> NDArray[np.int64]:
    """Return which places of a window a recogniser sees.

    A recogniser of neighbouring frames sees them as in training where the window is as long as these or shorter (the
    window is then looped, or its last frame held); of a longer window it sees frames evenly spread. Other recognisers
    see the window as they would see a video of its length.

    Args:
        places: Length of the window, at least 1.
        spec: What the recogniser knows of itself.

    Returns:
        int64 (frames of the longest stream,), each in 0 … places - 1.

    Raises:
        SpecError: The window is shorter than what the recogniser sees, and it refuses that.
    """
    step = spec.sample_rate if spec.sampler == "consecutive" else 1
    longer = spec.sampler in ("consecutive", "dense") and places > longest(spec) * step
    windows: NDArray[np.int64] = samplers.evaluation_windows(
        places,
        longest(spec),
        sampler="segments" if longer else spec.sampler,
        sample_rate=spec.sample_rate,
        short_clip=spec.short_clip,
        mode="center",
        segments=1,
    )
    first: NDArray[np.int64] = windows[0]
    return first


def span(spec: ModelSpec) -> int:
    """Return how many places a window spans in training: what slides over a video where nobody says how long.

    A recogniser that looks at frames of the whole clip has no such length; it gets that of ``dense``.
    """
    return (
        longest(spec) * spec.sample_rate if spec.sampler == "consecutive" else max(longest(spec), samplers.DENSE_FRAMES)
    )


def per_stream(window: NDArray[np.int64], spec: ModelSpec) -> StreamIndices:
    """Return the places of each stream; a shorter stream's are drawn from the longer's.

    Args:
        window: int64 (frames of the longest stream,).
        spec: What the recogniser knows of itself.
    """
    return {stream: samplers.shorter(window, spec.stream(stream).frames).tolist() for stream in spec.streams}


@dataclasses.dataclass(slots=True, eq=False)
class Span:
    """A window whose pictures are being collected.

    Attributes:
        start: First place.
        end: The place after the last; the window is complete once the one before it has come.
        indices: What it shows.
        pictures: What has been collected, by stream and place.
    """

    start: int
    end: int
    indices: StreamIndices
    pictures: dict[tuple[Stream, int], tuple[NDArray[np.uint8], float | None]] = dataclasses.field(default_factory=dict)

    @classmethod
    def over(cls, indices: StreamIndices) -> Span:
        """Return the window from the first to the last place that it shows."""
        every = [place for own in indices.values() for place in own]
        return cls(min(every), max(every) + 1, indices)

    def collect(self, place: int, seen: Seen) -> None:
        """Keep what it shows of a place."""
        for stream, picture in seen.items():
            if place in self.indices[stream]:
                self.pictures[stream, place] = picture


class Plan(Protocol):
    """Which windows there are."""

    @property
    def last(self) -> int | None:
        """The last place that any window needs; ``None``: as far as the video goes."""
        ...

    def starting(self, place: int) -> Sequence[Span]:
        """Return the windows that start here."""
        ...

    def wants(self, place: int) -> bool:
        """Return whether some window shows this place."""
        ...


class Listed:
    """Windows that are known; see ``Plan``."""

    def __init__(self, spans: Sequence[Span]) -> None:
        self._starting: dict[int, list[Span]] = {}
        for span in spans:
            self._starting.setdefault(span.start, []).append(span)
        self._shown = {place for span in spans for own in span.indices.values() for place in own}
        self.last = max(span.end for span in spans) - 1

    def starting(self, place: int) -> Sequence[Span]:
        """Return the windows that start here."""
        return self._starting.pop(place, [])  # its pictures must not outlast it here

    def wants(self, place: int) -> bool:
        """Return whether some window shows this place."""
        return place in self._shown


class Sliding:
    """Windows of one length at equal distances, for as long as the video goes; see ``Plan``."""

    last = None

    def __init__(self, window: int, stride: int, offsets: StreamIndices) -> None:
        self._window, self._stride, self._offsets = window, stride, offsets
        self._shown = sorted({offset for own in offsets.values() for offset in own})

    def starting(self, place: int) -> Sequence[Span]:
        """Return the windows that start here."""
        if place % self._stride:
            return []
        indices = {stream: [place + offset for offset in own] for stream, own in self._offsets.items()}
        return [Span(place, place + self._window, indices)]

    def wants(self, place: int) -> bool:
        """Return whether some window shows this place."""
        return any(offset <= place and (place - offset) % self._stride == 0 for offset in self._shown)
