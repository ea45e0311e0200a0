"""From what a user names an output by, a folder or an address such as ``s3://bucket/folder``, to what lies there."""

from __future__ import annotations

import contextlib
from pathlib import Path

from araflow.store.place import LocalPlace, Place
from araflow.store.store import Store


def is_remote(out: str) -> bool:
    """Whether an output is an address, and not a folder."""
    return "://" in out


def open_place(out: str | Path) -> Place:
    """Return the place at a folder or an address.

    Args:
        out: Its name, or a path as ``open_path`` gives it.

    Raises:
        UnavailableError: What reaches the address is not installed.
        OutputError: The address cannot be one.
    """
    if not is_remote(str(out)):
        return LocalPlace(Path(out))
    from araflow.store.remote import open_remote

    return open_remote(str(out))


def open_store(out: str | Path) -> Store:
    """Return the output at a folder or an address; see ``open_place``."""
    return Store(open_place(out))


def open_path(text: str) -> Path:
    """Return the path of a file or folder, or of an address, which has a path's methods; see ``open_place``."""
    return open_place(text).root


def reached(path: Path) -> contextlib.AbstractContextManager[None]:
    """Turn what goes wrong at an address into an ``OutputError``; leave what goes wrong in a folder alone."""
    return open_place(path).reached()
