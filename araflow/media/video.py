"""Decode videos, and folders of frames, to RGB frames; one at a time, in order, from the start.

Frames come in the decoder's output order, which is display order. Nothing is sorted by timestamp or seeked: HMDB51's
timestamps are not monotonic, and its headers count one frame more than there is. Pixels are those that ``ffmpeg -i``
gives: upright, by display matrix or EXIF orientation; sample aspect, interlacing and HDR curves are not applied.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import av
import av.logging
import cv2
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from araflow.core.errors import ClipError
from araflow.core.reading import NotAFileError, open_file, read_file
from araflow.media import _streams, _watched, containers, exif, images, numbering
from araflow.media._rgb import ToRgb
from araflow.media.orientation import UPRIGHT, Orientation, of_exif, of_frame
from araflow.media.source_files import frame_files

RgbFrame = NDArray[np.uint8]
"""uint8, (height, width, 3), channels R, G, B."""
Frames = Generator[RgbFrame, None, None]
"""Frames in display order. Close it to close the file; a frame is valid until the next one is asked for."""

_OPEN = {
    # FFmpeg goes by content: a text file that is a playlist would make it open other files, or addresses.
    "format_whitelist": "avi,mov,mp4,matroska,webm,mpeg,mpegvideo,mpegts,asf,flv,ogg,m4v,h264,hevc,ivf,nut,dv,gif,"
    "mxf,rm,wtv,yuv4mpegpipe,mjpeg",
    "protocol_whitelist": "file",
}
TEXT: dict[str, Any] = {} if int(av.__version__.partition(".")[0]) >= 19 else {"metadata_errors": "replace"}
"""For ``av.open``: some HMDB51 files carry metadata that is not UTF-8, at which PyAV before 19 gives up unless told not
to; later ones know no such argument."""


@dataclasses.dataclass(slots=True)
class VideoInfo:
    """What is known of a clip's frames.

    Attributes:
        width: Pixels, of the frames as they come.
        height: Pixels.
        fps: Frames per second as the container states it, or ``None``.
        header_frames: Frame count as the container states it, or ``None``.
        complaints: Errors that the decoder reported and went on from, repetitions left out; grows while decoding.
        faults: What the file lacks, or seems to: known when it was decoded to its end.
        notes: What else there is to say of the file, such as what is not applied; grows while decoding.
        time: When the frame that came last is to be shown, in seconds, as the container says; ``None`` if it does not.
        decoded: How many frames were decoded, where others are made of them (``steady``).
        applied: What made the coded frames upright, from the first frame on; ``None`` before, and where the file asks
            for something that was to be ignored.
    """

    width: int
    height: int
    fps: float | None
    header_frames: int | None
    complaints: list[str] = dataclasses.field(default_factory=list)
    faults: list[str] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
    time: float | None = None
    decoded: int | None = None
    applied: Orientation | None = None

    def note(self, text: str) -> None:
        """Add a note, once."""
        if text not in self.notes:
            self.notes.append(text)

    def decide(self, asked: Orientation, *, upright: bool, at: int) -> Orientation:
        """Return how a coded frame is turned, and note what is not done.

        Args:
            asked: What the file asks for.
            upright: Do as it asks.
            at: The frame's number.
        """
        if asked.other:
            self.note(f"rotation by {asked.other:.1f} degrees, not applied")
        if asked and not upright:
            self.note(f"{asked}, not applied")
        if not at:
            self.applied = asked if upright or not asked else None
        return asked if upright else UPRIGHT

    def hold(self, frame: RgbFrame, *, at: int, name: str = "") -> RgbFrame:
        """Return a frame that is as large as the first one, whose size is taken over.

        Args:
            frame: As it is to be seen.
            at: Its number.
            name: Its file's.

        Raises:
            ClipError: It is not.
        """
        height, width = frame.shape[:2]
        if not at:
            self.width, self.height = width, height
        elif (width, height) != (self.width, self.height):
            where = f"frame {at} ({name})" if name else f"frame {at}"
            raise ClipError("size-change", f"{self.width}x{self.height} becomes {width}x{height} at {where}")
        return frame


def read(source: Path, *, upright: bool = True) -> tuple[VideoInfo, Frames]:
    """Open a video file or a folder of frames.

    Args:
        source: A video file, or a folder of image files, which are taken in natural order of their names.
        upright: Rotate and mirror frames as the file asks for; else they come as they are coded.

    Returns:
        What the header says, and the frames.

    Raises:
        ClipError: It cannot be used; while iterating too. Codes: ``not-a-file``, ``empty``, ``not-a-video``,
            ``truncated``, ``decode-error``, ``size-change``, ``frame-size``, ``no-frames``.
        OSError: The file cannot be read.
    """
    return _read_images(source, upright) if source.is_dir() else _read_video(source, upright)


def orientation(source: Path) -> Orientation:
    """Return what a source asks for, by its first frame; nothing where that cannot be told.

    An AVI file is not opened: it has no place for a display matrix.
    """
    try:
        if not source.is_dir():
            with open_file(source) as file:
                if file.read(12)[8:] == b"AVI ":
                    return UPRIGHT
        info, frames = read(source)
        with contextlib.closing(frames):
            next(frames, None)
    except (ClipError, OSError):
        return UPRIGHT
    return info.applied or UPRIGHT


def _read_video(path: Path, upright: bool) -> tuple[VideoInfo, Frames]:
    try:
        with open_file(path) as file:
            size = os.fstat(file.fileno()).st_size
    except NotAFileError as error:
        raise ClipError("not-a-file", f"it is {error.strerror}") from error
    if size == 0:
        raise ClipError("empty", "the file has no bytes")
    ending = containers.ending(path)
    if ending.sure:
        raise ClipError("truncated", ending.lacking)
    try:
        container = av.open(str(path), options=_OPEN, **TEXT)
    except (av.FFmpegError, ValueError) as error:
        raise ClipError("not-a-video", _message(error)) from error
    with contextlib.ExitStack() as closing:
        closing.callback(container.close)
        stream, info = _open_stream(container)
        closing.pop_all()
    if ending.lacking:
        info.faults.append(ending.lacking)
    return info, _decode(container, stream, info, upright)


def of_container(container: InputContainer, *, upright: bool = True) -> tuple[VideoInfo, Frames]:
    """Return what an open container says of itself, and its frames; see ``read``. Closing these closes it."""
    stream, info = _open_stream(container)
    return info, _decode(container, stream, info, upright)


def _open_stream(container: InputContainer) -> tuple[VideoStream, VideoInfo]:
    stream, choice = _streams.choose(container)
    try:
        # Frame threads cost CPU time and win nothing at these sizes; the pool uses the cores.
        stream.thread_type = "NONE"
        stream.codec_context.thread_count = 1
        width, height = stream.codec_context.width, stream.codec_context.height
        rate = stream.average_rate or stream.guessed_rate
        notes = choice + _streams.notes(stream)
    except (av.FFmpegError, ValueError, AttributeError) as error:  # a stream without a known codec has no context
        raise ClipError("not-a-video", f"no decoder for its video stream: {_message(error)}") from error
    if width * height > images.MOST_PIXELS:
        raise ClipError("frame-size", f"{width}x{height} is no video frame")
    fps = float(rate) if rate and rate > 0 else None  # a damaged header may have numbers below zero
    return stream, VideoInfo(width, height, fps, _streams.stated_frames(stream), notes=notes)


def _decode(container: InputContainer, stream: VideoStream, info: VideoInfo, upright: bool) -> Frames:
    to_rgb, asked = ToRgb(), UPRIGHT
    count = 0
    with container:
        decoded = _watched.frames(container, stream, info.faults)
        while True:
            try:
                with _noting_complaints(info):
                    frame = next(decoded, None)
            except (av.FFmpegError, ValueError, MemoryError) as error:
                raise ClipError("decode-error", f"after {count} frames: {_message(error)}") from error
            if frame is None:
                return
            if frame.width * frame.height > images.MOST_PIXELS:
                raise ClipError("frame-size", f"{frame.width}x{frame.height} is no video frame")
            if frame.interlaced_frame:
                info.note("interlaced, not deinterlaced")
            asked = of_frame(frame, asked)
            try:
                rgb = to_rgb(frame, info.decide(asked, upright=upright, at=count))
            except (av.FFmpegError, ValueError, MemoryError) as error:
                raise ClipError("decode-error", f"frame {count} to RGB: {_message(error)}") from error
            info.time = frame.time
            yield info.hold(rgb, at=count)
            count += 1


@contextlib.contextmanager
def _noting_complaints(info: VideoInfo) -> Iterator[None]:
    """Add the errors that FFmpeg logs meanwhile to ``info.complaints``.

    PyAV's log settings are the whole process's, so they are set for one step of the decoder only.
    """
    level, skip = av.logging.get_level(), av.logging.get_skip_repeated()
    av.logging.set_level(av.logging.ERROR)
    av.logging.set_skip_repeated(False)  # it would make what is noted here depend on the clip before
    try:
        with av.logging.Capture() as log:
            yield
    finally:
        av.logging.set_skip_repeated(skip)
        av.logging.set_level(level)
        for message in (text.strip() for _, _, text in log):
            if info.complaints[-1:] != [message]:  # one damaged frame may bring the same line a hundred times
                info.complaints.append(message)


def _read_images(folder: Path, upright: bool) -> tuple[VideoInfo, Frames]:
    files = frame_files(folder)
    if not files:
        raise ClipError("no-frames", "the folder holds no image files")
    info = VideoInfo(0, 0, None, len(files))
    if text := numbering.remark([path.name for path in files]):
        info.note(text)

    def seen(number: int) -> RgbFrame:
        coded, asked = _read_image(files[number])
        frame = info.decide(asked, upright=upright, at=number).upright(coded)
        return info.hold(frame, at=number, name=files[number].name)

    first = seen(0)

    def frames() -> Frames:
        yield first
        yield from map(seen, range(1, len(files)))

    return info, frames()


def _read_image(path: Path) -> tuple[RgbFrame, Orientation]:
    try:
        data = read_file(path)
        image = images.decode(data, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    except NotAFileError as error:
        raise ClipError("not-a-file", f"{path.name} is {error.strerror}") from error
    except images.TooLargeError as error:
        raise ClipError("frame-size", f"{path.name} has {error}") from error
    except images.ImageError as error:
        raise ClipError("decode-error", f"{path.name} is {error}") from error
    return image.astype(np.uint8, copy=False), of_exif(exif.orientation(data))


def _message(error: Exception) -> str:
    """The error's text without the path, which differs from machine to machine."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
