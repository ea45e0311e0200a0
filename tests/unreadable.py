"""What cannot be read: files of araflow's own state, in all ways, and what may not be read or written by this user."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def not_text(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\xff\xfe\x00")


def other_type(path: Path) -> None:
    path.write_text("[1, 2]")


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "somebody's").write_text("notes")


def circle(path: Path) -> None:
    """As a folder without permission, or a disk that fails: the system says no, also to root."""
    path.unlink()
    path.symlink_to(path.name)


def elsewhere(path: Path) -> None:
    """A link to a disk that is not there now."""
    path.unlink()
    path.symlink_to("/not/mounted/now")


WAYS: tuple[Callable[[Path], None], ...] = (cut, empty, not_text, other_type, folder, circle, elsewhere)


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """Root may read and write anywhere, so give that up for a moment."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def content(path: Path) -> object:
    """What lies there, to be compared before and after."""
    if path.is_symlink():
        return path.readlink()
    return sorted(path.iterdir()) if path.is_dir() else path.read_bytes()
