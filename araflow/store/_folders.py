"""A folder in the place of another, on one disk: at once by renames, or file by file where others' files lie there."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG}
_TAKEN = {errno.ENOTEMPTY, errno.EEXIST}


def move_aside(folder: Path, aside: Path) -> bool:
    """Move a folder away, and say whether it was there."""
    try:
        folder.rename(aside)
    except OSError as error:
        if error.errno not in ABSENT or not aside.parent.is_dir():
            raise
        return False  # there is none, or another process was faster
    return True


def rename(draft: Path, final: Path) -> bool:
    """Give a folder its name, and say whether that was free."""
    try:
        draft.rename(final)
    except OSError as error:
        if error.errno not in _TAKEN:
            raise
        return False
    return True


def move_into(folder: Path, empty: Path) -> None:
    """Move a folder to where there is none, or an empty one."""
    with contextlib.suppress(FileNotFoundError):
        empty.rmdir()
    folder.rename(empty)


def merge(draft: Path, final: Path, *, last: str, goes: Collection[str], before: Callable[[], None]) -> None:
    """Have a draft's files take their places in a folder, one file last, beside what stays there.

    Raises:
        FileExistsError: Something has come to a place meanwhile; it stays.
        OSError: A file cannot be written or removed.
    """
    remove_files(final, goes, first=last)
    final.mkdir(exist_ok=True)
    for path in sorted(path for path in draft.rglob("*") if not path.is_dir() and path != draft / last):
        _place(path, final / path.relative_to(draft))
    before()
    _place(draft / last, final / last)


def _place(path: Path, final: Path) -> None:
    final.parent.mkdir(exist_ok=True)
    if os.path.lexists(final):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(final))
    path.rename(final)


def remove_files(folder: Path, names: Iterable[str], *, first: str) -> None:
    """Remove files below a folder, one before the others, and then the folders that are empty by that.

    Raises:
        OSError: One cannot be removed.
    """
    around = {folder}
    for name in sorted(names, key=lambda name: (name != first, name)):
        (folder / name).unlink(missing_ok=True)
        around.add((folder / name).parent)
    for one in sorted(around, reverse=True):
        with contextlib.suppress(OSError):  # it holds others
            one.rmdir()


def remove_aside(aside: Path, final: Path, goes: Collection[str]) -> None:
    """Remove a folder that was moved aside; what has come there between the look and the move goes back."""
    for path in sorted(path for path in aside.rglob("*") if not path.is_dir() or path.is_symlink()):
        name = path.relative_to(aside).as_posix()
        if name not in goes and not os.path.lexists(final / name):
            (final / name).parent.mkdir(parents=True, exist_ok=True)
            path.rename(final / name)
    shutil.rmtree(aside)
