"""What every backend refuses, in the same words: settings that it lacks, and frames that no flow can be made of."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

import numpy as np

from araflow.core.errors import ClipError, SpecError
from araflow.media.fields import GrayFrame


def check_setting(
    backend: str, algorithm: str, preset: str, algorithms: Collection[str], presets: Mapping[str, Collection[str]]
) -> None:
    """Refuse what a backend does not offer.

    Args:
        backend: Its name, for the message.
        algorithm: What is asked for.
        preset: The same; an algorithm without presets takes any.
        algorithms: The backend's ``ALGORITHMS``.
        presets: Its ``PRESETS``.

    Raises:
        SpecError: The backend has no such algorithm, or the algorithm no such preset; names the allowed ones.
    """
    if algorithm not in algorithms:
        raise SpecError(f"optical.algorithm: {backend} has no {algorithm!r}; allowed: {', '.join(algorithms)}")
    own = presets.get(algorithm, ())
    if own and preset not in own:
        raise SpecError(f"optical.preset: {preset!r} is not allowed for {algorithm}; allowed: {', '.join(own)}")


def checked(frames: Iterable[GrayFrame], smallest: int, what: str) -> Iterator[GrayFrame]:
    """Yield the frames as they are asked for, none ahead.

    Args:
        frames: uint8, (height, width), all of one size.
        smallest: Smallest side in pixels that is taken.
        what: Whose limit that is, for the message: an algorithm, with the preset where that matters.

    Raises:
        ClipError: ``frame-size``: a side is below ``smallest``; ``size-change``: not all frames are of one size.
        ValueError: Not a grayscale frame, which is the caller's fault and not the clip's.
    """
    first: tuple[int, ...] | None = None
    for index, frame in enumerate(frames):
        if frame.ndim != 2 or frame.dtype != np.uint8:
            raise ValueError(f"expected frames as uint8 (height, width), found {frame.dtype} {frame.shape}")
        height, width = frame.shape
        if first is None:
            if min(height, width) < smallest:
                detail = f"{width}x{height} frames; {what} needs at least {smallest} on each side"
                raise ClipError("frame-size", detail)
            first = frame.shape
        elif frame.shape != first:
            raise ClipError("size-change", f"{first[1]}x{first[0]}, then {width}x{height} at frame {index}")
        yield frame
