"""Zip archives, by the standard library."""

from __future__ import annotations

import lzma
import stat
import zipfile
import zlib
from collections.abc import Iterator
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


class ZipArchive(Archive):
    """A zip archive: stored, deflate, bzip2 and LZMA, with ZIP64."""

    kind = "zip"
    random_access = True

    def __init__(self, path: Path) -> None:
        self.path = path
        self._listed: list[tuple[Member, zipfile.ZipInfo]] | None = None
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
        for member, _ in wanted:
            output.reserve(member.size)
        with self._errors():
            for member, info in wanted:
                output.write(member.name, member.size, self._chunks(info), member.crc32)
        return [member for member, _ in wanted]

    def _list(self) -> list[tuple[Member, zipfile.ZipInfo]]:
        if self._listed is None:
            names = Names(self.path)
            listed = []
            for info in self._zip.infolist():
                # The central directory's name before zipfile cut it at a NUL character.
                if "\0" in info.orig_filename:
                    names.refuse(info.orig_filename, "has control characters in its name")
                if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
                    names.refuse(info.filename, "is a link or a device")
                if info.flag_bits & 1:
                    raise ArchiveError(
                        f"{self.path}: member {info.filename!r} is encrypted; araflow takes no passwords"
                    )
                if info.filename.endswith(("/", "\\")):
                    names.folder(info.filename)
                elif (name := names.file(info.filename)) is not None:
                    listed.append((Member(name, info.file_size, info.CRC), info))
            self._listed, self.dropped = listed, names.dropped
        return self._listed

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
