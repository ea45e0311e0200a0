"""Zip archives, by the standard library; names and methods are judged here."""

from __future__ import annotations

import lzma
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from araflow.acquire.archives._base import Archive, Member, Wants
from araflow.acquire.archives._names import Names
from araflow.acquire.archives._output import CHUNK, Output
from araflow.core.errors import ArchiveError

_DAMAGED = (
    zipfile.BadZipFile,
    lzma.LZMAError,
    zlib.error,
    EOFError,
    OSError,
    RuntimeError,  # unknown compression (NotImplementedError)
    ValueError,  # names that are not text
    OverflowError,
    IndexError,
    LookupError,
)
"""What ``zipfile`` raises for damaged archives, as found by damaging some."""


_METHODS = {
    1: "Shrink",
    6: "Implode",
    9: "Deflate64",
    12: "bzip2",
    14: "LZMA",
    93: "Zstandard",
    95: "XZ",
    96: "JPEG",
    97: "WavPack",
    98: "PPMd",
}
"""Names of methods, by the numbers of PKWARE's APPNOTE, 4.4.5."""

_TAKEN = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA}
_TAKEN |= {getattr(zipfile, "ZIP_ZSTANDARD", zipfile.ZIP_STORED)}  # since Python 3.14

_ENCRYPTED, _UTF8 = 0x1, 0x800  # flags of a member
_UNICODE_PATH = 0x7075
_PART = b"PK\x07\x08"
_END = b"PK\x05\x06"  # of the record that ends every zip archive, of 22 bytes and a comment


class ZipArchive(Archive):
    """A zip archive: stored, deflate, bzip2 and LZMA, with ZIP64; a program may stand before it."""

    kind = "zip"
    random_access = True

    def __init__(self, path: Path, encoding: str = "") -> None:
        super().__init__(path, encoding)
        self._listed: list[tuple[Member, zipfile.ZipInfo]] | None = None
        disk = _last_disk(path)
        if disk not in (None, 0, 0xFFFF) or (disk is None and _begins(path, _PART)):
            raise ArchiveError(
                f"{path}: one part of a zip archive in several; join them (zip -s 0 {path.name} --out whole.zip), or "
                "unpack it yourself and give the folder"
            )
        with self._errors():
            self._zip = zipfile.ZipFile(path)

    def close(self) -> None:
        """Close the archive's file."""
        self._zip.close()

    def members(self) -> list[Member]:
        """List the regular files; see ``Archive.members``."""
        return [member for member, _ in self._list()]

    def _extract(self, wants: Wants, output: Output) -> list[Member]:
        listed = self._list()
        wanted = [(member, info) for member, info in listed if wants(member.name)]
        self.declined = len(listed) - len(wanted)
        self.how = "zipfile"
        for member, info in wanted:
            self._refuse_unreadable(info)
            output.reserve(member.size)
        with self._errors():
            for member, info in wanted:
                output.write(member.name, member.size, self._chunks(info), member.crc32)
        return [member for member, _ in wanted]

    def _list(self) -> list[tuple[Member, zipfile.ZipInfo]]:
        if self._listed is None:
            names = Names(self.path)
            listed = []
            for info, written in zip(self._zip.infolist(), self._names(names), strict=True):
                # The central directory's name before zipfile cut it at a NUL character.
                if "\0" in info.orig_filename:
                    names.refuse(info.orig_filename, "has control characters in its name")
                mode = stat.S_IFMT(info.external_attr >> 16)
                if mode not in (0, stat.S_IFREG, stat.S_IFDIR):
                    names.leave_out(written, "a symbolic link" if mode == stat.S_IFLNK else "a device or a pipe")
                elif written.endswith(("/", "\\")):
                    names.folder(written)
                elif (name := names.file(written)) is not None:
                    listed.append((Member(name, info.file_size, info.CRC), info))
            self._listed = listed
            self._judged(names)
        return self._listed

    def _names(self, names: Names) -> Sequence[str]:
        """Return the members' names. The format knows cp437 and UTF-8 with a flag; macOS writes UTF-8 without.

        A name is taken as its flag or its field of Info-ZIP says. The others are UTF-8 if all of them are, else of the
        encoding that the user has named, else cp437.
        """
        found: list[str | bytes] = [
            info.filename if info.flag_bits & _UTF8 else _unicode_path(info) or info.orig_filename.encode("cp437")
            for info in self._zip.infolist()
        ]
        encoding = self.encoding or "utf-8"
        try:
            return [name.decode(encoding) if isinstance(name, bytes) else name for name in found]
        except UnicodeDecodeError as error:
            if self.encoding:
                raise ArchiveError(f"{self.path}: its names are not {encoding}: {error.object!r}") from error
            names.guess("cp437")
        return [name.decode("cp437") if isinstance(name, bytes) else name for name in found]

    def _refuse_unreadable(self, info: zipfile.ZipInfo) -> None:
        if info.flag_bits & _ENCRYPTED:
            raise ArchiveError(f"{self.path}: member {info.filename!r} is encrypted; araflow takes no passwords")
        if info.compress_type not in _TAKEN:
            method = _METHODS.get(info.compress_type, f"method {info.compress_type}")
            raise ArchiveError(
                f"{self.path}: member {info.filename!r} is compressed by {method}, which araflow cannot unpack; unpack "
                "it yourself and give the folder"
            )

    def _chunks(self, info: zipfile.ZipInfo) -> Iterator[bytes]:
        with self._zip.open(info) as file:
            while chunk := file.read(CHUNK):
                yield chunk

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except _DAMAGED as error:
            raise ArchiveError(f"{self.path}: cannot be unpacked: {error}") from error


def _unicode_path(info: zipfile.ZipInfo) -> str | None:
    """Return the name of Info-ZIP's field 0x7075, where it belongs to the name beside it; else ``None``."""
    extra = info.extra
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<HH", extra)
        if kind == _UNICODE_PATH and size > 5 and extra[4] == 1:
            (crc32,) = struct.unpack_from("<I", extra, 5)
            if crc32 == zlib.crc32(info.orig_filename.encode("cp437")):
                try:
                    return extra[9 : 4 + size].decode()
                except UnicodeDecodeError:
                    return None
        extra = extra[4 + size :]
    return None


def _begins(path: Path, mark: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(mark)) == mark


def has_end(path: Path) -> bool:
    """Whether a file ends as a zip archive does, however it begins."""
    return _last_disk(path) is not None


def _last_disk(path: Path) -> int | None:
    """Return the number of the part that a file is of a zip archive, from 0; ``None`` where no end record says."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - (22 + 0xFFFF)))
        tail = file.read()
    at = tail.rfind(_END)
    if not 0 <= at <= len(tail) - 22:
        return None
    disk, comment = struct.unpack_from("<4xH14xH", tail, at)
    return int(disk) if at + 22 + comment == len(tail) else None
