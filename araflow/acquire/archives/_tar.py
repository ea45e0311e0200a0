"""Tar archives, plain or compressed with gzip, bzip2 or xz, read as a stream from beginning to end."""

from __future__ import annotations

import bz2
import io
import lzma
import tarfile
from collections import defaultdict
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Self, cast

from isal import igzip, isal_zlib

from araflow.acquire.archives._base import Archive, Member, Wants
from araflow.acquire.archives._names import Names
from araflow.acquire.archives._output import CHUNK, Output
from araflow.core.errors import ArchiveError

GZIP, BZIP2, XZ = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0"

_DAMAGED: tuple[type[Exception], ...] = (
    tarfile.TarError,
    lzma.LZMAError,
    cast("type[Exception]", isal_zlib.IsalError),  # a class, whatever its stubs say
    EOFError,
    OSError,  # gzip.BadGzipFile is one
    ValueError,  # numbers that are not numbers
    OverflowError,
    IndexError,
    KeyError,
)
"""What ``tarfile`` and the decompressors raise for damaged archives, as found by damaging some."""

_LONGEST_HEADER = 4 << 20  # bytes; a name may be some kilobytes long, and tarfile reads a header in one piece


class _TarInfo(tarfile.TarInfo):
    """Takes a damaged or missing header for what it is; tarfile takes it for the end of the archive."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if buf.count(0) == tarfile.BLOCKSIZE:  # the end mark
                raise
            raise tarfile.ReadError(f"damaged or cut short: {error}") from error


class _Forward:
    """What tarfile needs of a file, over a stream that cannot go back."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._at = 0

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _LONGEST_HEADER:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        data = self._stream.read(size)
        self._at += len(data)
        return data

    def tell(self) -> int:
        return self._at

    def seek(self, to: int) -> int:
        if to < self._at:
            raise tarfile.ReadError("headers that lead backwards")
        while self._at < to and self.read(min(to - self._at, CHUNK)):
            pass
        return self._at

    def close(self) -> None:
        self._stream.close()


class TarArchive(Archive):
    """A tar archive. Its members have no checksum of their own; that of a compressed stream is verified at its end."""

    kind = "tar"
    random_access = False

    def __init__(self, path: Path, encoding: str = "") -> None:
        super().__init__(path, encoding)
        self._listed: list[Member] | None = None

    def members(self) -> list[Member]:
        """List the regular files, reading the archive through; see ``Archive.members``."""
        if self._listed is None:
            with self._errors(), closing(self._walk()) as found:
                self._listed = [member for member, _, _ in found]
        return list(self._listed)

    def _extract(self, wants: Wants, output: Output) -> list[Member]:
        self.how = "tarfile"
        self.declined = 0
        written = []
        there: set[str] = set()
        links: dict[str, list[Member]] = defaultdict(list)  # to members that were not wanted themselves
        with self._errors(), closing(self._walk()) as found:
            for member, origin, chunks in found:
                if not wants(member.name):
                    self.declined += 1
                    continue
                output.reserve(member.size)
                written.append(member)
                if origin == member.name:
                    output.write(member.name, member.size, chunks)
                    there.add(member.name)
                elif origin in there:
                    output.copy(origin, member.name, member.size)
                else:
                    links[origin].append(member)
        if links:
            with self._errors(), closing(self._walk()) as found:
                for member, _, chunks in found:
                    for number, link in enumerate(links.get(member.name, ())):
                        if number == 0:
                            output.write(link.name, link.size, chunks)
                        else:
                            output.copy(links[member.name][0].name, link.name, link.size)
        return written

    def _walk(self) -> Generator[tuple[Member, str, Iterator[bytes]]]:
        """Yield each regular file, the name of the member that has its content, and that, to be taken before the next.

        A hard link is a regular file whose content another member has, and so is a link to it.
        """
        names = Names(self.path)
        files: dict[str, tuple[str, int]] = {}
        with closing(_Forward(decompressed(self.path))) as stream:
            with tarfile.open(
                fileobj=cast(IO[bytes], stream), mode="r:", tarinfo=_TarInfo, encoding=self.encoding or "utf-8"
            ) as tar:
                while (info := tar.next()) is not None:
                    tar.members = []  # type: ignore[attr-defined] # it would keep all of them
                    if info.size < 0:
                        raise tarfile.ReadError(f"member {info.name!r} has a size of {info.size}")
                    written = names.text(info.name)
                    if info.isdir():
                        names.folder(written)
                    elif info.isfile():
                        if (name := names.file(written)) is not None:
                            files[name] = name, info.size
                            yield Member(name, info.size, None), name, _content(stream, info)
                    elif not info.islnk():
                        what = f"a symbolic link to {info.linkname!r}" if info.issym() else "a device or a pipe"
                        names.leave_out(written, what)
                    elif (target := names.linked(names.text(info.linkname))) not in files:
                        names.leave_out(written, f"a hard link to {info.linkname!r}, which is no file before it")
                    elif (name := names.file(written)) is not None:
                        files[name] = files[target]
                        origin, size = files[target]
                        yield Member(name, size, None), origin, iter(())
            while stream.read(CHUNK):  # to the end, where the compressed stream has its checksum
                pass
        self._judged(names)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except RecursionError as error:  # tarfile calls itself for each
            raise ArchiveError(
                f"{self.path}: cannot be unpacked: headers that lead to headers, and no member"
            ) from error
        except _DAMAGED as error:
            raise ArchiveError(f"{self.path}: cannot be unpacked: {error}") from error


def _content(stream: _Forward, info: tarfile.TarInfo) -> Iterator[bytes]:
    """Yield a member's bytes; what a sparse file leaves out are zeros."""
    stream.seek(info.offset_data)
    at = 0
    sparse = cast("list[tuple[int, int]] | None", info.sparse)  # whatever its stubs say
    held = [(0, info.size)] if sparse is None else [piece for piece in sparse if piece[1]]
    for begin, size in (*held, (info.size, 0)):
        if not at <= begin <= begin + size <= info.size:
            raise tarfile.ReadError(f"member {info.name!r} has a map of its holes that cannot be")
        while at < begin:
            yield bytes(min(begin - at, CHUNK))
            at = min(begin, at + CHUNK)
        while at < begin + size and (chunk := stream.read(min(begin + size - at, CHUNK))):
            at += len(chunk)
            yield chunk
        if at < begin + size:  # cut short: what is missing is no hole
            return


def decompressed(path: Path) -> IO[bytes]:
    """Open a file whose first bytes say how it is compressed, if it is."""
    with path.open("rb") as file:
        head = file.read(6)
    if head.startswith(GZIP):
        return io.BufferedReader(cast(io.RawIOBase, igzip.IGzipFile(path, "rb")), CHUNK)  # type: ignore[no-untyped-call]
    if head.startswith(BZIP2):
        return cast(IO[bytes], bz2.open(path, "rb"))
    if head.startswith(XZ):
        return cast(IO[bytes], lzma.open(path, "rb"))
    return path.open("rb")


def is_tar(path: Path) -> bool:
    """Whether a file begins with a tar header, after decompression; reads no further than that."""
    try:
        tarfile.TarInfo.frombuf(_first_block(path), "utf-8", "surrogateescape")
    except _DAMAGED:
        return False
    return True


def _first_block(path: Path) -> bytes:
    with path.open("rb") as file:
        head = file.read(tarfile.BLOCKSIZE)
        if head.startswith(GZIP):
            decompress = isal_zlib.decompressobj(wbits=31).decompress
        elif head.startswith(BZIP2):
            decompress = bz2.BZ2Decompressor().decompress
        elif head.startswith(XZ):
            decompress = lzma.LZMADecompressor().decompress
        else:
            return head
        block = b""
        while head and (missing := tarfile.BLOCKSIZE - len(block)):
            block += decompress(head, missing)
            head = file.read(io.DEFAULT_BUFFER_SIZE)
    return block
