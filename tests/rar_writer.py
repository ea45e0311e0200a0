"""Writes RAR archives whose members are stored, for tests: no free tool does. Both generations, from the format's
public description; nothing of unRAR's source is used. ``rar4({"walk/a.avi": b"..."})`` is all that most tests need.

Two traps: the old generation parts folders by a backslash; the new one wants the size of the data also where it is 0.
"""

from __future__ import annotations

import dataclasses
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping

import rarfile

RAR4_MARK, RAR5_MARK = b"Rar!\x1a\x07\x00", b"Rar!\x1a\x07\x01\x00"
STORED = 0x30

FILE, FOLDER, SYMLINK, FIFO = 0o100644, 0o040755, 0o120777, 0o010644
"""Unix modes."""


@dataclasses.dataclass
class Entry:
    """A member; what is not given is what an honest archiver would write.

    Attributes:
        name: Bytes are written as they are.
        data: What lies in the archive.
        mode: Unix mode; says what kind of file it is.
        link: Target of a link; in RAR4 it is the data of a member with the mode of a link.
        link_type: RAR5 alone: 1 symbolic, 4 hard, 5 copy.
        size: Declared bytes.
        crc32: Declared.
        method: 0x30 is stored, 0x31 to 0x35 are compressed, which the writer only claims.
        solid: Marked as one that needs those before it.
        encrypted: Marked as such.
        blake2: RAR5 alone: BLAKE2sp in the place of the CRC-32.
        unchecked: RAR5 alone: without any checksum.
        flags: Further flags of the file's header, as the format has them.
        version: RAR4 alone: what is needed to unpack it; 20 is 2.0, which RAR 3 and 4 write, too, if it is stored.
        times: RAR4 alone: whether there is a field for exact times (an empty one), as RAR 2.9 and later write it.
    """

    name: str | bytes
    data: bytes = b""
    mode: int = FILE
    link: str | None = None
    link_type: int = 1
    size: int | None = None
    crc32: int | None = None
    method: int = STORED
    solid: bool = False
    encrypted: bool = False
    blake2: bool = False
    version: int = 20
    times: bool = True
    unchecked: bool = False
    flags: int = 0

    @property
    def folder(self) -> bool:
        return self.mode == FOLDER


Files = Mapping[str, bytes] | Iterable[Entry]


def rar4(files: Files, *, solid: bool = False, end: bool = True) -> bytes:
    """Return an archive as RAR 2 to 4 write it."""
    return volumes(4, files, solid=solid, end=end)[0]


def rar5(files: Files, *, solid: bool = False, end: bool = True) -> bytes:
    """Return an archive as RAR 5 and later write it."""
    return volumes(5, files, solid=solid, end=end)[0]


def volumes(
    generation: int, files: Files, limit: int = 1 << 62, *, solid: bool = False, end: bool = True
) -> list[bytes]:
    """Return an archive in volumes of at most ``limit`` bytes of data; name them ``x.part1.rar``, ``x.part2.rar`` …"""
    entries = [Entry(name, data) for name, data in files.items()] if isinstance(files, Mapping) else list(files)
    parts = list(_split(entries, limit))
    several = len(parts) > 1
    mark, main, member, close = _RAR4 if generation == 4 else _RAR5
    written = []
    for number, part in enumerate(parts):
        blocks = [mark, main(number, several, solid), *(member(*piece) for piece in part)]
        written.append(b"".join([*blocks, close(number, number + 1 < len(parts), several)] if end else blocks))
    return written


def _split(entries: list[Entry], limit: int) -> Iterator[list[tuple[Entry, bytes, bool, bool]]]:
    """Yield each volume's pieces: member, its bytes, whether it began before, whether it goes on after."""
    part: list[tuple[Entry, bytes, bool, bool]] = []
    room = limit
    for entry in entries:
        data, before = (entry.link or "").encode() if entry.link and entry.mode == SYMLINK else entry.data, False
        while len(data) > room:
            part.append((entry, data[:room], before, True))
            yield part
            part, data, before, room = [], data[room:], True, limit
        part.append((entry, data, before, False))
        room -= len(data)
    yield part


def _declared(entry: Entry, piece: bytes, after: bool) -> tuple[int, int]:
    """Return size and CRC-32 for a header; those of the whole, but a piece that is not the last has its own CRC-32."""
    whole = entry.data or piece
    size = len(whole) if entry.size is None else entry.size
    if after:
        return size, zlib.crc32(piece)
    return size, zlib.crc32(whole) if entry.crc32 is None else entry.crc32


# --- RAR 2 to 4 ---


def _block4(kind: int, flags: int, body: bytes, data: bytes = b"") -> bytes:
    rest = struct.pack("<BHH", kind, flags, 7 + len(body)) + body
    return struct.pack("<H", zlib.crc32(rest) & 0xFFFF) + rest + data


def _main4(number: int, several: bool, solid: bool) -> bytes:
    flags = (0x0008 if solid else 0) | (0x0011 if several else 0) | (0x0100 if several and number == 0 else 0)
    return _block4(0x73, flags, bytes(6))


def _name4(name: str | bytes) -> tuple[bytes, int]:
    """Return a name and its flag: plain, or with UTF-16 after a NUL, each letter marked as two bytes (``10``)."""
    if isinstance(name, bytes):
        return name, 0
    name = name.replace("/", "\\")
    if name.isascii():
        return name.encode(), 0
    letters = name.encode("utf-16-le")
    coded = b"".join(b"\xaa" + letters[at : at + 8] for at in range(0, len(letters), 8))
    return name.encode("ascii", "replace") + b"\0" + b"\0" + coded, 0x0200


def _member4(entry: Entry, piece: bytes, before: bool, after: bool) -> bytes:
    name, flags = _name4(entry.name)
    flags |= 0x8000 | before * 0x0001 | after * 0x0002 | entry.encrypted * 0x0004 | entry.solid * 0x0010
    flags |= (0x00E0 if entry.folder else 0) | entry.flags
    size, crc32 = _declared(entry, piece, after)
    high = struct.pack("<II", len(piece) >> 32, size >> 32) if size >> 32 else b""
    flags |= (0x0100 if high else 0) | entry.times * 0x1000
    time = (2026 - 1980) << 25 | 11 << 21 | 21 << 16
    fields = (len(piece), size & 0xFFFFFFFF, 3, crc32, time, entry.version, entry.method, len(name), entry.mode)
    return _block4(0x74, flags, struct.pack("<IIBIIBBHI", *fields) + high + name + bytes(2 * entry.times), piece)


def _close4(number: int, more: bool, several: bool) -> bytes:
    flags = 0x4000 | more * 0x0001 | several * 0x0008
    return _block4(0x7B, flags, struct.pack("<H", number) if several else b"")


# --- RAR 5 ---


def _vint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; the eighth says that more follow."""
    coded = bytearray()
    while value > 0x7F:
        coded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*coded, value])


def _block5(kind: int, flags: int, body: bytes, extra: bytes = b"", data: bytes | None = None) -> bytes:
    flags |= (0x01 if extra else 0) | (0x02 if data is not None else 0)
    sizes = (_vint(len(extra)) if extra else b"") + (_vint(len(data)) if data is not None else b"")
    header = _vint(kind) + _vint(flags) + sizes + body + extra
    header = _vint(len(header)) + header
    return struct.pack("<I", zlib.crc32(header)) + header + (data or b"")


def _main5(number: int, several: bool, solid: bool) -> bytes:
    flags = several * 0x01 | (several and number > 0) * 0x02 | solid * 0x04
    return _block5(1, 0, _vint(flags) + (_vint(number) if several and number else b""))


def _member5(entry: Entry, piece: bytes, before: bool, after: bool) -> bytes:
    name = entry.name if isinstance(entry.name, bytes) else entry.name.encode()
    size, crc32 = _declared(entry, piece, after)
    extras = []
    if entry.link is not None:
        target = entry.link.encode()
        extras.append(_vint(5) + _vint(entry.link_type) + _vint(0) + _vint(len(target)) + target)
        piece, size = b"", entry.size or 0
    if entry.blake2:
        extras.append(_vint(2) + _vint(0) + rarfile.Blake2SP(piece if after else entry.data).digest())
    if entry.encrypted:
        extras.append(_vint(1) + _vint(0) + _vint(0) + bytes([15]) + bytes(16) + bytes(16))
    checked = not (entry.blake2 or entry.unchecked or entry.folder or entry.link is not None)
    body = _vint(entry.folder * 0x01 | checked * 0x04 | entry.flags) + _vint(size) + _vint(entry.mode)
    body += struct.pack("<I", crc32) if checked else b""
    body += _vint((entry.method - STORED) << 7 | entry.solid * 0x40) + _vint(1) + _vint(len(name)) + name
    extra = b"".join(_vint(len(part)) + part for part in extras)
    return _block5(2, before * 0x08 | after * 0x10, body, extra, piece)


def _close5(_: int, more: bool, __: bool) -> bytes:
    return _block5(5, 0, _vint(more))


_RAR4 = (RAR4_MARK, _main4, _member4, _close4)
_RAR5 = (RAR5_MARK, _main5, _member5, _close5)
