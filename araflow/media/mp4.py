"""Films out: MP4 files that browsers and phones play (H.264, 4:2:0), from RGB frames that come one at a time."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from araflow.core import written
from araflow.core.errors import OutputError, SourceError, UnavailableError
from araflow.media.video import RgbFrame

_LARGEST_DENOMINATOR = 1001
"""Of frame rates such as 30000/1001."""
_QUALITY = {"crf": "20", "preset": "veryfast"}


@contextlib.contextmanager
def film_at(path: Path, fps: float, *, threads: int = 0) -> Iterator[Callable[[RgbFrame], None]]:
    """Write a film straight to where it lies, half of it where that ends early; see ``film``.

    Args:
        path: The file; its folder is there.
        fps: Frames per second.
        threads: Of the encoder, by whose number the bytes may differ; 0: as it likes.

    Raises:
        OSError, av.FFmpegError: It cannot be written.
    """
    try:
        av.codec.Codec("libx264", "w")
    except ValueError as error:
        raise UnavailableError(f"{path}: the FFmpeg of PyAV here has no libx264: pip install av") from error
    with av.open(str(path), "w", format="mp4") as container:
        rate = Fraction(fps).limit_denominator(_LARGEST_DENOMINATOR)
        stream = container.add_stream("libx264", rate=rate, options={**_QUALITY, "threads": str(threads)})
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


def shape_of(data: bytes, where: str) -> tuple[int, int, int]:
    """Return how many frames a film has, and their height and width; all of it is decoded.

    Raises:
        SourceError: It is none, or damaged.
    """
    try:
        with av.open(io.BytesIO(data), "r", format="mp4") as container:
            frames = [(frame.height, frame.width) for frame in container.decode(video=0)]
    except (av.FFmpegError, ValueError, IndexError) as error:
        raise SourceError(f"{where}: damaged: {error}; make it again") from error
    return (len(frames), *frames[0]) if frames else (0, 0, 0)


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
        path.parent.mkdir(parents=True, exist_ok=True)
        with written.draft(path) as part, film_at(part, fps) as add:
            yield add
    except (av.FFmpegError, OSError) as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error
