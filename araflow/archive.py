"""Unpack a zip or tar archive safely into a folder that appears whole or not at all.

No member leaves the folder: absolute names, ``..``, links and devices are refused; AppleDouble files are dropped.
RAR archives are refused with the remedy: they need a tool of their own.
"""

from __future__ import annotations

import contextlib
import functools
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Generator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Self

import filelock

from araflow.errors import ArchiveError

_Member = tuple[str, int, Callable[[], IO[bytes] | None]]
_DAMAGED = (
    zipfile.BadZipFile,
    tarfile.TarError,
    lzma.LZMAError,
    zlib.error,
    EOFError,
    OSError,
    RuntimeError,  # zipfile: encrypted, or (as NotImplementedError) an unknown compression
    ValueError,  # names that are not text, numbers that are not numbers
    OverflowError,
)


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


def unpack(archive: Path, target: Path, keep: Callable[[str], bool] = lambda _: True) -> Path:
    """Unpack the members that ``keep`` names.

    Args:
        archive: A zip or tar file (plain, gzip, bzip2 or xz).
        target: Folder to make; if it exists, it is taken as unpacked before and returned.
        keep: Called with each member's name (with ``/``); members it declines are not written.

    Returns:
        ``target``.

    Raises:
        ArchiveError: Not such an archive, damaged, unsafe, larger than the disk's free space, or without any member
            that ``keep`` names.
    """
    if target.is_dir():
        return target
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(target.with_name(target.name + ".lock")):
            if target.is_dir():
                return target
            shutil.rmtree(part, ignore_errors=True)  # a killed run's
            part.mkdir()
            try:
                _unpack(archive, part, keep)
                return part.rename(target)
            finally:
                shutil.rmtree(part, ignore_errors=True)
    except _DAMAGED as error:
        raise ArchiveError(f"{archive}: cannot be unpacked: {error}") from error


def _unpack(archive: Path, part: Path, keep: Callable[[str], bool]) -> None:
    free = shutil.disk_usage(part).free
    declined: list[str] = []
    with contextlib.closing(_members(archive)) as members:
        for name, size, open_member in members:
            path = PurePosixPath(name.replace("\\", "/"))
            outside = path.is_absolute() or ".." in path.parts or PureWindowsPath(name).drive or "\0" in name
            if outside or not path.parts:
                raise ArchiveError(f"{archive}: refused: member {name!r} would be written outside the target folder")
            if path.name.startswith("._") or not keep(str(path)):
                declined.append(name)
                continue
            if (free := free - size) < 0:
                raise ArchiveError(f"{archive}: its members need more than the free space of {part.parent}")
            (part / path).parent.mkdir(parents=True, exist_ok=True)
            source = open_member()
            if source is None:
                raise ArchiveError(f"{archive}: member {name!r} cannot be read")
            with source, (part / path).open("xb") as file:
                shutil.copyfileobj(source, file, 1 << 20)
            if (written := (part / path).stat().st_size) != size:
                raise ArchiveError(f"{archive}: member {name!r} has {written} bytes, its header says {size}")
    if declined and not any(part.iterdir()):
        raise ArchiveError(
            f"{archive}: none of its {len(declined)} members is wanted; the first is {declined[0]!r}. "
            "Archives within archives are not unpacked by this version: unpack them, and give the folder"
        )


def _members(archive: Path) -> Generator[_Member, None, None]:
    with archive.open("rb") as file:
        rar = file.read(4) == b"Rar!"
    if rar:
        raise ArchiveError(
            f"{archive}: RAR archives cannot be unpacked by this version: unpack it with `unar` "
            "(apt install unar), then the class archives inside it, and give the folder"
        )
    # A tar is known by its beginning, a zip by its end: a tar may well end with a zip inside it.
    if tarfile.is_tarfile(archive):
        with tarfile.open(archive, tarinfo=_TarInfo) as tar_file:
            for member in tar_file:
                if not (member.isfile() or member.isdir()):
                    raise ArchiveError(f"{archive}: refused: member {member.name!r} is a link or a device")
                if member.isfile():
                    yield member.name, member.size, functools.partial(tar_file.extractfile, member)
    elif zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zip_file:
            for info in zip_file.infolist():
                if stat.S_ISLNK(info.external_attr >> 16):
                    raise ArchiveError(f"{archive}: refused: member {info.filename!r} is a link")
                if not info.filename.endswith(("/", "\\")):
                    yield info.filename, info.file_size, functools.partial(zip_file.open, info)
    else:
        raise ArchiveError(f"{archive}: not a zip or tar archive, or one that was cut short")
