"""Cameras and streams: frames as they come, for as long as they come."""

from __future__ import annotations

import contextlib
import logging
import re
import time
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np

from araflow.core.addresses import masked
from araflow.core.errors import ClipError, SourceError
from araflow.media import video
from araflow.media.video import Frames, VideoInfo

log = logging.getLogger(__name__)
SCHEMES = ("http", "https", "rtsp", "rtsps", "rtmp", "rtmps", "rtp", "udp", "srt")
"""Beginnings of addresses that are opened as streams."""
_CAMERA = re.compile(r"\d{1,3}|/dev/video\d{1,3}")
_SECONDS = 20.0
"""A stream that is silent for longer has ended."""
_OPEN = {
    # Without "file": a playlist from elsewhere must not make FFmpeg open files of this machine.
    "protocol_whitelist": "http,https,httpproxy,tls,tcp,udp,rtp,rtsp,rtmp,rtmps,srt,crypto,hls",
    "analyzeduration": "1000000",  # microseconds; FFmpeg's default makes the first answer wait for five seconds
}


def is_live(source: str) -> bool:
    """Whether a text names a camera (``0``, ``/dev/video0``) or the address of a stream, and no file."""
    if _CAMERA.fullmatch(source):
        return not Path(source).is_file()
    return source.partition("://")[0].lower() in SCHEMES and "://" in source


def read(source: str) -> tuple[VideoInfo, Frames]:
    """Open a camera or a stream.

    Args:
        source: What ``is_live`` takes.

    Returns:
        What is said of it, and its frames, in the order in which they come, none left out by us. A stream that breaks
        off, or is silent for 20 seconds, ends with a warning.

    Raises:
        SourceError: It cannot be opened; the message names no password.
    """
    return _camera(source) if _CAMERA.fullmatch(source) else _stream(source)


def _camera(source: str) -> tuple[VideoInfo, Frames]:
    with _silent():
        camera = cv2.VideoCapture(int(source) if source.isdigit() else source)
    if not camera.isOpened():
        raise SourceError(f"camera {source}: cannot be opened; is one there, may it be read, and is it free?")
    width, height = (int(camera.get(what)) for what in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
    fps = float(camera.get(cv2.CAP_PROP_FPS))
    info = VideoInfo(width, height, fps if 0 < fps < 1000 else None, None)

    def frames() -> Frames:
        count = 0
        try:
            while True:
                there, frame = camera.read()
                if not there:
                    log.warning("camera %s: gives no more pictures, after %d", source, count)
                    return
                info.time = time.monotonic()
                rgb = np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), np.uint8)
                yield info.hold(rgb, at=count)
                count += 1
        finally:
            camera.release()

    return info, frames()


def _stream(address: str) -> tuple[VideoInfo, Frames]:
    options = {**_OPEN, **({"rtsp_transport": "tcp"} if address.lower().startswith("rtsp") else {})}
    try:
        container = av.open(address, options=options, timeout=_SECONDS, **video.TEXT)
    except (av.FFmpegError, ValueError) as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        raise SourceError(f"{masked(address)}: cannot be opened as a stream: {why}") from error
    try:
        info, decoded = video.of_container(container)
    except ClipError as error:
        container.close()
        raise SourceError(f"{masked(address)}: {error}") from error

    def frames() -> Frames:
        with contextlib.closing(decoded):
            try:
                yield from decoded
            except ClipError as error:
                log.warning("%s: the stream ends here: %s", masked(address), error)

    return info, frames()


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """OpenCV writes to standard error of each way to open a camera that it tries in vain."""
    levels = getattr(cv2.utils, "logging", cv2)  # OpenCV 4.12 and older have them at the top
    level = levels.getLogLevel()
    levels.setLogLevel(0)
    try:
        yield
    finally:
        levels.setLogLevel(level)
