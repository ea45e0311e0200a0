"""A fast writer of lossless RGB PNG files.

Every row uses the Up filter (each byte minus the byte above it), which NumPy computes in one subtraction and which
suits video, and ISA-L compresses the result; libpng's choice of filters and zlib take about four times as long for
larger files. The format is PNG 1.2 (ISO/IEC 15948): signature, IHDR, one IDAT, IEND; any decoder reads it. The same
pixels give the same bytes, whatever the process and wherever its memory lies.
"""

from __future__ import annotations

import struct

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

SIGNATURE = b"\x89PNG\r\n\x1a\n"
"""The first bytes of every PNG file."""
UP = 2
"""Filter type of a row predicted from the row above (PNG 1.2, section 6.4)."""
_LEVEL = 1
"""ISA-L level: higher ones cost more than their one per cent in size."""
_FIRST = 8
"""Bytes that are compressed apart: ISA-L hashes four at a time, and eight are more than the three it leaves aside."""


class PngEncoder:
    """Encodes frames of one size; the filter buffer is reused from frame to frame.

    Args:
        height: Frame height in pixels.
        width: Frame width in pixels.
    """

    def __init__(self, height: int, width: int) -> None:
        # Bit depth 8, colour type 2 (RGB), deflate, adaptive filtering, no interlace.
        header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        self._prefix = b"".join((SIGNATURE, *chunk(b"IHDR", header)))
        self._suffix = b"".join(chunk(b"IEND"))
        self._shape = (height, width, 3)
        self._filtered = np.empty((height, 1 + 3 * width), np.uint8)
        self._filtered[:, 0] = UP

    def encode(self, rgb: NDArray[np.uint8]) -> bytes:
        """Return the bytes of a PNG file.

        Args:
            rgb: uint8, (height, width, 3), channels R, G, B; rows may be padded in memory.

        Raises:
            ValueError: The array has another shape or dtype.
        """
        if rgb.shape != self._shape or rgb.dtype != np.uint8:
            raise ValueError(f"expected uint8 {self._shape}, found {rgb.dtype} {rgb.shape}")
        rows = rgb.reshape(self._shape[0], -1)
        self._filtered[0, 1:] = rows[0]
        np.subtract(rows[1:], rows[:-1], out=self._filtered[1:, 1:])
        # One copy of the data, not four.
        return b"".join((self._prefix, *chunk(b"IDAT", *deflate(self._filtered)), self._suffix))


def deflate(rows: NDArray[np.uint8]) -> tuple[bytes, ...]:
    """Return a zlib stream of filtered rows, in parts: always the same bytes for the same rows.

    ``isal_zlib.compress`` does not: at levels 1 and 2, the assembly of ISA-L 2.32 (``igzip_icf_body_h1_gr_bt.asm``,
    ``.write_first_byte``) notes the third byte's position under a hash of the address of its own state instead of a
    hash of the data, since the register that it hashes was never loaded. Where that happens to be the hash of the first
    bytes, they are not found when they return, as in frames with black borders; so one process in some thousands
    compressed them to other bytes, all its life. The path is taken for the first byte without a history in a long
    input. Eight bytes are compressed by other code, which is right, and once flushed they are a history.
    """
    data = rows.data.cast("B")
    stream = isal_zlib.compressobj(_LEVEL)
    first = stream.compress(data[:_FIRST]), stream.flush(isal_zlib.Z_SYNC_FLUSH)
    return (*first, stream.compress(data[_FIRST:]), stream.flush())


def chunk(kind: bytes, *parts: bytes) -> tuple[bytes, ...]:
    """Return a chunk's length, type, data and check sum (zlib's CRC-32, which ISA-L computes three times as fast).

    Args:
        kind: Four letters, such as ``IDAT``.
        parts: What the chunk holds, one after the other.
    """
    check = isal_zlib.crc32(kind)
    for part in parts:
        check = isal_zlib.crc32(part, check)
    return struct.pack(">I", sum(map(len, parts))), kind, *parts, struct.pack(">I", check)
