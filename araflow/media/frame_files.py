"""Frames scaled, as PNG or JPEG, and as whoever reads their files sees them.

Frames are scaled by the mean over the area (``cv2.INTER_AREA``), which leaves no false patterns as interpolation
between neighbours does, and never enlarged: that would add bytes and show nothing more. The other side is rounded to
the nearest whole number, odd or even. JPEG is libjpeg-turbo's as OpenCV has it, 4:2:0: colour at half of the
resolution, as nearly every data set of frames has it.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from araflow.media import steady, video
from araflow.media.frame_form import AS_DECODED, FrameForm
from araflow.media.png import PngEncoder
from araflow.media.png_reader import read_png

_Frame = NDArray[np.uint8]


def scaled(rgb: _Frame, form: FrameForm) -> _Frame:
    """Return a frame in the size that it is kept in.

    Args:
        rgb: uint8, (height, width, 3), R, G, B.
        form: In what form it is kept.

    Returns:
        The same kind; the frame itself where nothing is to be done.
    """
    size = form.size(rgb.shape[1], rgb.shape[0])
    if size == (rgb.shape[1], rgb.shape[0]):
        return rgb
    return cast(_Frame, cv2.resize(rgb, size, interpolation=cv2.INTER_AREA))


def encoder(form: FrameForm, width: int, height: int) -> Callable[[_Frame], bytes]:
    """Return what makes the file of a scaled frame.

    Args:
        form: In what form frames are kept.
        width: Of all the frames once they are scaled, in pixels.
        height: Likewise.
    """
    if form.format == "png":
        return PngEncoder(height, width).encode
    quality = form.jpeg_quality or 95
    return lambda rgb: _jpeg(rgb, quality)


def seen(rgb: _Frame, form: FrameForm) -> _Frame:
    """Return a decoded frame as it would come back from its file; see ``scaled``."""
    small = scaled(rgb, form)
    return small if form.format == "png" else read_png(_jpeg(small, form.jpeg_quality or 95))


def read(source: Path, form: FrameForm, *, upright: bool = True) -> tuple[video.VideoInfo, video.Frames]:
    """Open a video, or a folder of frames, as if its frames had been kept in a form and read back; see ``video.read``.

    Returns:
        What the header says, with ``fps`` that of the frames, and the frames.
    """
    return kept(*video.read(source, upright=upright), form)


def kept(info: video.VideoInfo, frames: video.Frames, form: FrameForm) -> tuple[video.VideoInfo, video.Frames]:
    """Return frames, and what is known of them, as if they had been kept in a form and read back; see ``read``."""
    if form.fps is not None and info.fps is not None:
        frames = steady.steady(frames, info, form.fps)
        info = dataclasses.replace(info, fps=form.fps)
    return info, frames if form == AS_DECODED else _seen(frames, form)


def _seen(frames: video.Frames, form: FrameForm) -> video.Frames:
    with contextlib.closing(frames):
        for rgb in frames:
            yield seen(rgb, form)


def _jpeg(rgb: _Frame, quality: int) -> bytes:
    settings = (
        *(cv2.IMWRITE_JPEG_QUALITY, quality),
        *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420),
    )
    return cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), settings)[1].tobytes()
