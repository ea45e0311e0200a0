"""Unpack zip, tar and RAR archives safely: no member leaves its folder, and no wrong byte goes unnoticed.

Every member is held against the size and the checksum that the archive declares for it, whatever tool unpacked it.
Names that lead elsewhere are refused; links and devices are left out and named, AppleDouble files left out and counted.
The choice of RAR tools is in ``_rar_tools.py``.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path

from araflow.acquire.archives import _marks
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
    "remarks",
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

_NAMED = 3
"""Links and devices that a message names."""


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
        left_out: Links and devices, of which none is ever made: what each is, by its name.
        remarks: What else people should know of the archive.
    """

    files: int
    bytes: int
    declined: int
    dropped: int
    kind: str
    how: str
    left_out: dict[str, str]
    remarks: list[str]


def is_archive(path: Path) -> bool:
    """Whether a file is a zip, tar (plain, gzip, bzip2, xz) or RAR archive, by its first bytes.

    Raises:
        ArchiveError: The file cannot be read.
    """
    return path.is_file() and _kind(path) is not None


def open_archive(path: Path, encoding: str = "") -> Archive:
    """Open an archive by its first bytes, whatever its name; use it in a ``with`` statement.

    Args:
        path: The archive; it may stand behind a program that unpacks it.
        encoding: Of names that do not say what they are written in, such as ``cp932``; empty: UTF-8 where they are
            that, else what the format has as a rule, which is remarked.

    Raises:
        ArchiveError: Not an archive, damaged, encrypted, or (RAR) with a member that is not safe to write.
    """
    kind = _kind(path)
    if kind is None:
        raise ArchiveError(f"{path}: not a zip, tar or RAR archive, or one that was cut short")
    return kind(path, encoding)


def unpack(path: Path, target: Path, wants: Callable[[str], bool] = lambda _: True, *, encoding: str = "") -> Unpacked:
    """Unpack an archive into a folder that appears complete or not at all.

    Args:
        path: The archive.
        target: The folder to make; may be there if it is empty.
        wants: Called with each member's name (with ``/``); says whether it is wanted.
        encoding: As for ``open_archive``.

    Returns:
        What was done.

    Raises:
        ArchiveError: ``target`` holds something; the archive is damaged, unsafe, encrypted, larger than the free space,
            or has no member that is wanted; or no tool here can unpack it.
    """
    with open_archive(path, encoding) as archive:
        try:
            if target.exists() and not (target.is_dir() and not any(target.iterdir())):
                raise ArchiveError(
                    f"{path}: cannot be unpacked into {target}: it is not an empty folder; name a new one"
                )
            place = target.resolve()  # through a link, or "."
            place.parent.mkdir(parents=True, exist_ok=True)
            with scratch(place) as part:
                written = archive.extract(wants, part)
                if not written and (archive.declined or archive.left_out):
                    links = f"; links and devices are left out: {_named(archive.left_out)}" if archive.left_out else ""
                    raise ArchiveError(f"{path}: none of its {archive.declined:,} members is wanted{links}")
                part.rename(place)  # fails if another process has put something there meanwhile
        except OSError as error:
            raise ArchiveError(f"{path}: cannot be unpacked into {target}: {error}") from error
        size = sum(member.size for member in written)
        return Unpacked(
            files=len(written),
            bytes=size,
            declined=archive.declined,
            dropped=archive.dropped,
            kind=archive.kind,
            how=archive.how,
            left_out=archive.left_out,
            remarks=archive.remarks,
        )


def may_be_good(error: ArchiveError) -> bool:
    """Whether an archive may be whole though it was not unpacked: for want of a tool or of room, or for a disk."""
    cause = error.__cause__  # what a decompressor says of damage can be an OSError, too, but without a number
    return isinstance(error, NoToolError) or (isinstance(cause, OSError) and cause.errno is not None)


def remarks(archive: Archive | Unpacked, wants: Callable[[str], bool] = lambda _: True) -> list[str]:
    """Return lines for people: which wanted links and devices were left out, and what else there is to know."""
    wanted = {name: what for name, what in archive.left_out.items() if wants(name)}
    return [*([f"left out: {_named(wanted)}"] if wanted else []), *archive.remarks]


def _named(left_out: dict[str, str]) -> str:
    """Return words for links and devices, the first few by name."""
    named = [f"{name!r} ({what})" for name, what in itertools.islice(left_out.items(), _NAMED)]
    more = len(left_out) - len(named)
    return ", ".join(named) + (f", and {more:,} more" if more else "")


def _kind(path: Path) -> Callable[[Path, str], Archive] | None:
    """What opens the file. Formats are imported when one is met: most commands open no archive."""
    try:
        with open_file(path) as file:
            head = file.read(8)
        program = _marks.is_program(head)
        if head.startswith((_marks.RAR4, _marks.RAR5)) or (program and _marks.rar_begin(path)):
            from araflow.acquire.archives._rar import RarArchive

            return RarArchive
        if head.startswith(_marks.ZIP) or program or path.suffix.lower() == ".zip":
            from araflow.acquire.archives._zip import ZipArchive, has_end

            if head.startswith(_marks.ZIP) or has_end(path):
                return ZipArchive
        from araflow.acquire.archives._tar import TarArchive, is_tar

        return TarArchive if is_tar(path) else None
    except OSError as error:
        raise ArchiveError(f"{path}: cannot be read: {error.strerror or error}") from error
