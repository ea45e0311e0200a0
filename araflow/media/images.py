"""Pictures of any kind, decoded: their size is read from the header first, before a decoder takes the memory for it.

PNG 1.2, section 4.1.1; ITU-T T.81 (JPEG), B.2.2; TIFF 6.0, section 2; WebP, RFC 9649; Netpbm's manual pages; the
Windows bitmap's BITMAPCOREHEADER and BITMAPINFOHEADER.
"""

from __future__ import annotations

import re
import struct

import cv2
import numpy as np
from numpy.typing import NDArray

from araflow.media import _tiff

MOST_PIXELS = 8192 * 8192
"""A frame beyond this is a damaged header or a trap, not a video's; decoding it would take gigabytes."""
_PNG = b"\x89PNG\r\n\x1a\n"
_NO_SIZE = {0x01, *range(0xD0, 0xD9)}  # JPEG's markers that stand alone: TEM, RST0 to RST7, SOI
_START_OF_FRAME = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # the others of these are DHT, JPG and DAC
_NETPBM = re.compile(rb"P[1-6](?:\s|#[^\n]*\n)+(\d{1,9})(?:\s|#[^\n]*\n)+(\d{1,9})\s")
_HEADER = 4096  # bytes of a Netpbm file among which its size must stand, comments and all


class ImageError(ValueError):
    """A file is no picture that can be used."""


class TooLargeError(ImageError):
    """A picture is too large to be a frame."""


def decode(data: bytes, flags: int) -> NDArray[np.generic]:
    """Return a picture's pixels, as OpenCV decodes them.

    Args:
        data: The bytes of a PNG, JPEG, TIFF, WebP, BMP or Netpbm file.
        flags: What ``cv2.imdecode`` is to make of it.

    Raises:
        ImageError: It is no such file, or damaged.
        TooLargeError: It has more than ``MOST_PIXELS``.
    """
    size_of(data)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:  # lesser damage gives None
        image = None
    if image is None:
        raise ImageError("not an image that OpenCV can read")
    return image


def is_cut_jpeg(data: bytes) -> bool:
    """Whether a JPEG file ends before its end mark: decoders show the rest as grey, without a word.

    Both marks cannot occur within the compressed pixels (ITU-T T.81, B.1.1.5).
    """
    return data.startswith(b"\xff\xd8") and data.find(b"\xff\xd9", data.rfind(b"\xff\xda")) < 0


def size_of(data: bytes) -> tuple[int, int]:
    """Return a picture's width and height in pixels, from its header.

    Raises:
        ImageError: It has none.
        TooLargeError: It asks for more than ``MOST_PIXELS``.
    """
    size = _size(data)
    if size is None:
        raise ImageError("not an image that OpenCV can read")
    width, height = size
    if width * height > MOST_PIXELS:
        raise TooLargeError(f"{width}x{height} pixels, more than the {MOST_PIXELS:,} that a frame may have")
    return size


def _size(data: bytes) -> tuple[int, int] | None:
    try:
        if data.startswith(_PNG):
            return struct.unpack_from(">II", data, 16) if data[12:16] == b"IHDR" else None
        if data.startswith(b"\xff\xd8"):
            return _jpeg(data)
        if _tiff.is_tiff(data):
            return _tiff_size(data)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp(data)
        if data.startswith(b"BM"):
            return _bmp(data)
    except struct.error:  # it ends within its header
        return None
    found = _NETPBM.match(data[:_HEADER])
    return (int(found[1]), int(found[2])) if found else None


def _jpeg(data: bytes) -> tuple[int, int] | None:
    at = 2
    while True:
        at = data.find(b"\xff", at)  # decoders, too, pass over what stands between
        if at < 0:
            return None
        (marker,) = struct.unpack_from("B", data, at + 1)
        if marker in _START_OF_FRAME:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        if marker in (0xD9, 0xDA):  # the end, or pixels, before any size
            return None
        if marker in (0x00, 0xFF) or marker in _NO_SIZE:
            at += 1 if marker == 0xFF else 2
        else:
            at += 2 + max(2, struct.unpack_from(">H", data, at + 2)[0])


def _tiff_size(data: bytes) -> tuple[int, int] | None:
    found = {tag: value for tag, value, _ in _tiff.entries(data, 256, 257)}  # ImageWidth, ImageLength
    return (found[256], found[257]) if len(found) == 2 else None


def _webp(data: bytes) -> tuple[int, int] | None:
    kind = data[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None


def _bmp(data: bytes) -> tuple[int, int]:
    (header,) = struct.unpack_from("<I", data, 14)
    width, height = struct.unpack_from("<HH" if header == 12 else "<ii", data, 18)
    return abs(width), abs(height)  # of a picture that begins at the top, the height is negative
