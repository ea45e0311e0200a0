"""An output in object storage, such as ``s3://bucket/folder``: anything that fsspec reaches.

The layout is that of a folder (``store.py``), so that a copy of it is one. A clip is made in a local folder by the same
code and then uploaded, its proof last: without its proof it counts as nothing. What is only worked with (drawn or
unpacked videos, half-made clips) lies in the cache folder of each machine.

Object storage has no locks; a run holds the output by ``araflow.store.lease``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import itertools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar, cast

from araflow.core.clip import ClipRecord, Outcome
from araflow.core.errors import AraflowError, OutputError, UnavailableError
from araflow.core.files import PROOF
from araflow.core.fingerprint import digest
from araflow.store import layout as clip_files
from araflow.store import lease
from araflow.store.draft import ClipWriter
from araflow.store.layout import KINDS, LOSSLESS, is_same, is_whole
from araflow.store.store import Store

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
_AT_ONCE = 32
"""Requests at once: an answer takes tens of milliseconds."""
_PATTERN = frozenset("*?[")
"""Characters by which fsspec's ``rm`` takes a name for a pattern, which removes other clips: ``Title [id]``."""
_S3_CLIENT = {
    "connect_timeout": 10,
    "read_timeout": 20,
    "retries": {"mode": "standard", "total_max_attempts": 4},
    "max_pool_connections": _AT_ONCE,
}
"""In seconds."""
_S3_ROUNDS = 2
"""How often s3fs has the client try; for reading, twice within twice. Storage that never answers costs five minutes."""
_REMEDY = "check the address, the credentials (AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY) and, for a "
_REMEDY += "server of your own, AWS_ENDPOINT_URL; what is done is kept: run it again"


def open_remote(url: str) -> RemoteStore:
    """Return the output at an address.

    Raises:
        UnavailableError: What reaches it is not installed.
        OutputError: The address cannot be one.
    """
    try:
        from upath import UPath

        # A listing that is kept would not show what other machines write.
        options: dict[str, Any] = {"use_listings_cache": False}
        if url.startswith(("s3://", "s3a://")):
            # Else each small object would be asked for its size before it is read.
            options |= {"config_kwargs": _S3_CLIENT, "max_concurrency": 1}
        root = UPath(url.rstrip("/"), **options)
        _ = root.fs
    except ImportError as error:
        raise UnavailableError(f"out: {url} needs fsspec's libraries: pip install 'araflow[s3]' ({error})") from error
    except (OSError, ValueError) as error:
        raise OutputError(f"out: {url}: {error}; {_REMEDY}") from error
    return RemoteStore(cast(Path, root))


@dataclasses.dataclass(frozen=True)
class RemoteStore(Store):
    """An output in object storage. ``out`` is a path of universal-pathlib, which has the methods of ``Path``."""

    @property
    def state(self) -> Path:
        """Folder on this machine for what is only worked with."""
        from araflow.core.resources import cache_folder

        return cache_folder() / f"out-{digest({'out': str(self.out)})}"

    @property
    def files(self) -> Any:  # noqa: ANN401 - a file system of fsspec
        """The file system of fsspec that the output lies in."""
        files = cast(Any, self.out).fs
        if hasattr(files, "call_s3"):
            files.retries = _S3_ROUNDS  # not one of its arguments
        return files

    def object(self, name: str) -> str:
        """Return the path, in ``files``, of an object that is named from the output."""
        return cast(str, cast(Any, self.out).joinpath(*name.split("/")).path)

    @contextlib.contextmanager
    def reached(self) -> Iterator[None]:
        """Turn what goes wrong with the storage into an error that says what to do; see ``Store.reached``."""
        try:
            yield
        except FileNotFoundError as error:
            raise OutputError(f"{self.out}: no such bucket or folder ({error}); {_REMEDY}") from error
        except AraflowError:
            raise
        except Exception as error:  # botocore's and aiohttp's are no OSErrors, and other systems have their own
            raise OutputError(f"{self.out}: {type(error).__name__}: {error}; {_REMEDY}") from error

    def working(self) -> contextlib.AbstractContextManager[None]:
        """Say which folder of this machine cannot be written to."""
        return Store(self.state).reached()

    def each(self, function: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
        """Ask the storage about many things at once; see ``Store.each``."""
        remaining = iter(items)
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            while some := list(
                itertools.islice(remaining, 4 * _AT_ONCE)
            ):  # few, or a first result would be long in coming
                yield from threads.map(function, some)

    def _sizes(self, folder: str) -> dict[str, int]:
        """Return the objects below a folder, with their sizes in bytes; none where there is no folder."""
        root = self.object(folder)
        with self.reached():
            found = self.files.find(root, detail=True)
        return {name[len(root) + 1 :]: int(info["size"]) for name, info in found.items() if name != root}

    def _content(self, name: str) -> bytes | None:
        with self.reached():
            try:
                return cast(bytes, self.files.cat_file(self.object(name)))
            except FileNotFoundError:
                return None

    def _put(self, name: str, content: bytes) -> None:
        with self.reached():
            self.files.pipe_file(self.object(name), content)

    def _remove(self, names: list[str]) -> None:
        paths = [self.object(name) for name in names]
        plain = [path for path in paths if not _PATTERN & set(path)]
        with self.reached():
            if plain:
                with contextlib.suppress(FileNotFoundError):
                    self.files.rm(plain)
            for _ in self.each(self._remove_one, (path for path in paths if _PATTERN & set(path))):
                pass

    def _remove_one(self, path: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self.files.rm_file(path)

    # --- runs and sessions ---

    @contextlib.contextmanager
    def locked(self) -> Iterator[Store]:
        """Hold the output for one run; see ``Store.locked``."""
        with Store.locked(self) as bound, lease.held(cast(RemoteStore, bound)):
            self._remove([f".araflow/ranges/{name}" for name in self._sizes(".araflow/ranges")])
            yield bound

    def check_held(self) -> None:
        """Ask the storage; see ``Store.check_held``."""
        if self.session_id:
            lease.check(self)

    def is_live(self, session_id: str) -> bool:
        """Whether the process that holds a session still lives, as far as its last renewal says."""
        return self.is_live_here(session_id) or lease.is_live(self, session_id)

    def is_live_here(self, session_id: str) -> bool:
        """Whether the process that holds a session lives on this machine."""
        return Store.is_live(self, session_id)

    def write_state(self, name: str, content: bytes) -> None:
        """Write an object that all machines see; see ``Store.write_state``."""
        self._put(f".araflow/{name}", content)

    def read_state(self, name: str) -> bytes:
        """Return what ``write_state`` wrote; see there for errors."""
        content = self._content(f".araflow/{name}")
        if content is None:
            raise FileNotFoundError(f"{self.out}/.araflow/{name}")
        return content

    def remove_state(self, name: str) -> None:
        """Remove what ``write_state`` wrote, if it is there."""
        self._remove([f".araflow/{name}"])

    # --- clips ---

    def _record_name(self, key: str) -> str:
        return f".araflow/records/{digest({'key': key})}.json"

    def _find_unmade(self, key: str) -> ClipRecord | None:
        return clip_files.parse(self._content(self._record_name(key)))

    def find_made(self, key: str) -> ClipRecord | None:
        """Return the proof of a clip whose objects are all there; see ``Store.find_made``."""
        record = clip_files.parse(self._content(f"clips/{key}/{PROOF}"))
        return record if record is not None and is_whole(self._sizes(f"clips/{key}"), record) else None

    def write_record(self, record: ClipRecord) -> None:
        """Keep the record of a clip that was not made; see ``Store.write_record``."""
        if record.outcome is Outcome.FAILED and is_same(self.find_made(record.key), record):
            return
        if record.outcome is not Outcome.FAILED and record.source_sha256 is not None:
            self.remove_clip(record.key, set())
        self._put(self._record_name(record.key), clip_files.encode(record))

    def remove_record(self, key: str) -> None:
        """Forget an earlier run's record of a clip that is now made."""
        self._remove([self._record_name(key)])

    def remove_clip(self, key: str, keep: set[str], sizes: dict[str, int] | None = None) -> None:
        """Remove a clip's objects, its proof first.

        Args:
            key: The clip's key.
            keep: Names of those that stay, below the clip.
            sizes: What has been listed; ``None`` lists it. What another process has added since stays, too.
        """
        sizes = self._sizes(f"clips/{key}") if sizes is None else sizes
        if PROOF in sizes:
            self._remove([f"clips/{key}/{PROOF}"])
        self._remove([f"clips/{key}/{name}" for name in sorted(sizes.keys() - keep - {PROOF})])

    def begin(self, key: str, *, lossless: bool = False) -> ClipWriter:
        """Start a clip in the work area of this machine."""
        return RemoteClipWriter(self, key, (*KINDS, LOSSLESS) if lossless else KINDS)


class RemoteClipWriter(ClipWriter):
    """Writes one clip into the work area of this machine and uploads it when it is complete."""

    _store: RemoteStore

    def kept_rgb(self) -> list[int]:
        """Return the sizes in bytes of the earlier clip's ``rgb`` objects."""
        return [size for name, size in self._store._sizes(f"clips/{self._key}").items() if name.startswith("rgb/")]

    def commit(self, record: ClipRecord, *, keep_rgb: bool) -> None:
        """Upload the clip, the proof last, replacing what an earlier run made; see ``ClipWriter.commit``.

        Raises:
            OutputError: The storage cannot be reached or written to, or the clip would lie inside another one's folder.
        """
        store, key = self._store, self._key
        parents = key.split("/")[:-1]
        for depth in range(1, len(parents) + 1):
            if store._content(f"clips/{'/'.join(parents[:depth])}/{PROOF}") is not None:
                raise OutputError(
                    f"{store.out}/clips/{key}: would lie inside another clip's folder; choose another out"
                )
        sizes = store._sizes(f"clips/{key}")
        made = clip_files.parse(store._content(f"clips/{key}/{PROOF}")) if PROOF in sizes else None
        if made is not None and is_same(made, record) and is_whole(sizes, made):  # another process was faster
            store.remove_record(key)
            return
        names = {f"{kind}/{name}" for kind, own in self._names.items() for name in own}
        kept = {name for name in sizes if keep_rgb and name.startswith("rgb/")}
        if keep_rgb and len(kept) != record.frames:
            raise FileNotFoundError(errno.ENOENT, "the rgb files to keep are gone", f"{store.out}/clips/{key}")
        # What will be written over stays: a process that makes the same clip may have just uploaded it.
        store.remove_clip(key, kept | names, sizes)
        with store.reached():
            store.files.put(
                [str(self._folder / name) for name in sorted(names)],
                [store.object(f"clips/{key}/{name}") for name in sorted(names)],
            )
        store.remove_record(key)  # before the clip is there: killed in between, nobody would do it later
        store._put(f"clips/{key}/{PROOF}", clip_files.encode(record))
