"""An output in object storage, such as ``s3://bucket/folder``: anything that fsspec reaches.

The layout is that of a folder (``araflow.store``), so that a copy of it is one. A clip is made in a local folder by the
same code and then uploaded, its proof last: without its proof it counts as nothing. What is only worked with (drawn or
unpacked videos, half-made clips) lies in the cache folder of each machine.

Object storage has no locks. A run holds the output by an object that it makes only where there is none (S3's
``If-None-Match: *``) and renews; without renewal for two minutes it is dead, or at once where it names a process of
this machine that is gone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import platform
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from araflow.clip import ClipRecord, Outcome
from araflow.errors import OutputError, UnavailableError
from araflow.fingerprint import digest
from araflow.store import KINDS, LOSSLESS, PROOF, ClipWriter, Store, _same

log = logging.getLogger(__name__)
_SECONDS_TO_RENEW, _SECONDS_TO_DIE = 20.0, 120.0
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
        root = UPath(url.rstrip("/"), use_listings_cache=False)
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
        from araflow.dataset_folder import cache_folder

        return cache_folder() / f"out-{digest({'out': str(self.out)})}"

    @property
    def _fs(self) -> Any:  # noqa: ANN401 - a file system of fsspec
        return cast(Any, self.out).fs

    def _object(self, name: str) -> str:
        return cast(str, cast(Any, self.out).joinpath(*name.split("/")).path)

    @contextlib.contextmanager
    def reached(self) -> Iterator[None]:
        """Turn what goes wrong with the storage into an error that says what to do; see ``Store.reached``."""
        try:
            yield
        except FileNotFoundError as error:
            raise OutputError(f"{self.out}: no such bucket or folder ({error}); {_REMEDY}") from error
        except OutputError:
            raise
        except Exception as error:  # botocore's and aiohttp's are no OSErrors, and other systems have their own
            raise OutputError(f"{self.out}: {type(error).__name__}: {error}; {_REMEDY}") from error

    def _sizes(self, folder: str) -> dict[str, int]:
        """Return the objects below a folder, with their sizes in bytes; none where there is no folder."""
        root = self._object(folder)
        with self.reached():
            found = self._fs.find(root, detail=True)
        return {name[len(root) + 1 :]: int(info["size"]) for name, info in found.items() if name != root}

    def _content(self, name: str) -> bytes | None:
        with self.reached():
            try:
                return cast(bytes, self._fs.cat_file(self._object(name)))
            except FileNotFoundError:
                return None

    def _put(self, name: str, content: bytes) -> None:
        with self.reached():
            self._fs.pipe_file(self._object(name), content)

    def _remove(self, names: list[str]) -> None:
        if names:
            with self.reached(), contextlib.suppress(FileNotFoundError):
                self._fs.rm([self._object(name) for name in names])

    # --- runs and sessions ---

    @contextlib.contextmanager
    def locked(self) -> Iterator[Store]:
        """Hold the output for one run; see ``Store.locked``."""
        with Store.locked(self) as bound, cast(RemoteStore, bound)._leased():
            self._remove([f".araflow/ranges/{name}" for name in self._sizes(".araflow/ranges")])
            yield bound

    @contextlib.contextmanager
    def _leased(self) -> Iterator[None]:
        deadline = time.monotonic() + _SECONDS_TO_RENEW
        while not self._take_lease():
            known = self._lease()
            if known is not None and not _is_dead(known):
                raise OutputError(
                    f"{self.out}: another araflow run is writing here (on {known['host']}, process {known['pid']}); "
                    f"wait for it, or choose another out. One that is gone is forgotten after {_SECONDS_TO_DIE:.0f} s"
                )
            if time.monotonic() > deadline:
                raise OutputError(f"{self.out}: other araflow runs keep taking it; choose another out")
            self._remove([_LEASE])
        stop = threading.Event()
        renewing = threading.Thread(target=self._renew, args=(stop,), name="araflow-lease", daemon=True)
        renewing.start()
        try:
            yield
        finally:
            stop.set()
            renewing.join()
            with contextlib.suppress(OutputError):  # the storage is gone; the lease dies by itself
                self._remove([_LEASE])

    def _take_lease(self) -> bool:
        with self.reached():
            try:
                self._fs.pipe_file(self._object(_LEASE), self._lease_text(), mode="create")
            except FileExistsError:
                return False
        return True

    def _lease_text(self) -> bytes:
        content = {"session": self.session_id, "host": platform.node(), "pid": os.getpid(), "time": time.time()}
        return json.dumps(content).encode()

    def _renew(self, stop: threading.Event) -> None:
        while not stop.wait(_SECONDS_TO_RENEW):
            try:
                self._put(_LEASE, self._lease_text())
            except OutputError as error:
                log.warning("the hold on the output could not be renewed: %s", error)

    def _lease(self) -> dict[str, Any] | None:
        content = self._content(_LEASE)
        if content is None:
            return None
        try:
            known: dict[str, Any] = json.loads(content)
            return known if {"session", "host", "pid", "time"} <= known.keys() else None
        except ValueError:
            return None

    def is_live(self, session_id: str) -> bool:
        """Whether the process that holds a session still lives, as far as its last renewal says."""
        if Store.is_live(self, session_id):
            return True
        known = self._lease()
        return known is not None and known["session"] == session_id and not _is_dead(known)

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
        return _parsed(self._content(self._record_name(key)))

    def find_made(self, key: str) -> ClipRecord | None:
        """Return the proof of a clip whose objects are all there; see ``Store.find_made``."""
        sizes = self._sizes(f"clips/{key}")
        if PROOF not in sizes:
            return None
        record = _parsed(self._content(f"clips/{key}/{PROOF}"))
        return record if record is not None and _complete(sizes, record) else None

    def write_record(self, record: ClipRecord) -> None:
        """Keep the record of a clip that was not made; see ``Store.write_record``."""
        if record.outcome is Outcome.FAILED and _same(self.find_made(record.key), record):
            return
        if record.outcome is not Outcome.FAILED and record.source_sha256 is not None:
            self.remove_clip(record.key, set())
        self._put(self._record_name(record.key), json.dumps(record.to_json()).encode())

    def remove_record(self, key: str) -> None:
        """Forget an earlier run's record of a clip that is now made."""
        self._remove([self._record_name(key)])

    def remove_clip(self, key: str, keep: set[str]) -> None:
        """Remove a clip's objects, its proof first, but those to keep (by name below the clip)."""
        names = set(self._sizes(f"clips/{key}"))
        if PROOF in names:
            self._remove([f"clips/{key}/{PROOF}"])
        self._remove([f"clips/{key}/{name}" for name in sorted(names - keep - {PROOF})])

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
        if _same(store.find_made(key), record):  # another process was faster
            store.remove_record(key)
            return
        names = [f"{kind}/{name}" for kind, own in self._names.items() for name in own]
        kept = {name for name in store._sizes(f"clips/{key}") if keep_rgb and name.startswith("rgb/")}
        store.remove_clip(key, kept)
        with store.reached():
            store._fs.put(
                [str(self._folder / name) for name in names], [store._object(f"clips/{key}/{name}") for name in names]
            )
        store.remove_record(key)
        store._put(f"clips/{key}/{PROOF}", json.dumps(record.to_json()).encode())
        self.discard()


_LEASE = ".araflow/lock.json"


def _is_dead(lease: dict[str, Any]) -> bool:
    if time.time() - lease["time"] > _SECONDS_TO_DIE:
        return True
    if lease["host"] != platform.node() or lease["pid"] == os.getpid():
        return False
    try:
        os.kill(lease["pid"], 0)
    except ProcessLookupError:
        return True
    except OSError:  # another user's
        return False
    return False


def _parsed(content: bytes | None) -> ClipRecord | None:
    try:
        return None if content is None else ClipRecord.from_json(json.loads(content))
    except (ValueError, TypeError, KeyError):
        return None  # half-written or another version's


def _complete(sizes: dict[str, int], record: ClipRecord) -> bool:
    counts = dict(zip(KINDS, (record.frames, record.flows, record.flows), strict=True))
    counts[LOSSLESS] = record.flows if record.lossless_bytes is not None else 0
    own = {kind: [size for name, size in sizes.items() if name.startswith(f"{kind}/")] for kind in counts}
    return (
        {kind: len(found) for kind, found in own.items()} == counts
        and sum(own["rgb"]) == record.rgb_bytes
        and sum(own["u"]) + sum(own["v"]) == record.flow_bytes
        and sum(own[LOSSLESS]) == (record.lossless_bytes or 0)
    )
