"""A clip's files, read back: frames by our own PNG reader, those that are JPEG and flow's u and v by OpenCV.

A file belongs to a frame by its place in the sorted folder, not by its name; hence the folder must hold just as many
files as the manifest says.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from araflow.core.errors import SourceError
from araflow.core.reading import read_file
from araflow.media import images
from araflow.media.png_reader import read_png
from araflow.recognition.data.clips import VideoClip
from araflow.recognition.streams import Stream

_LISTINGS = 4096
"""Folder listings that a process remembers."""


def read_frames(
    clip: VideoClip, stream: Stream, indices: Sequence[int] | NDArray[np.int64]
) -> Iterator[NDArray[np.uint8]]:
    """Yield a window's pictures one by one, so that each is still in the processor's cache when it is used.

    Args:
        clip: The clip.
        stream: ``rgb`` or ``flow``.
        indices: 0-based, below ``clip.frames`` or ``clip.flows``.

    Yields:
        uint8 (height, width, channels): R, G, B or u, v, as stored.

    Raises:
        SourceError: A file is absent or damaged, or the folder does not hold what the manifest says; names the clip.
    """
    if stream == "rgb":
        names = _names(clip, "rgb", clip.frames)
        for index in indices:
            file = f"{clip.folder}/rgb/{names[index]}"
            try:
                yield read_png(file)
            except SourceError as error:
                raise _unusable(clip, str(error)) from error
        return
    names = _names(clip, "u", clip.flows)
    if names != _names(clip, "v", clip.flows):
        raise _unusable(clip, f"{clip.folder}: u and v do not hold the same names")
    for index in indices:
        u, v = (_grey(clip, f"{clip.folder}/{kind}/{names[index]}") for kind in ("u", "v"))
        if u.shape != v.shape:
            raise _unusable(clip, f"{clip.folder}: u and v of {names[index]} differ in size")
        yield np.asarray(cv2.merge([u, v]), np.uint8)


def load_window(clip: VideoClip, stream: Stream, indices: Sequence[int] | NDArray[np.int64]) -> NDArray[np.uint8]:
    """Read a window's pictures into one array.

    Args:
        clip: The clip.
        stream: ``rgb`` or ``flow``.
        indices: 0-based, below ``clip.frames`` or ``clip.flows``.

    Returns:
        uint8 (frames, height, width, channels): R, G, B or u, v, as stored.

    Raises:
        SourceError: As ``read_frames``; or the pictures have several sizes.
    """
    pictures = list(read_frames(clip, stream, indices))
    sizes = {picture.shape for picture in pictures}
    if len(sizes) != 1:
        shown = ", ".join(sorted(f"{width}x{height}" for height, width, _ in sizes)) or "no picture was asked for"
        raise _unusable(clip, f"{clip.folder}: the {stream} pictures are not of one size: {shown}")
    return np.stack(pictures)


def _names(clip: VideoClip, kind: str, count: int) -> tuple[str, ...]:
    """Return the sorted names of the files in one of the clip's folders."""
    folder = f"{clip.folder}/{kind}"
    try:
        names = _listing(folder, count)
    except OSError as error:
        raise _unusable(clip, f"{folder}: {error.strerror}") from error
    if len(names) != count:
        raise _unusable(clip, f"{folder}: holds {len(names)} files, the manifest says {count}")
    return names


@functools.lru_cache(_LISTINGS)
def _listing(folder: str, count: int) -> tuple[str, ...]:
    """List a folder; ``count`` is there so that a clip that was made anew with another count is listed anew."""
    return tuple(sorted(entry.name for entry in os.scandir(folder)))


def _grey(clip: VideoClip, file: str) -> NDArray[np.uint8]:
    """Read one 8-bit image of a single channel."""
    try:
        data = read_file(file)
    except OSError as error:
        raise _unusable(clip, f"{file}: cannot be read: {error.strerror}") from error
    if images.is_cut_jpeg(data):
        raise _unusable(clip, f"{file}: the file is cut")
    try:
        return np.asarray(images.decode(data, cv2.IMREAD_GRAYSCALE), np.uint8)
    except images.ImageError as error:
        raise _unusable(clip, f"{file}: {error}") from error


def _unusable(clip: VideoClip, reason: str) -> SourceError:
    if clip.row.get("dataset") == "tao":  # the user's own folders: nothing here can make them anew
        return SourceError(f"clip {clip.key!r}: {reason}. Repair {clip.folder}, or take it out")
    return SourceError(f"clip {clip.key!r}: {reason}. Remove {clip.folder} and run the build again to make it anew")
