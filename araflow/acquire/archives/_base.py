"""What every kind of archive offers, and the part of it that is the same for all."""

from __future__ import annotations

import abc
import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Self

from araflow.acquire.archives._names import Names
from araflow.acquire.archives._output import Output
from araflow.core.errors import ArchiveError

Wants = Callable[[str], bool]
"""Whether a member is wanted; asked once for each member's name."""


@dataclasses.dataclass(frozen=True, slots=True)
class Member:
    """A regular file in an archive.

    Attributes:
        name: Safe relative path with ``/``.
        size: Bytes, as declared; what is written is held against it.
        crc32: As declared; ``None`` where the archive has none (tar; RAR5 with BLAKE2sp).
    """

    name: str
    size: int
    crc32: int | None


class Archive(abc.ABC):
    """An open archive; a context manager.

    Attributes:
        path: The archive's file.
        kind: ``zip``, ``tar``, ``rar4`` (RAR 1.5 to 4) or ``rar5``.
        encoding: Of names that do not say what they are written in; empty: judged by their bytes.
        random_access: Whether single members can be had without reading the others: zip and RAR, but neither tar nor
            solid RAR.
        dropped: AppleDouble (``._*``) and ``__MACOSX`` members that were left out; valid after ``members`` or
            ``extract``.
        left_out: Links and devices, of which none is ever made: what each is, by its name; valid as ``dropped`` is.
        remarks: What else people should know of the archive; valid as ``dropped`` is.
        declined: Members that were not wanted; valid after ``extract``.
        how: What unpacked it: ``zipfile``, ``tarfile``, ``rarfile``, the name of a tool; valid after ``extract``.
    """

    kind: str
    random_access: bool
    dropped: int = 0
    declined: int = 0
    how: str = ""

    def __init__(self, path: Path, encoding: str = "") -> None:
        self.path = path
        self.encoding = encoding
        self.left_out: dict[str, str] = {}
        self.remarks: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the archive's file."""
        return

    @abc.abstractmethod
    def members(self) -> list[Member]:
        """List the regular files, hard links to them included; AppleDouble files are left out. A tar is read through.

        Raises:
            ArchiveError: Damaged, encrypted, or with a member that is not safe to write.
        """

    def extract(self, wants: Wants, folder: Path) -> list[Member]:
        """Write the wanted members, each verified; a tar is read once, from its beginning to its end.

        Args:
            wants: Called with each member's name.
            folder: Where to; made if absent, must be empty. After an error it is empty again.

        Returns:
            What was written.

        Raises:
            ArchiveError: Damaged, unsafe, encrypted, larger than the disk's free space, or no tool here can unpack it.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if any(folder.iterdir()):
                raise ArchiveError(f"{self.path}: cannot be unpacked into {folder}: it is not empty; name a new folder")
            try:
                return self._extract(wants, Output(self.path, folder))
            except BaseException:
                for entry in folder.iterdir():
                    shutil.rmtree(entry, ignore_errors=True) if entry.is_dir() else entry.unlink(missing_ok=True)
                raise
        except OSError as error:
            raise ArchiveError(f"{self.path}: cannot be unpacked: {error}") from error

    def _judged(self, names: Names) -> None:
        """Take over what was found while the names were judged."""
        self.dropped, self.left_out, self.remarks = names.dropped, names.left_out, names.remarks

    @abc.abstractmethod
    def _extract(self, wants: Wants, output: Output) -> list[Member]: ...
