"""Where members are written to: within their declared size, within the free space, and held against their checksum."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from isal import isal_zlib

from araflow.core.errors import ArchiveError
from araflow.core.files import draft_name, is_draft

try:
    import fcntl
except ImportError:  # Windows: what a killed run leaves there is not cleared away
    fcntl = None  # type: ignore[assignment]

CHUNK = 1 << 20
"""Bytes read at a time, so that memory does not grow with a member's size."""

MARGIN = 16 << 20
"""Bytes of free space that unpacking leaves alone."""

_BLOCK = 4096  # a file of one byte takes a block of the disk


class Checksum(Protocol):
    """A running checksum, as ``hashlib`` has them."""

    def update(self, data: bytes, /) -> object:
        """Take in the next bytes."""

    def digest(self) -> object:
        """Return the checksum of all bytes so far."""


class Crc32:
    """CRC-32 with the interface of ``hashlib``."""

    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes, /) -> None:
        """Take in the next bytes."""
        self._value = isal_zlib.crc32(data, self._value)

    def digest(self) -> int:
        """Return the checksum of all bytes so far."""
        return self._value


def checksum(crc32: int | None, blake2sp: bytes | None) -> tuple[object, Checksum]:
    """Return what a member's checksum must come to, and the one to compute."""
    if crc32 is not None:
        return crc32, Crc32()
    import rarfile  # type: ignore[import-untyped] # only RAR5 has this checksum

    return blake2sp, rarfile.Blake2SP()


class Output:
    """An empty folder that members are written into.

    Args:
        archive: Named in errors.
        folder: Must be empty, and nobody else's.
    """

    def __init__(self, archive: Path, folder: Path) -> None:
        self.archive = archive
        self.folder = folder
        self._free = shutil.disk_usage(folder).free - MARGIN
        disk = os.statvfs(folder)
        self._files = disk.f_favail if disk.f_files else sys.maxsize  # some file systems count none
        self._made = {""}

    def reserve(self, size: int) -> None:
        """Count a member's declared size against the free space.

        Raises:
            ArchiveError: The members declared so far do not fit.
        """
        self._free -= -(-size // _BLOCK) * _BLOCK
        self._files -= 1
        if self._files < 0:
            raise ArchiveError(
                f"{self.archive}: has more members than files can be made in {self.folder.parent}: name a folder on "
                "another disk"
            ) from OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if self._free < 0:
            raise ArchiveError(
                f"{self.archive}: its members need more than the free space of {self.folder.parent}: at least "
                f"{-self._free:,} bytes more. Free some, or name a folder on another disk"
            ) from OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def place(self, name: str) -> str:
        """Return the path of a member, with the folder above it made."""
        self._make(name.rpartition("/")[0])
        return f"{self.folder}/{name}"

    def _make(self, folder: str) -> None:
        if folder not in self._made:
            self._make(folder.rpartition("/")[0])
            with self._one_name_a_place(folder):
                Path(self.folder, folder).mkdir()
            self._made.add(folder)

    @contextlib.contextmanager
    def _one_name_a_place(self, name: str) -> Iterator[None]:
        """Refuse a disk on which two names are one file or folder: names that differ in case or Unicode form alone."""
        try:
            yield
        except FileExistsError:
            raise ArchiveError(
                f"{self.archive}: member {name!r} is there twice, as the disk of {self.folder.parent} sees it: names "
                "differ in case or Unicode form alone. Name a folder on a disk that tells them apart"
            ) from None

    def write(
        self, name: str, size: int, chunks: Iterable[bytes], expected: object = None, checksum: Checksum | None = None
    ) -> None:
        """Write one member; never more than ``size`` bytes.

        Args:
            name: Safe relative path.
            size: Bytes, as declared.
            chunks: The content.
            expected: What ``checksum`` must come to; ``None``: the archive has no checksum for it.
            checksum: CRC-32 if not given.

        Raises:
            ArchiveError: The content is longer or shorter, or its checksum differs.
        """
        checksum = checksum or Crc32()
        left = size
        # Plain descriptors: a file object costs as much as the rest for a member of some kilobytes.
        place = self.place(name)
        with self._one_name_a_place(name):
            file = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            for chunk in chunks:
                left -= len(chunk)
                if left < 0:
                    raise ArchiveError(f"{self.archive}: member {name!r} is longer than the {size:,} bytes it declares")
                if expected is not None:
                    checksum.update(chunk)
                view = memoryview(chunk)
                while view:
                    view = view[os.write(file, view) :]
        finally:
            os.close(file)
        if left:
            raise ArchiveError(
                f"{self.archive}: member {name!r} has {size - left:,} bytes, its header says {size:,}: "
                "damaged or cut short"
            )
        if expected is not None and checksum.digest() != expected:
            raise ArchiveError(f"{self.archive}: member {name!r} is damaged: its checksum differs from its header's")

    def copy(self, source: str, name: str, size: int) -> None:
        """Write one member with the content of another, which was written and verified."""
        with Path(self.folder, source).open("rb") as file:
            self.write(name, size, iter(lambda: file.read(CHUNK), b""))

    def discard(self, name: str) -> None:
        """Remove a member that was written only to be copied, and the folders that it alone has needed."""
        path = self.folder / name
        path.unlink()
        for folder in path.parents:
            if folder == self.folder or any(folder.iterdir()):
                return
            folder.rmdir()
            self._made.discard(folder.relative_to(self.folder).as_posix())

    def adopt(self, path: Path, name: str) -> None:
        """Take a file that a tool has written, and that was verified, as a member."""
        place = self.place(name)
        with self._one_name_a_place(name):
            if os.path.lexists(place):
                raise FileExistsError
        path.rename(place)


@contextlib.contextmanager
def scratch(beside: Path) -> Iterator[Path]:
    """Make an empty folder beside a path, on the same disk, and remove it with all it holds.

    The folder is locked while it is in use, so that what a killed run left behind is known and cleared away.
    """
    for left in [path for path in beside.parent.iterdir() if is_draft(path.name)]:
        with _locked(left) as free:
            if free:
                remove(left)
    with contextlib.ExitStack() as held:
        while True:
            folder = beside.with_name(draft_name())
            folder.mkdir(mode=0o700)
            held.callback(remove, folder)
            held.enter_context(_locked(folder))
            if folder.exists():  # else another process took it for a killed run's
                break
        (folder / "files").mkdir()
        yield folder / "files"


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Lock a folder and say whether that was possible: not if it is another's, gone, or its disk has no locks."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        yield False
        return
    try:
        locked = False
        with contextlib.suppress(OSError, AttributeError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            locked = True
        yield locked
    finally:
        os.close(handle)


def remove(folder: Path) -> None:
    """Remove a folder, also where a tool has taken the permissions of folders inside it."""
    for root, folders, _ in os.walk(folder):
        for name in folders:
            inner = Path(root, name)
            if stat.S_ISDIR(inner.lstat().st_mode):
                inner.chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)
