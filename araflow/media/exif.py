"""The orientation that a picture's EXIF data states.

EXIF 2.32, section 4.6 (an IFD as in TIFF 6.0, section 2); where it lies in a JPEG file: section 4.7.2; in PNG: chunk
eXIf of the third edition, section 11.3.3.1; in WebP: RFC 9649, section 2.7.1.5.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from araflow.media import _tiff

_ORIENTATION = 274
_MARK = b"Exif\0\0"
_PNG = b"\x89PNG\r\n\x1a\n"


def orientation(data: bytes) -> int:
    """Return a picture's EXIF orientation, 1 to 8; 1, which is upright, where there is none or it is damaged.

    Args:
        data: The bytes of a JPEG, PNG or WebP file. Others have none: OpenCV itself turns a TIFF's pictures.
    """
    try:
        for block in _blocks(data):
            found = _tag(block.removeprefix(_MARK))
            if found is not None:
                return found if 1 <= found <= 8 else 1
    except struct.error:  # it ends within its header
        pass
    return 1


def _blocks(data: bytes) -> Iterator[bytes]:
    if data.startswith(b"\xff\xd8"):
        yield from _of_jpeg(data)
    elif data.startswith(_PNG):
        at = len(_PNG)
        while at + 8 <= len(data):
            length, kind = struct.unpack_from(">I4s", data, at)
            if kind == b"eXIf":
                yield data[at + 8 : at + 8 + length]
            at += 12 + length
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        at = 12
        while at + 8 <= len(data):
            kind, length = struct.unpack_from("<4sI", data, at)
            if kind == b"EXIF":
                yield data[at + 8 : at + 8 + length]
            at += 8 + length + length % 2


def _of_jpeg(data: bytes) -> Iterator[bytes]:
    at = 2
    while data[at : at + 1] == b"\xff":
        marker, length = struct.unpack_from(">BH", data, at + 1)
        if marker == 0xDA:  # pixels follow
            return
        if marker == 0xE1 and data.startswith(_MARK, at + 4):
            yield data[at + 4 : at + 2 + length]
        at += 2 + length


def _tag(block: bytes) -> int | None:
    if not _tiff.is_tiff(block):
        return None
    return next((value for _, value, short in _tiff.entries(block, _ORIENTATION) if short), None)
