"""Containers made of packets, of which none states the length of the whole: the last one is looked at."""

from __future__ import annotations

import struct

from araflow.media._ending import UNKNOWN, Bytes, Ending

_TAIL = 1 << 17
"""Bytes at the end that hold a whole packet of Ogg or of an MPEG program stream, which have 64 KiB at most."""
_PACK, _END = b"\0\0\x01\xba", b"\0\0\x01\xb9"
_TS_PACKETS = ((188, 0), (192, 4), (204, 0))
"""Bytes of a packet, and those before its first one: plain, with a time before it (M2TS), with a checksum after it."""


def transport_stream(data: Bytes) -> Ending:
    """MPEG-TS: packets of equal size that begin with 0x47 (ISO/IEC 13818-1, section 2.4.3.2)."""
    head = data.at(0, 6 * 204)
    for size, lead in _TS_PACKETS:
        for sync in range(size):
            if head[sync : sync + 5 * size : size] == b"G" * 5:
                rest = (data.size - sync + lead) % size
                last = data.size - rest + lead
                # What is no packet was put after the end.
                if rest and data.at(last, 1) == data.at(last - size, 1) == b"G":
                    return Ending(f"its last packet has {rest} of {size} bytes", sure=True)
                return UNKNOWN
    return UNKNOWN


def program_stream(data: Bytes) -> Ending:
    """MPEG-PS: packs of packets, each with its length (ISO/IEC 13818-1, section 2.5.3); an end code is optional."""
    start = max(0, data.size - _TAIL)
    tail = data.at(start, _TAIL)
    place = tail.rfind(_PACK)
    if place < 0:
        return UNKNOWN
    place += (14 + (tail[place + 13] & 7) if tail[place + 4] >> 6 == 1 else 12) if len(tail) > place + 13 else 14
    while place < len(tail):
        code = tail[place : place + 4]
        if code == _END or not _END.startswith(code[:3]):  # something that was put after the end
            return UNKNOWN
        if len(tail) < place + 6:
            return data.short_of(start + place + 6)
        place += 6 + int.from_bytes(tail[place + 4 : place + 6], "big")
    return data.short_of(start + place)


def ogg(data: Bytes) -> Ending:
    """Ogg: pages, each with the lengths of its segments; the last one of a stream is marked (RFC 3533, section 6)."""
    start = max(0, data.size - _TAIL)
    tail = data.at(start, _TAIL)
    place = tail.rfind(b"OggS")
    if place < 0:
        return UNKNOWN
    end = place + 27
    if len(tail) >= end:
        end += tail[place + 26] + sum(tail[end : end + tail[place + 26]])
    if end > len(tail):
        return data.short_of(start + end)
    return UNKNOWN if tail[place + 5] & 4 else Ending("its last page is not marked as the end of the stream")


def flv(data: Bytes) -> Ending:
    """FLV: tags of 11 bytes and content, each with its length before and after it (FLV File Format 10.1, annex E).

    ``filesize`` in its metadata goes stale where a tool rewrites the file.
    """
    start = data.number(5, 4) or 0
    before = data.number(data.size - 4, 4) or 0
    if before < 11 or data.number(data.size - 4 - before + 1, 3) != before - 11:
        place = start + 4
        while place < data.size:  # the last tag is not whole, or the number after it is not there
            if data.at(place, 1) not in (b"\x08", b"\x09", b"\x12"):
                return UNKNOWN  # something that was put after the end
            length = data.number(place + 1, 3)
            if length is None or place + 11 + length > data.size:
                return data.short_of(place + 11 + (length or 0))
            place += 11 + length + 4
    tag = data.at(start + 4, 1 << 16)
    place = tag.find(b"\0\x08filesize\0")
    if tag[:1] == b"\x12" and 0 <= place <= len(tag) - 19:
        (declared,) = struct.unpack(">d", tag[place + 11 : place + 19])
        if data.size < declared < 2**53:
            return Ending(data.short_of(int(declared)).lacking)
    return UNKNOWN


def gif(data: Bytes) -> Ending:
    """GIF: blocks, and a last byte 0x3B (GIF89a, section 27)."""
    if data.at(data.size - 2, 2) == b"\0\x3b":
        return UNKNOWN
    head = data.at(0, 13)
    place = 13 + (3 << (head[10] & 7) + 1 if len(head) == 13 and head[10] & 0x80 else 0)
    while place < data.size:
        kind = data.at(place, 1)
        if kind == b"\x3b":
            return UNKNOWN  # and something was put after it
        if kind == b"\x2c":
            flags = data.number(place + 9, 1) or 0
            place += 11 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
        elif kind == b"\x21":
            place += 2
        else:
            return UNKNOWN  # damage, which the decoder will name
        while length := data.number(place, 1):
            place += 1 + length
        place += 1
    return data.short_of(place + 1)


def ivf(data: Bytes) -> Ending:
    """IVF: frames of 12 bytes and their content, after a header of 32."""
    place = data.number(6, 2, little=True) or 32
    while place < data.size:
        length = data.number(place, 4, little=True)
        if length == 0:
            return UNKNOWN  # something that was put after the end
        place += 12 + (length or 0)
    return data.short_of(place)


def nut(data: Bytes) -> Ending:
    """NUT: an index at the end, which its last 12 bytes lead to; a pipe has none (NUT Open Container Format)."""
    back = data.number(data.size - 12, 8) or 0
    if data.at(data.size - back, 8) == bytes.fromhex("4e58dd672f23e64e"):
        return UNKNOWN
    return Ending("it has no index at its end")


def dv(data: Bytes) -> Ending:
    """DV: frames of equal size (IEC 61834-2; SMPTE ST 314 for 50 Mbit/s)."""
    head = data.at(0, 452)
    if len(head) < 452:
        return data.short_of(452)
    size = {0: 120_000, 4: 240_000}.get(head[451] & 0x1F)
    if size is None:
        return UNKNOWN
    size += size // 5 if head[3] & 0x80 else 0  # 625 lines instead of 525
    rest = data.size % size
    if not head.startswith(data.at(data.size - rest, 3)) or not rest:  # something that was put after the end
        return UNKNOWN
    return Ending(f"its last frame has {rest:,} of {size:,} bytes", sure=True)
