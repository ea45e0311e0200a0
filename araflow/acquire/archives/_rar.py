"""RAR archives: stored members are read from the archive itself, the others by the best tool that is here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from araflow.acquire.archives import _rar_tools
from araflow.acquire.archives._base import Archive, Member, Wants
from araflow.acquire.archives._output import CHUNK, Output, checksum
from araflow.acquire.archives._rar_headers import Header, read_headers


class RarArchive(Archive):
    """A RAR archive of either generation, in one file or several volumes."""

    def __init__(self, path: Path, encoding: str = "") -> None:
        super().__init__(path, encoding)
        self._headers = read_headers(path, encoding)
        self.kind = f"rar{self._headers.generation}"
        self._judged(self._headers.names)
        packed = [header for header in self._headers.files if not header.stored]
        self.random_access = not packed or not (self._headers.solid or any(header.solid for header in packed))

    def members(self) -> list[Member]:
        """List the regular files; see ``Archive.members``."""
        return [_member(header) for header in self._headers.files]

    def _extract(self, wants: Wants, output: Output) -> list[Member]:
        wanted = [header for header in self._headers.files if wants(header.name)]
        self.declined = len(self._headers.files) - len(wanted)
        for header in wanted:
            output.reserve(header.size)
        copies = [header for header in wanted if header.copy_of]
        names = {header.name for header in wanted}
        originals = {header.copy_of for header in copies} - names  # written to be copied, and removed
        taken = [
            header
            for header in self._headers.files
            if (header.name in names and not header.copy_of) or header.name in originals
        ]
        packed = [header for header in taken if not header.stored]
        used = _rar_tools.unpack(self._headers, packed, output) if packed else []
        stored = [header for header in taken if header.stored]
        if stored or not used:
            used.append("rarfile")
        self.how = ", ".join(used)
        with _Volumes() as volumes:
            for header in stored:
                output.write(header.name, header.size, volumes.read(header), *checksum(header.crc32, header.blake2sp))
        for header in copies:
            output.copy(header.copy_of, header.name, header.size)
        for name in originals:
            output.discard(name)
        return [_member(header) for header in wanted]


class _Volumes:
    """Reads stored bytes; keeps one volume open. rarfile's own reader opens and walks the archive for each member."""

    def __init__(self) -> None:
        self._name = ""
        self._file = -1

    def __enter__(self) -> _Volumes:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file >= 0:
            os.close(self._file)

    def read(self, header: Header) -> Iterator[bytes]:
        for name, offset, size in header.parts:
            if name != self._name:
                self.__exit__()
                self._file = -1
                self._file, self._name = os.open(name, os.O_RDONLY | os.O_CLOEXEC), name
            end = offset + size
            while offset < end and (chunk := os.pread(self._file, min(end - offset, CHUNK), offset)):
                offset += len(chunk)
                yield chunk


def _member(header: Header) -> Member:
    return Member(header.name, header.size, header.crc32)
