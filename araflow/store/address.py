"""From what a user names an output by, a folder or an address such as ``s3://bucket/folder``, to what lies there."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, cast

from araflow.core.addresses import check_open, local, masked
from araflow.core.errors import OutputError, UnavailableError
from araflow.store.local import LocalPlace
from araflow.store.place import Place
from araflow.store.store import Store

_S3_CLIENT = {
    "connect_timeout": 10,
    "read_timeout": 20,
    "retries": {"mode": "standard", "total_max_attempts": 4},
}
"""In seconds."""


def is_remote(out: str) -> bool:
    """Whether an output is an address, and not a folder; ``file:///folder`` is a folder."""
    return "://" in local(out)


def open_place(out: str | Path) -> Place:
    """Return the place at a folder or an address.

    Args:
        out: Its name, or a path as ``open_path`` gives it.

    Raises:
        UnavailableError: What reaches the address is not installed.
        OutputError: The address cannot be one.
    """
    if isinstance(out, str):
        out = local(out)
    return _open_remote(str(out)) if is_remote(str(out)) else LocalPlace(Path(out))


def _open_remote(url: str) -> Place:
    from araflow.store.remote import AT_ONCE, REMEDY, RemotePlace

    if url.lower().startswith(("file:", "local:")):
        raise OutputError(f"out: {url}: a folder of this machine is named by its path, or as file:///path")
    try:
        check_open(url)
    except ValueError as error:
        raise OutputError(f"out: {masked(url)}: {error}") from None
    try:
        from upath import UPath

        # A listing that is kept would not show what other machines write.
        options: dict[str, Any] = {"use_listings_cache": False}
        if url.startswith(("s3://", "s3a://")):
            # Else each small object would be asked for its size before it is read.
            options |= {"config_kwargs": {**_S3_CLIENT, "max_pool_connections": AT_ONCE}, "max_concurrency": 1}
        root = UPath(url.rstrip("/"), **options)
        _ = root.fs
    except ImportError as error:
        raise UnavailableError(f"out: {url} needs fsspec's libraries: pip install 'araflow[s3]' ({error})") from error
    except (OSError, ValueError) as error:
        raise OutputError(f"out: {url}: {error}; {REMEDY}") from error
    return RemotePlace(cast(Path, root))


def open_store(out: str | Path) -> Store:
    """Return the output at a folder or an address; see ``open_place``."""
    return Store(open_place(out))


def open_path(text: str) -> Path:
    """Return the path of a file or folder, or of an address, which has a path's methods; see ``open_place``."""
    return open_place(text).root


def reached(path: Path) -> contextlib.AbstractContextManager[None]:
    """Turn what goes wrong at an address into an ``OutputError``; leave what goes wrong in a folder alone."""
    return open_place(path).reached()
