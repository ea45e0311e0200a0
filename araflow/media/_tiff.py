"""The first directory of a TIFF file, in which EXIF data are written, too (TIFF 6.0, section 2)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_SHORT = 3


def is_tiff(data: bytes) -> bool:
    """Whether bytes begin as a TIFF file does."""
    return data[:4] in _ORDERS


def entries(data: bytes, *tags: int) -> Iterator[tuple[int, int, bool]]:
    """Yield tag, first value and whether that is a SHORT (else it is read as a LONG), of the entries with these tags.

    Raises:
        struct.error: The file ends within the directory.
    """
    order = _ORDERS[data[:4]]
    (start,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, start)
    for number in range(count):
        at = start + 2 + 12 * number
        tag, kind = struct.unpack_from(f"{order}HH", data, at)
        if tag in tags:
            (value,) = struct.unpack_from(f"{order}{'H' if kind == _SHORT else 'I'}", data, at + 8)
            yield tag, value, kind == _SHORT
