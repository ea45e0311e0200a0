"""Films out: MP4 files that browsers and phones play (H.264, 4:2:0), from RGB frames that come one at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from araflow.core import written
from araflow.core.errors import OutputError, UnavailableError
from araflow.media.video import RgbFrame

_LARGEST_DENOMINATOR = 1001
"""Of frame rates such as 30000/1001."""
_QUALITY = {"crf": "20", "preset": "veryfast"}


@contextlib.contextmanager
def film(path: Path, fps: float) -> Iterator[Callable[[RgbFrame], None]]:
    """Write a film, whole or not at all; without sound.

    Args:
        path: The file.
        fps: Frames per second.

    Yields:
        A function that takes the next frame, uint8 (height, width, 3), all of one size; a side of an odd number of
        pixels is made even by repeating its last line, as 4:2:0 wants it.

    Raises:
        OutputError: It cannot be written, or there was no frame.
        UnavailableError: FFmpeg was built without the encoder.
    """
    written.check([path])
    try:
        av.codec.Codec("libx264", "w")
    except ValueError as error:
        raise UnavailableError(f"{path}: the FFmpeg of PyAV here has no libx264: pip install av") from error
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with written.draft(path) as part, av.open(str(part), "w", format="mp4") as container:
            stream = container.add_stream(
                "libx264", rate=Fraction(fps).limit_denominator(_LARGEST_DENOMINATOR), options=_QUALITY
            )
            stream.pix_fmt = "yuv420p"
            count = 0

            def add(frame: RgbFrame) -> None:
                nonlocal count
                height, width = frame.shape[:2]
                even = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
                if not count:
                    stream.width, stream.height = even.shape[1], even.shape[0]
                container.mux(stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))
                count += 1

            yield add
            if not count:
                raise OutputError(f"{path}: there is no frame to write")
            container.mux(stream.encode())
    except (av.FFmpegError, OSError) as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error
