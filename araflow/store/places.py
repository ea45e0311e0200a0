"""Folders and addresses: which of both an output lies in, and reading and writing there in one way."""

from __future__ import annotations

import contextlib
import os
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from araflow.store.store import Store


def open_store(out: str) -> Store:
    """Return the output at a folder, or at an address such as ``s3://bucket/folder``.

    Raises:
        UnavailableError: What reaches the address is not installed.
        OutputError: The address cannot be one.
    """
    if not is_remote(out):
        from araflow.store.store import Store

        return Store(Path(out))
    from araflow.store.remote import open_remote

    return open_remote(out)


def is_remote(out: str) -> bool:
    """Whether an output is an address, and not a folder."""
    return "://" in out


def open_path(text: str) -> Path:
    """Return the path of a file or folder, or of an address, which has a path's methods; see ``open_store``."""
    return open_store(text).out


def reached(path: Path) -> contextlib.AbstractContextManager[None]:
    """Turn what goes wrong at an address into an ``OutputError``; leave what goes wrong in a folder alone."""
    if isinstance(path, Path):
        return contextlib.nullcontext()
    from araflow.store.remote import RemoteStore

    return RemoteStore(path).reached()


class Found(NamedTuple):
    """A file that ``scan`` found."""

    name: str
    size: int
    path: Path


def scan(folder: Path) -> dict[str, list[Found]]:
    """List the files in each folder of a clip, which lies in a folder or at an address, sorted by name.

    Raises:
        OSError: A folder cannot be read.
        OutputError: The address cannot be reached.
    """
    listed: dict[str, list[Found]] = defaultdict(list)
    if isinstance(folder, Path):
        for kind in (entry for entry in os.scandir(folder) if entry.is_dir()):
            listed[kind.name] += [
                Found(entry.name, entry.stat().st_size, Path(entry.path)) for entry in os.scandir(kind)
            ]
    else:
        with reached(folder):
            found = folder.fs.find(folder.path, detail=True)
        for path, info in found.items():
            *_, kind, name = path.split("/")
            listed[kind].append(Found(name, int(info["size"]), folder / kind / name))
    return {kind: sorted(own) for kind, own in listed.items()}
