"""What the headers of a RAR archive say, by rarfile; nothing is unpacked here."""

from __future__ import annotations

import dataclasses
import stat
from pathlib import Path

import rarfile  # type: ignore[import-untyped]

from araflow.acquire.archives._names import Names
from araflow.core.errors import ArchiveError

_RAR5_MAGIC = b"Rar!\x1a\x07\x01\x00"

_UNKNOWN_SIZE = 0x08  # flag of a RAR5 file header
_RAR29 = 29  # "version needed to extract"; RAR 2.9 and later always write an end mark
_NEWER = rarfile.RAR_FILE_EXTTIME | rarfile.RAR_FILE_UNICODE  # flags of headers since RAR 2.9


@dataclasses.dataclass(frozen=True, slots=True)
class Header:
    """One regular file of a RAR archive.

    Attributes:
        name: Safe relative path.
        index: Its place among all the archive's entries, folders included, from 0.
        size: Bytes.
        crc32: ``None`` in a RAR5 that has BLAKE2sp instead.
        blake2sp: 32 bytes, or ``None``.
        stored: Whether its bytes lie in the archive as they are.
        solid: Whether it can be unpacked only after those before it.
        parts: File, offset and bytes of its packed data in each volume.
    """

    name: str
    index: int
    size: int
    crc32: int | None
    blake2sp: bytes | None
    stored: bool
    solid: bool
    parts: tuple[tuple[str, int, int], ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Headers:
    """All regular files of a RAR archive.

    Attributes:
        generation: 4 (RAR 1.5 to 4) or 5.
        solid: Whether the archive as a whole is solid.
        files: In the archive's order.
        dropped: AppleDouble and ``__MACOSX`` members left out.
        size: Bytes of all files, those left out included: what a tool writes that unpacks all.
    """

    generation: int
    solid: bool
    files: list[Header]
    dropped: int
    size: int


class _NoComments:
    """Leaves comments alone: rarfile would start an external tool for one that is compressed."""

    def _read_comment_v3(self, *_: object) -> None:
        return

    def _load_comment(self, *_: object) -> None:
        return

    def _parse_subblocks(self, _: object, data: bytes, __: int) -> int:
        return len(data)

    def _decode(self, name: bytes) -> str:
        try:
            return name.decode()
        except UnicodeDecodeError:  # rarfile would try UTF-16 next, which makes anything of anything
            return name.decode("windows-1252", "replace")


class _Parser4(_NoComments, rarfile.RAR3Parser):  # type: ignore[misc]
    pass


class _Parser5(_NoComments, rarfile.RAR5Parser):  # type: ignore[misc]
    pass


def read_headers(path: Path) -> Headers:
    """Read and judge all headers; volumes are followed.

    Raises:
        ArchiveError: Damaged, cut short, encrypted, a volume is missing, or a member is not safe to write.
    """
    with path.open("rb") as file:
        generation = 5 if file.read(len(_RAR5_MAGIC)) == _RAR5_MAGIC else 4
    blocks: list[rarfile.RarInfo] = []
    # Strict: a header whose checksum is wrong is an error, where rarfile would take it for the archive's end.
    arguments = (str(path), None, True, "windows-1252", True, blocks.append, 0, False)
    parser = (_Parser5 if generation == 5 else _Parser4)(*arguments)
    try:
        parser.parse()
    except rarfile.NeedFirstVolume as error:
        raise ArchiveError(f"{path}: a later volume of an archive in several; name the first: {error}") from error
    except rarfile.BadRarFile as error:
        if "next volume" in str(error):
            raise ArchiveError(f"{path}: a volume is missing: {str(error).rpartition(': ')[2]}") from error
        raise ArchiveError(f"{path}: damaged or cut short: {error}") from error
    except Exception as error:  # a damaged header makes rarfile raise nearly anything; it has no side effects
        raise ArchiveError(f"{path}: damaged: its headers cannot be read: {error!r}") from error
    if parser.needs_password():
        raise ArchiveError(f"{path}: encrypted; araflow takes no passwords: unpack it yourself and give the folder")
    _check_whole(path, blocks)
    return _judge(path, generation, parser.is_solid(), blocks)


def _check_whole(path: Path, blocks: list[rarfile.RarInfo]) -> None:
    """Refuse an archive whose last header is not its last: rarfile takes the end of the file for the archive's end.

    RAR before 2.9 wrote no end mark; its archives are known by what their headers lack.
    """
    kinds = [block.type for block in blocks]
    if rarfile.RAR_BLOCK_MARK in kinds or kinds[:1] != [rarfile.RAR_BLOCK_MAIN]:  # not even their CRC is checked
        raise ArchiveError(f"{path}: damaged: a header is not what it should be")
    last = blocks[-1]
    if last.type == rarfile.RAR_BLOCK_ENDARC:
        return
    files = [block for block in blocks if block.type == rarfile.RAR_BLOCK_FILE]
    if not files or any(file.extract_version >= _RAR29 or file.flags & _NEWER for file in files):
        raise ArchiveError(f"{path}: cut short or damaged: it has no end mark")
    if last.data_offset + last.add_size != Path(last.volume_file).stat().st_size:
        raise ArchiveError(f"{path}: cut short or damaged: it ends within its last member")


def _judge(path: Path, generation: int, solid: bool, blocks: list[rarfile.RarInfo]) -> Headers:
    names = Names(path)
    files: list[Header] = []
    entries = [block for block in blocks if block.type == rarfile.RAR_BLOCK_FILE and not _is_old_version(block)]
    size, index, at = 0, -1, 0
    while at < len(entries):
        first, after = entries[at], at + 1
        while after < len(entries) and entries[after].flags & rarfile.RAR_FILE_SPLIT_BEFORE:
            after += 1
        pieces, at = entries[at:after], after
        index += 1
        if first.flags & rarfile.RAR_FILE_SPLIT_BEFORE:
            raise ArchiveError(f"{path}: member {first.filename!r} begins in an earlier volume; name the first")
        if pieces[-1].flags & rarfile.RAR_FILE_SPLIT_AFTER:
            raise ArchiveError(f"{path}: member {first.filename!r} goes on in a volume that is missing")
        mode = first.mode if first.host_os == rarfile.RAR_OS_UNIX else 0
        if first.file_redir or stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
            names.refuse(first.filename, "is a link or a device")
        if first.is_dir():
            names.folder(first.filename)
            continue
        size += first.file_size
        name = names.file(first.filename)
        if name is not None:
            files.append(_header(path, name, index, pieces))
    return Headers(generation, solid, files, names.dropped, size)


def _is_old_version(block: rarfile.RarInfo) -> bool:
    """Whether it is an earlier state of a file, which RAR can keep beside the file; no tool unpacks it unasked."""
    return bool(block.flags & rarfile.RAR_FILE_VERSION or getattr(block, "file_version", None))


def _header(path: Path, name: str, index: int, pieces: list[rarfile.RarInfo]) -> Header:
    first, last = pieces[0], pieces[-1]
    packed = sum(piece.add_size for piece in pieces)
    stored = first.compress_type == rarfile.RAR_M0
    if getattr(first, "file_flags", 0) & _UNKNOWN_SIZE:
        raise ArchiveError(f"{path}: member {name!r} has no size in its header, so it cannot be verified")
    if stored and packed != first.file_size:
        raise ArchiveError(
            f"{path}: member {name!r} is stored in {packed:,} bytes, its header says {first.file_size:,}"
        )
    if last.CRC is None and last.blake2sp_hash is None:
        raise ArchiveError(f"{path}: member {name!r} has no checksum, so it cannot be verified")
    parts = tuple((piece.volume_file, piece.data_offset, piece.add_size) for piece in pieces)
    solid = bool(first.flags & rarfile.RAR_FILE_SOLID)
    return Header(name, index, first.file_size, last.CRC, last.blake2sp_hash, stored, solid, parts)
