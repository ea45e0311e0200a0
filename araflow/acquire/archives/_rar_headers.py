"""What the headers of a RAR archive say, by rarfile; nothing is unpacked here."""

from __future__ import annotations

import dataclasses
import stat
from pathlib import Path

import rarfile  # type: ignore[import-untyped]

from araflow.acquire.archives._marks import rar_begin
from araflow.acquire.archives._names import Names
from araflow.core.errors import ArchiveError

_UNKNOWN_SIZE = 0x08  # flag of a RAR5 file header
_RAR29 = 29  # "version needed to extract"; RAR 2.9 and later always write an end mark
_NEWER = rarfile.RAR_FILE_EXTTIME | rarfile.RAR_FILE_UNICODE  # flags of headers since RAR 2.9
_COPIES = {rarfile.RAR5_XREDIR_HARD_LINK: "hard link", rarfile.RAR5_XREDIR_FILE_COPY: "copy"}
_NO_END = "it has no end mark: if it was cut short between two members, those after it are missing"


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
        copy_of: The member before it that has its content, where it is a hard link or a copy; else empty.
    """

    name: str
    index: int
    size: int
    crc32: int | None
    blake2sp: bytes | None
    stored: bool
    solid: bool
    parts: tuple[tuple[str, int, int], ...]
    copy_of: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Headers:
    """All regular files of a RAR archive.

    Attributes:
        generation: 4 (RAR 1.5 to 4) or 5.
        solid: Whether the archive as a whole is solid.
        files: In the archive's order.
        names: What is left out, and what else is to be said.
        size: Bytes of all files, those left out included: what a tool writes that unpacks all.
    """

    generation: int
    solid: bool
    files: list[Header]
    names: Names
    size: int


class _Ours:
    """Leaves comments alone: rarfile would start an external tool for one that is compressed. Says how names are read.

    Attributes:
        encoding: Of names that are not Unicode; empty: judged by their bytes.
        guessed: Whether some were read as Windows-1252, which nothing says that they are.
    """

    encoding = ""
    guessed = False

    def _read_comment_v3(self, *_: object) -> None:
        return

    def _load_comment(self, *_: object) -> None:
        return

    def _parse_subblocks(self, _: object, data: bytes, __: int) -> int:
        return len(data)

    def _decode(self, name: bytes) -> str:
        try:
            return name.decode(self.encoding or "utf-8")
        except UnicodeDecodeError:  # rarfile would try UTF-16 next, which makes anything of anything
            self.guessed = True
            return name.decode("windows-1252", "replace")


class _Parser4(_Ours, rarfile.RAR3Parser):  # type: ignore[misc]
    pass


class _Parser5(_Ours, rarfile.RAR5Parser):  # type: ignore[misc]
    pass


def read_headers(path: Path, encoding: str = "") -> Headers:
    """Read and judge all headers; volumes are followed.

    Args:
        path: The archive, its first volume, or a program that it stands behind.
        encoding: Of names that are not Unicode; empty: UTF-8, or Windows-1252 where they are not that.

    Raises:
        ArchiveError: Damaged, cut short, encrypted, a volume is missing, or a member is not safe to write.
    """
    begin = rar_begin(path)
    if begin is None:
        raise ArchiveError(f"{path}: not a RAR archive")
    generation, at = begin
    blocks: list[rarfile.RarInfo] = []
    # Strict: a header whose checksum is wrong is an error, where rarfile would take it for the archive's end.
    arguments = (str(path), None, True, "windows-1252", True, blocks.append, at, False)
    parser = (_Parser5 if generation == 5 else _Parser4)(*arguments)
    parser.encoding = encoding
    try:
        parser.parse()
    except rarfile.NeedFirstVolume as error:
        raise ArchiveError(f"{path}: a later volume of an archive in several; name the first: {error}") from error
    except rarfile.BadRarFile as error:
        if "next volume" in str(error):
            raise ArchiveError(f"{path}: a volume is missing: {str(error).rpartition(': ')[2]}") from error
        if not _ends_with(blocks):  # else it was the end of the file where an end mark was to be
            raise ArchiveError(f"{path}: damaged or cut short: {error}") from error
    except Exception as error:  # a damaged header makes rarfile raise nearly anything; it has no side effects
        raise ArchiveError(f"{path}: damaged: its headers cannot be read: {error!r}") from error
    if parser.needs_password():
        raise ArchiveError(f"{path}: encrypted; araflow takes no passwords: unpack it yourself and give the folder")
    names = Names(path)
    if parser.guessed:
        names.guess("windows-1252")
    if not _has_end(path, blocks):
        names.remarks.append(_NO_END)
    files, size = _judge(path, names, blocks)
    return Headers(generation, parser.is_solid(), files, names, size)


def _ends_with(blocks: list[rarfile.RarInfo]) -> bool:
    """Whether a file ends where the last of these blocks does."""
    return bool(blocks) and blocks[-1].data_offset + blocks[-1].add_size == Path(blocks[-1].volume_file).stat().st_size


def _has_end(path: Path, blocks: list[rarfile.RarInfo]) -> bool:
    """Whether an archive has the end mark that it ought to have; refuse one that ends within a member.

    rarfile takes the end of the file for the archive's end. RAR before 2.9 wrote no end mark; its archives are known by
    what their headers lack.
    """
    kinds = [block.type for block in blocks]
    if rarfile.RAR_BLOCK_MARK in kinds or kinds[:1] != [rarfile.RAR_BLOCK_MAIN]:  # not even their CRC is checked
        raise ArchiveError(f"{path}: damaged: a header is not what it should be")
    last = blocks[-1]
    if last.type == rarfile.RAR_BLOCK_ENDARC:
        return True
    if not _ends_with(blocks):
        raise ArchiveError(f"{path}: cut short or damaged: it ends within its last member")
    files = [block for block in blocks if block.type == rarfile.RAR_BLOCK_FILE]
    if not files:
        raise ArchiveError(f"{path}: cut short or damaged: it has neither a member nor an end mark")
    return not any(file.extract_version >= _RAR29 or file.flags & _NEWER for file in files)


def _judge(path: Path, names: Names, blocks: list[rarfile.RarInfo]) -> tuple[list[Header], int]:
    """Return the regular files, and the bytes of all."""
    files: dict[str, Header] = {}
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
        mode = stat.S_IFMT(first.mode if first.host_os == rarfile.RAR_OS_UNIX else 0)
        if first.file_redir and (what := _COPIES.get(first.file_redir[0])):
            target = names.linked(first.file_redir[2])
            if target not in files:
                names.leave_out(first.filename, f"a {what} of {first.file_redir[2]!r}, which is no file before it")
            elif (name := names.file(first.filename)) is not None:
                files[name] = _copy(path, name, index, first, files[target])
                size += files[name].size
        elif first.file_redir or mode not in (0, stat.S_IFREG, stat.S_IFDIR):
            link = first.file_redir or mode == stat.S_IFLNK
            names.leave_out(first.filename, "a symbolic link" if link else "a device or a pipe")
        elif first.is_dir():
            names.folder(first.filename)
        else:
            size += first.file_size
            if (name := names.file(first.filename)) is not None:
                files[name] = _header(path, name, index, pieces)
    return list(files.values()), size


def _copy(path: Path, name: str, index: int, block: rarfile.RarInfo, original: Header) -> Header:
    """Return the header of a hard link or a copy; what it declares of its content, if anything, is the original's."""
    known = original.crc32 is not None and block.CRC is not None
    if block.file_size and (block.file_size != original.size or (known and original.crc32 != block.CRC)):
        raise ArchiveError(f"{path}: member {name!r} is a copy of {original.name!r}, and declares other content")
    return dataclasses.replace(original, name=name, index=index, copy_of=original.copy_of or original.name)


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
