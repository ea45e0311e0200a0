"""Containers that state how long their parts are: RIFF (AVI), ISO media (MP4, MOV), Matroska, ASF, RealMedia, MXF."""

from __future__ import annotations

import re

from araflow.media._ending import UNKNOWN, Bytes, Ending

FIRST_BOXES = frozenset({b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide", b"pnot", b"sidx"})
"""What a file of ISO media begins with; those of early QuickTime have no ``ftyp``."""
_BOXES = FIRST_BOXES | {b"uuid", b"meta", b"mfra", b"ssix", b"prft", b"emsg", b"pdin", b"udta"}
_NO_LENGTH = (0, 0xFFFFFFFF)
"""What an AVI says that was written to a pipe."""
_CHUNK = re.compile(rb"[0-9A-Za-z_ ]{4}")
_A_FEW = 16
"""Bytes by which an AVI may overstate a length: some writers count the header of a chunk twice."""
_KEY = b"\x06\x0e\x2b\x34"
_SEGMENT, _CLUSTER = 0x18538067, 0x1F43B675
_ELEMENTS = {_SEGMENT, _CLUSTER, 0x1A45DFA3, 0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, 0x1941A469, 0x1043A770}
_ELEMENTS |= {0x1254C367, 0xEC, 0xBF, 0xE7, 0xA3, 0xA0, 0xA7, 0xAB, 0xAF, 0x5854}
"""What lies in a file, a segment and a cluster of Matroska."""
_ASF_PARTS = tuple(
    bytes.fromhex(name)
    for name in (
        "3026b2758e66cf11a6d900aa0062ce6c",  # header
        "3626b2758e66cf11a6d900aa0062ce6c",  # data
        "90080033b1e5cf1189f400a0c90349cb",  # indexes
        "d329e2d6da35d111903400a0c90349be",
        "f803b1fead12644c840f2a1d2f7ad48c",
        "d03fb73c4a0c0348953dedf7b6228f0c",
    )
)


def riff(data: Bytes) -> Ending:
    """AVI: chunks of a name, a length and content (AVI RIFF File Reference; OpenDML 1.02, which has several RIFFs).

    A RIFF that is said to be longer than the file is whole all the same if its frames are, and what comes after them.
    """
    place = 0
    while data.at(place, 4) == b"RIFF":
        length = data.number(place + 4, 4, little=True)
        if length is None or data.size < place + 12:
            return data.short_of(place + 12) if place else UNKNOWN  # too little to be one
        end = place + 8 + length
        if length in _NO_LENGTH or end > data.size:
            return _chunks(data, place + 12, 0 if length in _NO_LENGTH else end)
        place = end + length % 2
    return UNKNOWN


def _chunks(data: Bytes, place: int, declared: int) -> Ending:
    """Walk through a RIFF that is longer than the file, or of unknown length; where a list is, through its frames."""
    frames, beyond = False, 0
    while place < data.size:
        if not _CHUNK.match(data.at(place, 4)) and _CHUNK.match(data.at(place - 1, 4)):
            place -= 1  # not every writer fills up a chunk of an odd length
        head = data.at(place, 12)
        if len(head) < 8 or not _CHUNK.match(head):
            break
        length = int.from_bytes(head[4:8], "little")
        if head[:4] == b"LIST" and head[8:] in (b"movi", b"rec "):
            frames = True
            if length in _NO_LENGTH or place + 8 + length > data.size:
                beyond = max(beyond, 0 if length in _NO_LENGTH else place + 8 + length - data.size)
                place += 12
                continue
        if place + 8 + length > data.size:
            return data.short_of(max(place + 8 + length, declared))
        place += 8 + length + length % 2
    if frames and place >= data.size and beyond <= _A_FEW:
        return UNKNOWN
    return data.short_of(max(declared, data.size + beyond))


def iso(data: Bytes) -> Ending:
    """MP4, MOV, 3GP: boxes of a length and a name (ISO/IEC 14496-12, section 4.2). Length 0: to the end of the file."""
    place, seen = 0, set[bytes]()
    while place < data.size:
        head = data.at(place, 16)
        kind, length = head[4:8], int.from_bytes(head[:4], "big")
        playable = b"moov" in seen and seen & {b"moof", b"mdat"}
        if playable and kind not in _BOXES and (len(kind) == 4 or b"moof" not in seen):
            return UNKNOWN  # something that was put after the end
        if len(head) < 8:
            return data.short_of(place + 8)
        if length == 1 and len(head) == 16:
            length = int.from_bytes(head[8:], "big")
        if 0 < length < 8:  # damage, which the decoder will name
            return UNKNOWN
        seen.add(kind)
        place = place + length if length else data.size
    if place <= data.size and b"mdat" in seen and not seen & {b"moov", b"moof"}:
        return Ending("its table of frames (moov), which comes last, is not there", sure=True)
    return data.short_of(place)


def ebml(data: Bytes) -> Ending:
    """Matroska and WebM: elements of a name, a length and content (RFC 8794, RFC 9559).

    Of a live recording, segment and clusters have no length, and their content is looked at.
    """
    place = 0
    while place < data.size:
        head = data.at(place, 12)
        wide = 9 - head[0].bit_length()  # leading zero bits tell how many bytes a number has
        if len(head) <= wide <= 4:
            return data.short_of(place + wide + 1)
        name = int.from_bytes(head[:wide], "big")
        if name not in _ELEMENTS:
            return UNKNOWN  # damage, or something that was put after the end
        wide_length = 9 - head[wide].bit_length()
        if wide_length > 8:
            return UNKNOWN
        if len(head) < wide + wide_length:
            return data.short_of(place + wide + wide_length)
        unknown = (1 << 7 * wide_length) - 1
        length = int.from_bytes(head[wide : wide + wide_length], "big") & unknown
        place += wide + wide_length
        if length != unknown:
            place += length
            if name == _SEGMENT:
                break
        elif name not in (_SEGMENT, _CLUSTER):
            return UNKNOWN
    return data.short_of(place)


def asf(data: Bytes) -> Ending:
    """ASF, WMV: objects of a name (16 bytes), a length and content (Advanced Systems Format Specification, 2.1)."""
    place = 0
    while place < data.size:
        if not any(name.startswith(data.at(place, 16)) for name in _ASF_PARTS):
            return UNKNOWN  # something that was put after the end
        length = data.number(place + 16, 8, little=True)
        if length is None:
            return data.short_of(place + 24)
        if length < 24:  # a broadcast's data have no length
            return UNKNOWN
        place += length
    return data.short_of(place)


def real_media(data: Bytes) -> Ending:
    """RealMedia: chunks of a name, a length that counts both, and content."""
    place = 0
    while place < data.size:
        head = data.at(place, 8)
        length = int.from_bytes(head[4:], "big")
        if len(head) == 8 and (length < 8 or not re.match(rb"\.RMF|[A-Z]{4}", head)):
            return UNKNOWN
        place += length if len(head) == 8 else 8
    return data.short_of(place) if place - data.size > _A_FEW else UNKNOWN  # FFmpeg itself overstates it by 10


def mxf(data: Bytes) -> Ending:
    """MXF: the first partition says where the last one begins, if that was known (SMPTE ST 377-1, section 7.1)."""
    wide, _ = _ber(data, 16)
    place = data.number(16 + wide + 24, 8)
    if place == 0:
        return UNKNOWN
    while place is not None and place < data.size:
        if not data.at(place, 4).startswith(_KEY[: data.size - place]):
            return UNKNOWN  # something that was put after the end
        wide, length = _ber(data, place + 16)
        place = place + 16 + wide + length if wide else None
    return data.short_of(data.size + 1 if place is None else place)


def _ber(data: Bytes, place: int) -> tuple[int, int]:
    """Return how many bytes a length takes, 0 where the file ends before, and the length."""
    first = data.number(place, 1)
    if first is None:
        return 0, 0
    if first < 0x80:
        return 1, first
    length = data.number(place + 1, first & 0x7F)
    return (0, 0) if length is None else (1 + (first & 0x7F), length)
