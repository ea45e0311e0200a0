"""Whether a file is a video by its first bytes, whatever its name."""

from __future__ import annotations

from pathlib import Path

from araflow.core.reading import open_file

_BEGINNINGS = (
    b"\x1aE\xdf\xa3",  # EBML: Matroska, WebM
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",  # ASF: WMV
    b"\xb7\xd8\x00\x20\x37\x49\xda\x11",  # WTV
    b"\x06\x0e\x2b\x34\x02\x05\x01\x01\x0d\x01\x02\x01\x01\x02",  # MXF: a partition pack (SMPTE ST 377-1)
    b"\x00\x00\x01\xba",  # MPEG program stream
    b"\x00\x00\x01\xb3",  # MPEG video
    b"\x1f\x07\x00",  # DV
    b"FLV\x01",
    b"OggS",
    b".RMF",
    b"GIF87a",
    b"GIF89a",
    b"YUV4MPEG2 ",
    b"DKIF",  # IVF
)
_STILL_OR_SOUND = frozenset(
    b"heic heix heim heis hevc hevx mif1 msf1 avif avis crx  jp2  jpx  jpm  M4A  M4B  M4P  F4A  F4B ".split(b" ")
)
"""Brands of ISO media files (ISO/IEC 14496-12, section 4.3) that are pictures or sound."""
_FIRST_BOXES = frozenset({b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"})
"""With what QuickTime files from before ``ftyp`` begin."""


def is_video(path: Path) -> bool:
    """Whether a file begins as a container of video does.

    Raises:
        OSError: It cannot be read, or is no regular file.
    """
    with open_file(path) as file:
        head = file.read(3 * 192)
    if head[:4] == b"RIFF":
        return head[8:12] in (b"AVI ", b"AMV ")
    if head[4:8] == b"ftyp":
        return head[8:12].rstrip() not in _STILL_OR_SOUND
    if head[4:8] in _FIRST_BOXES:
        return int.from_bytes(head[:4], "big") >= 8 or head[:4] == b"\x00\x00\x00\x01"
    return head.startswith(_BEGINNINGS) or _is_transport_stream(head)


def _is_transport_stream(head: bytes) -> bool:
    """Packets of 188 bytes, or of 192 with a time before (M2TS): each begins with 0x47, and says what is in it.

    ISO/IEC 13818-1, section 2.4.3.2: the two bits of ``adaptation_field_control`` are never 00.
    """
    return any(
        all(head[at : at + 1] == b"G" and head[at + 3] & 0x30 for at in range(first, first + 3 * size, size))
        for first, size in ((0, 188), (4, 192))
        if len(head) >= first + 2 * size + 4
    )
