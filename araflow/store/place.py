"""Where an output lies: a ``Place`` is all that differs between a folder and object storage.

``local.py`` and ``remote.py`` have one each.

What is there is named from the output, with ``/``, such as ``clips/walk/one/rgb/0000.png``; the output itself is
``""``. Unreadable is an error, never absent.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Protocol, TypeVar

from araflow.store._sessions import Sessions

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class Place(Protocol):
    """Where an output lies. Making one touches nothing.

    Every method raises ``OutputError`` where the place cannot be reached or read.
    """

    @property
    def root(self) -> Path:
        """The output; of an address, a path of universal-pathlib, which has the methods of ``Path``."""

    @property
    def at_once(self) -> int:
        """How many things are best asked for at once: 1 where an answer comes at once."""

    @property
    def renames(self) -> bool:
        """Whether a folder in which nothing stays appears, and goes, all at once."""

    @property
    def sessions(self) -> Sessions:
        """The processes of this machine that write here, in a folder on this machine."""

    def reached(self) -> contextlib.AbstractContextManager[None]:
        """Turn what goes wrong on the way to an address into an ``OutputError``; leave a folder's errors alone."""

    def shown(self, path: Path) -> str:
        """Return how a local path is named from the output; from the root, where it does not lie there."""

    def exists(self, name: str) -> bool:
        """Whether there is such a file or folder."""

    def read(self, name: str) -> bytes | None:
        """Return a file's content; ``None`` where there is none."""

    def open(self, name: str) -> BinaryIO | None:
        """Open a file to read any part of it; ``None`` where there is none."""

    def read_timed(self, name: str, *, ask: bool = True) -> tuple[bytes, float | None] | None:
        """Return a file's content, and when it was written, in seconds since 1970; ``None`` where there is none.

        Args:
            name: The file.
            ask: Ask for the time, too, where that takes a question of its own; else it is ``None`` there.
        """

    def sizes(self, folder: str, *, deep: bool = True) -> dict[str, int]:
        """Return the files below a folder, named from there, with sizes in bytes; none where there is no folder.

        A link counts as a file, and is not followed to a folder. Where there are folders, one that holds nothing is
        told as a file of no bytes.

        Args:
            folder: The folder.
            deep: All of them; else those right below it.
        """

    def links(self, folder: str, *, deep: bool = True) -> set[str]:
        """Return what below a folder is neither a file nor a folder, such as a link; named as by ``sizes``."""

    def mixes_up(self, one: str, other: str) -> bool:
        """Whether a file of one name would be found by the other name, too, as where case is ignored."""

    def cannot_hold(self, name: str) -> bool:
        """Whether no file can have this name here, as ``a:b`` on exFAT, or would get another, as ``a.`` on FAT."""

    def holders(self, folder: str, file: str) -> Iterator[str]:
        """Yield the folders below a folder that hold a file of this name, named from there; none within another."""

    def check_folder(self, name: str) -> None:
        """Make sure that what is named is a folder, or absent, and nothing on the way to it is a link or a file.

        Whatever writes or removes here goes through no link, either.

        Raises:
            OutputError: Something is; the message names it.
        """

    def replace(self, name: str, content: bytes) -> None:
        """Write a file whole or not at all; leave it untouched if it says the same already."""

    def put_file(self, draft: Path, name: str, before: Callable[[], None]) -> None:
        """Have a local file appear here, in the place of what there is.

        Args:
            draft: The file, which is gone afterwards.
            name: What it becomes.
            before: Called when whatever needs space is done, just before it appears.

        Raises:
            OSError: It cannot be written.
        """

    def put_folder(
        self,
        draft: Path,
        name: str,
        *,
        last: str,
        goes: Collection[str],
        keep: Collection[str],
        there: Collection[str],
        before: Callable[[], None],
    ) -> bool:
        """Have a local folder appear here whole, in the place of what goes: with one file last, or all at once.

        Args:
            draft: The folder; none of its files is one of those that stay.
            name: What it becomes.
            last: Its file that shall not be seen before all the others are there.
            goes: Files of what there is that the draft's take the place of, named from there; all others stay.
            keep: Folders right below that stay, too, but may be moved: nobody else's; in the draft, they are empty.
            there: What ``sizes`` says of ``name``.
            before: Called just before it appears.

        Returns:
            ``False`` where another process was faster: look again.

        Raises:
            OSError: It cannot be written.
        """

    def remove(self, names: Iterable[str]) -> None:
        """Remove files, if they are there."""

    def remove_folder(
        self, name: str, aside: Path, *, first: str, goes: Collection[str], there: Collection[str]
    ) -> None:
        """Remove files of a folder, with one file first, or all at once; what is empty then goes, too.

        Args:
            name: The folder.
            aside: A local path to which it may be moved meanwhile.
            first: Its file that shall not be seen when others are gone.
            goes: See ``put_folder``.
            there: See ``put_folder``.

        Raises:
            OSError: It cannot be removed.
        """

    def remove_empty(self, folder: str) -> None:
        """Remove a folder and those around it that hold nothing, up to one that lies right below the output."""

    def map(self, function: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
        """Yield what a function that looks into the place returns for each item, in their order."""

    def held(self, session_id: str) -> contextlib.AbstractContextManager[None]:
        """Keep other machines' runs away while a session of this one holds ``sessions``' lock."""

    def check_held(self, session_id: str) -> None:
        """Make sure that no other run has taken the place from this one."""

    def is_held(self, session_id: str | None = None) -> bool:
        """Whether a run on any machine holds the place, as far as the place itself says; or this session's."""
