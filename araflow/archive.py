"""Unpack a zip or tar archive safely into a folder that appears whole or not at all.

No member leaves the folder: absolute names, ``..``, links and devices are refused; AppleDouble files are dropped.
RAR archives are refused with the remedy: they need a tool of their own.
"""

from __future__ import annotations

import shutil
import stat
import tarfile
import uuid
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from araflow.errors import ArchiveError

_Member = tuple[str, int, Callable[[], IO[bytes] | None]]


def unpack(archive: Path, target: Path, keep: Callable[[str], bool] = lambda _: True) -> Path:
    """Unpack the members that ``keep`` names.

    Args:
        archive: A zip or tar file (plain, gzip, bzip2 or xz).
        target: Folder to make; if it exists, it is taken as unpacked before and returned.
        keep: Called with each member's name (with ``/``); members it declines are not written.

    Returns:
        ``target``.

    Raises:
        ArchiveError: Not such an archive, damaged, unsafe, or larger than the disk's free space.
    """
    if target.is_dir():
        return target
    part = target.with_name(f"{target.name}.{uuid.uuid4().hex[:8]}.part")
    part.mkdir(parents=True)
    try:
        _unpack(archive, part, keep)
        part.rename(target)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise ArchiveError(f"{archive}: cannot be unpacked: {error}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return target


def _unpack(archive: Path, part: Path, keep: Callable[[str], bool]) -> None:
    free = shutil.disk_usage(part).free
    for name, size, open_member in _members(archive):
        path = PurePosixPath(name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in path.parts[0] or "\0" in name:
            raise ArchiveError(f"{archive}: refused: member {name!r} would be written outside the target folder")
        if path.name.startswith("._") or not keep(str(path)):
            continue
        if (free := free - size) < 0:
            raise ArchiveError(f"{archive}: its members need more than the free space of {part.parent}")
        source = open_member()
        if source is None:
            raise ArchiveError(f"{archive}: member {name!r} cannot be read")
        (part / path).parent.mkdir(parents=True, exist_ok=True)
        with source, (part / path).open("xb") as file:
            shutil.copyfileobj(source, file, 1 << 20)
        if (written := (part / path).stat().st_size) != size:
            raise ArchiveError(f"{archive}: member {name!r} has {written} bytes, its header says {size}")


def _members(archive: Path) -> Iterator[_Member]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zip_file:
            for info in zip_file.infolist():
                if stat.S_ISLNK(info.external_attr >> 16):
                    raise ArchiveError(f"{archive}: refused: member {info.filename!r} is a link")
                if not info.is_dir():
                    yield info.filename, info.file_size, lambda info=info: zip_file.open(info)
    elif tarfile.is_tarfile(archive):
        with tarfile.open(archive) as tar_file:
            for member in tar_file:
                if not (member.isfile() or member.isdir()):
                    raise ArchiveError(f"{archive}: refused: member {member.name!r} is a link or a device")
                if member.isfile():
                    yield member.name, member.size, lambda member=member: tar_file.extractfile(member)
    elif archive.open("rb").read(4) == b"Rar!":
        raise ArchiveError(
            f"{archive}: RAR archives cannot be unpacked by this version: unpack it with `unar` "
            "(apt install unar), then the class archives inside it, and give the folder"
        )
    else:
        raise ArchiveError(f"{archive}: not a zip or tar archive")
