"""Looking into an output in object storage, many objects at once, and without changing any."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

from araflow.core.files import PROOF
from araflow.store.remote import RemoteStore

_AT_ONCE = 32
"""Objects that are asked for at once: an answer takes tens of milliseconds."""
_LEASE = "lock.json"


def is_there(store: RemoteStore) -> bool:
    """Whether there is anything below an address.

    Raises:
        OutputError: The storage cannot be reached.
    """
    with store.reached():
        return bool(_files(store).exists(_path(store, "")))


def has_state(store: RemoteStore) -> bool:
    """Whether a run of araflow has written there.

    Raises:
        OutputError: The storage cannot be reached.
    """
    with store.reached():
        return bool(_files(store).exists(_path(store, ".araflow")))


def is_running(store: RemoteStore) -> bool:
    """Whether a run holds an output, as far as its last renewal says.

    Raises:
        OutputError: The storage cannot be reached.
    """
    try:
        session = json.loads(store.read_state(_LEASE))["session"]
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return False
    return store.is_live(session)


def read(store: RemoteStore, names: Iterable[str], *, timed: bool) -> Iterator[tuple[bytes | None, float | None]]:
    """Yield the content of each object, ``None`` where there is none, and when it was written.

    Args:
        store: The output.
        names: Below it, with ``/``.
        timed: Ask for the times as well, which doubles the requests.

    Raises:
        OutputError: The storage cannot be reached.
    """
    files = _files(store)

    def fetch(name: str) -> tuple[bytes | None, float | None]:
        path = _path(store, name)
        try:
            return files.cat_file(path), files.modified(path).timestamp() if timed else None
        except FileNotFoundError:
            return None, None

    with ThreadPoolExecutor(_AT_ONCE) as threads, store.reached():
        yield from threads.map(fetch, names)


def records(store: RemoteStore) -> list[str]:
    """Return the names of the records of clips that were not made, below the output.

    Raises:
        OutputError: The storage cannot be reached.
    """
    return [f".araflow/records/{name}" for name in _sizes(store, ".araflow/records") if name.endswith(".json")]


def clips(store: RemoteStore) -> dict[str, int]:
    """Return the keys of all clips that have a proof, and their sizes in bytes.

    Raises:
        OutputError: The storage cannot be reached.
    """
    sizes = _sizes(store, "clips")
    bytes_of: Counter[str] = Counter()
    for name, size in sizes.items():
        key = (
            name.removesuffix(f"/{PROOF}") if name.endswith(f"/{PROOF}") else name.rpartition("/")[0].rpartition("/")[0]
        )
        bytes_of[key] += size
    return {key: bytes_of[key] for key in bytes_of if f"{key}/{PROOF}" in sizes}


def ranges(store: RemoteStore) -> dict[str, int]:
    """Return the names of what was handed to other machines, below the output, and the sizes in bytes.

    Raises:
        OutputError: The storage cannot be reached.
    """
    return {f".araflow/ranges/{name}": size for name, size in _sizes(store, ".araflow/ranges").items()}


def remove(store: RemoteStore, name: str) -> None:
    """Remove an object, if it is there.

    Raises:
        OutputError: The storage cannot be reached, or forbids it.
    """
    with store.reached():
        try:
            _files(store).rm_file(_path(store, name))
        except FileNotFoundError:
            return


def _sizes(store: RemoteStore, folder: str) -> dict[str, int]:
    root = _path(store, folder)
    with store.reached():
        found = _files(store).find(root, detail=True)
    return {name[len(root) + 1 :]: int(info["size"]) for name, info in found.items() if name != root}


def _files(store: RemoteStore) -> Any:  # noqa: ANN401 - a file system of fsspec
    return cast(Any, store.out).fs


def _path(store: RemoteStore, name: str) -> str:
    path = cast(Any, store.out)
    return cast(str, path.joinpath(*name.split("/")).path if name else path.path)
