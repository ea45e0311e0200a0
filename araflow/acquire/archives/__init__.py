"""Unpack zip, tar and RAR archives safely: no member leaves its folder, and no wrong byte goes unnoticed.

Every member is held against the size and the checksum that the archive declares for it, whatever tool unpacked it.
Links, devices, and names that lead elsewhere are refused; AppleDouble files are left out and counted. ``docs``: the
choice of RAR tools is in ``_rar_tools.py``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from araflow.acquire.archives._base import Archive, Member
from araflow.acquire.archives._output import scratch
from araflow.core.errors import ArchiveError, NoToolError
from araflow.core.reading import open_file

__all__ = [
    "ARCHIVE_SUFFIXES",
    "Archive",
    "Member",
    "Unpacked",
    "is_archive",
    "may_be_good",
    "open_archive",
    "scratch",
    "unpack",
]

ARCHIVE_SUFFIXES: tuple[str, ...] = (
    ".rar",
    ".zip",
    ".tar",
    ".tar.gz",
    ".tgz",
    ".tar.bz2",
    ".tbz2",
    ".tar.xz",
    ".txz",
)
"""How the names of archives end, in lower case. Names only suggest: ``open_archive`` goes by the first bytes."""

_RAR_MAGIC = (b"Rar!\x1a\x07\x00", b"Rar!\x1a\x07\x01\x00")  # of RAR 1.5 to 4, and of RAR5
_ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")  # with members, and empty


@dataclasses.dataclass(frozen=True, slots=True)
class Unpacked:
    """What ``unpack`` did.

    Attributes:
        files: Members written.
        bytes: Their size in all.
        declined: Members that were not wanted.
        dropped: AppleDouble and ``__MACOSX`` members left out.
        kind: ``zip``, ``tar``, ``rar4`` or ``rar5``.
        how: What unpacked it: ``zipfile``, ``tarfile``, ``rarfile``, the name of a tool, or several.
    """

    files: int
    bytes: int
    declined: int
    dropped: int
    kind: str
    how: str


def is_archive(path: Path) -> bool:
    """Whether a file is a zip, tar (plain, gzip, bzip2, xz) or RAR archive, by its first bytes.

    Raises:
        ArchiveError: The file cannot be read.
    """
    return path.is_file() and _kind(path) is not None


def open_archive(path: Path) -> Archive:
    """Open an archive by its first bytes, whatever its name; use it in a ``with`` statement.

    Raises:
        ArchiveError: Not an archive, damaged, encrypted, or (RAR) with a member that is not safe to write.
    """
    kind = _kind(path)
    if kind is None:
        raise ArchiveError(f"{path}: not a zip, tar or RAR archive, or one that was cut short")
    return kind(path)


def unpack(path: Path, target: Path, wants: Callable[[str], bool] = lambda _: True) -> Unpacked:
    """Unpack an archive into a folder that appears complete or not at all.

    Args:
        path: The archive.
        target: The folder to make; may be there if it is empty.
        wants: Called with each member's name (with ``/``); says whether it is wanted.

    Returns:
        What was done.

    Raises:
        ArchiveError: ``target`` holds something; the archive is damaged, unsafe, encrypted, larger than the free space,
            or has no member that is wanted; or no tool here can unpack it.
    """
    with open_archive(path) as archive:
        try:
            if target.exists() and not (target.is_dir() and not any(target.iterdir())):
                raise ArchiveError(
                    f"{path}: cannot be unpacked into {target}: it is not an empty folder; name a new one"
                )
            place = target.resolve()  # through a link, or "."
            place.parent.mkdir(parents=True, exist_ok=True)
            with scratch(place) as part:
                written = archive.extract(wants, part)
                if archive.declined and not written:
                    raise ArchiveError(f"{path}: none of its {archive.declined:,} members is wanted")
                part.rename(place)  # fails if another process has put something there meanwhile
        except OSError as error:
            raise ArchiveError(f"{path}: cannot be unpacked into {target}: {error}") from error
        size = sum(member.size for member in written)
        return Unpacked(len(written), size, archive.declined, archive.dropped, archive.kind, archive.how)


def may_be_good(error: ArchiveError) -> bool:
    """Whether an archive may be whole though it was not unpacked: for want of a tool or of room, or for a disk."""
    cause = error.__cause__  # what a decompressor says of damage can be an OSError, too, but without a number
    return isinstance(error, NoToolError) or (isinstance(cause, OSError) and cause.errno is not None)


def _kind(path: Path) -> Callable[[Path], Archive] | None:
    """What opens the file. Formats are imported when one is met: most commands open no archive."""
    try:
        with open_file(path) as file:
            head = file.read(8)
        if head.startswith(_RAR_MAGIC):
            from araflow.acquire.archives._rar import RarArchive

            return RarArchive
        if head.startswith(_ZIP_MAGIC):
            from araflow.acquire.archives._zip import ZipArchive

            return ZipArchive
        from araflow.acquire.archives._tar import TarArchive, is_tar

        return TarArchive if is_tar(path) else None
    except OSError as error:
        raise ArchiveError(f"{path}: cannot be read: {error.strerror or error}") from error
