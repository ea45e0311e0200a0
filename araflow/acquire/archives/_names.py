"""Which member names are safe to write, for all kinds of archives alike, and what names in unknown letters are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NoReturn

from araflow.core.errors import ArchiveError, brief

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_NOT_TEXT = re.compile(r"[\ud800-\udfff]")
_DRIVE = re.compile(r"[A-Za-z]:")
_ESCAPED = re.compile(r"[\udc80-\udcff]")  # what `surrogateescape` makes of bytes that are not UTF-8
_APPLE = re.compile(r"(?:^|/)(?:\._[^/]*$|__MACOSX(?:/|$))")
_LONGEST_NAME, _LONGEST_PART, _DEEPEST = 4000, 255, 64
"""Bytes of a name and of a part of it, as file systems have them, and folders within folders."""
_MOST = 4_000_000
"""Members of one archive; each takes a file of the disk, and its name some memory."""


class Names:
    """Judges the names of one archive, one after another.

    Attributes:
        dropped: AppleDouble and ``__MACOSX`` members so far.
        left_out: Links and devices so far: what each is, by its name.
        remarks: What else people should know of the archive.
    """

    def __init__(self, archive: Path) -> None:
        self._archive = archive
        self._files: set[str] = set()
        self._folders: set[str] = {""}
        self._seen = self.dropped = 0
        self.left_out: dict[str, str] = {}
        self.remarks: list[str] = []

    def file(self, name: str) -> str | None:
        r"""Return a regular file's name as a relative path with ``/``; ``None`` where it is to be left out.

        ``\`` parts folders, as archivers on Windows write it; ``./`` is taken away.

        Raises:
            ArchiveError: The name leads elsewhere, holds control characters, or is taken by another member.
        """
        safe = self._relative(name)
        if not safe:
            self.refuse(name, "has an empty name")
        if _APPLE.search(safe):
            self.dropped += 1
            return None
        if safe in self._files:
            self.refuse(name, "is there twice")
        if safe in self._folders:
            self.refuse(name, "is a file where another member needs a folder")
        self._files.add(safe)
        self._folder(name, safe.rpartition("/")[0])
        return safe

    def leave_out(self, name: str, what: str) -> None:
        """Judge the name of a link or a device, and keep it for those who ask; none is ever made.

        Raises:
            ArchiveError: As for ``file``.
        """
        if (safe := self.file(name)) is not None:
            self.left_out[safe] = what

    def linked(self, name: str) -> str:
        """Return the name that a link within the archive leads to; empty where it leads out of it."""
        parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
        return "" if ".." in parts or name.startswith(("/", "\\")) else "/".join(parts)

    def text(self, name: str) -> str:
        """Return a name whose bytes that are not UTF-8 were escaped: as Windows-1252 where there are some, remarked."""
        if not _ESCAPED.search(name):
            return name
        self.guess("windows-1252")
        return name.encode("utf-8", "surrogateescape").decode("windows-1252", "replace")

    def guess(self, encoding: str) -> None:
        """Remark once that names are read in an encoding that the archive does not name."""
        remark = (
            f"names that are not UTF-8 are read as {encoding}; where they look wrong, name another: "
            "araflow unpack … --names cp932"
        )
        if remark not in self.remarks:
            self.remarks.append(remark)

    def folder(self, name: str) -> None:
        """Judge a folder's name; folders are made where files need them.

        Raises:
            ArchiveError: As for ``file``.
        """
        self._folder(name, self._relative(name))

    def refuse(self, name: str, why: str) -> NoReturn:
        """Raise the error for a member that is not safe to write.

        Raises:
            ArchiveError: Always.
        """
        raise ArchiveError(f"{self._archive}: refused: member {brief(repr(name))} {why}")

    def _relative(self, name: str) -> str:
        """Return a name with ``/``, without ``.`` and empty parts; empty for the target folder itself."""
        self._seen += 1
        if self._seen > _MOST:
            raise ArchiveError(f"{self._archive}: refused: it has more than {_MOST:,} members")
        if _CONTROL.search(name):
            self.refuse(name, "has control characters in its name")
        if _NOT_TEXT.search(name):
            self.refuse(name, "has a name that is not valid UTF-8")
        path = name.replace("\\", "/")
        parts = [part for part in path.split("/") if part not in ("", ".")]
        if path.startswith("/") or ".." in parts or (parts and _DRIVE.match(parts[0])):
            self.refuse(name, "would be written outside the target folder")
        sizes = [len(part.encode()) for part in parts]
        if max(sizes, default=0) > _LONGEST_PART or sum(sizes) + len(sizes) > _LONGEST_NAME:
            self.refuse(name, "has too long a name")
        if len(parts) > _DEEPEST:
            self.refuse(name, f"lies more than {_DEEPEST} folders deep")
        return "/".join(parts)

    def _folder(self, name: str, folder: str) -> None:
        while folder not in self._folders:
            if folder in self._files:
                self.refuse(name, f"needs a folder where {folder!r} is a file")
            self._folders.add(folder)
            folder = folder.rpartition("/")[0]
