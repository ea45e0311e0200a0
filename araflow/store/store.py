"""The output folder: where clips lie, how frames are named, and how a clip appears whole or not at all.

::

    <out>/clips/<class>/<clip>/{rgb,u,v}/   frames; nothing else is visible, so folder-walking loaders find only frames
    <out>/clips/<class>/<clip>/.araflow.json   the clip's record: the proof that it is complete
    <out>/.araflow/records/<digest>.json    records of clips that were not made, by a digest of their key
    <out>/.araflow/work/<session>/          half-made clips of one process that writes here
    <out>/.araflow/work/<session>.lock      held while that process lives; what it leaves is removed by the next run
    <out>/.araflow/ranges/                  clips that a run has handed to other machines
    <out>/.araflow/lock                     held while a run writes here
    <out>/manifest.parquet
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import filelock

from araflow.core.clip import ClipRecord, Outcome
from araflow.core.errors import OutputError
from araflow.core.files import PROOF, STATE, replace
from araflow.core.fingerprint import digest
from araflow.store import layout
from araflow.store.draft import ClipWriter
from araflow.store.layout import KINDS, LOSSLESS, is_same, is_whole, stem
from araflow.store.places import Found, is_remote, open_path, open_store, reached, scan

__all__ = [
    "KINDS",
    "LOSSLESS",
    "PROOF",
    "STATE",
    "ClipWriter",
    "Found",
    "Store",
    "is_remote",
    "open_path",
    "open_store",
    "reached",
    "replace",
    "scan",
    "stem",
]

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP}
_MOST_TRIES = 20
"""To start a session while others do the same; each try that fails means that another one got on."""


@dataclasses.dataclass(frozen=True, slots=True)
class Store:
    """An output folder. Making one touches nothing.

    Attributes:
        out: The folder.
        session_id: The session that half-made clips belong to; empty before ``locked`` or ``session``.
    """

    out: Path
    session_id: str = ""

    @property
    def clips(self) -> Path:
        """Folder of class folders."""
        return self.out / "clips"

    @property
    def state(self) -> Path:
        """Hidden folder of everything that is not output."""
        return self.out / STATE

    @property
    def work(self) -> Path:
        """Folder of half-made clips, on the same file system as the finished ones, so that renaming is atomic."""
        return self._sessions / self.session_id

    @property
    def _sessions(self) -> Path:
        return self.state / "work"

    @property
    def manifest(self) -> Path:
        """The manifest file."""
        return self.out / "manifest.parquet"

    def clip_folder(self, key: str) -> Path:
        """Folder of a finished clip."""
        return self.clips / key

    def _record_file(self, key: str) -> Path:
        # Not named as the key: with ".json" behind it, that can be longer than a file name may be.
        return self.state / "records" / f"{digest({'key': key})}.json"

    @contextlib.contextmanager
    def locked(self) -> Iterator[Store]:
        """Hold the folder for one run: make it, and remove what sessions have left that are dead.

        Yields:
            The store, bound to a session.

        Raises:
            OutputError: Another run holds it, it cannot be written to, or its file system has no locks.
        """
        lock = _file_lock(self.state / "lock")
        with self.working():
            self.state.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire()
            except filelock.Timeout:
                raise OutputError(
                    f"{self.out}: another araflow run is writing here; wait for it, or choose another out"
                ) from None
        try:
            self._sweep()
            with self.session() as bound:
                yield bound
        finally:
            self._sweep()  # of processes that were killed meanwhile, and of ranges that nobody will take
            lock.release()

    @contextlib.contextmanager
    def session(self) -> Iterator[Store]:
        """Have a work area of one's own, which others know to be alive for as long as this process lives.

        For processes that make clips for the run that holds the folder, on this machine or another.

        Yields:
            The store, bound to the session.

        Raises:
            OutputError: The folder cannot be written to, or its file system has no locks.
        """
        with self.working():
            bound, lock = self._begin_session()
        try:
            yield bound
        finally:
            shutil.rmtree(bound.work, ignore_errors=True)
            self._lock_file(bound.session_id).unlink(missing_ok=True)
            lock.release()
            with contextlib.suppress(OSError):  # others are at work
                self._sessions.rmdir()

    def _begin_session(self) -> tuple[Store, filelock.BaseFileLock]:
        for _ in range(_MOST_TRIES):
            bound = dataclasses.replace(self, session_id=uuid.uuid4().hex)
            lock = _file_lock(self._lock_file(bound.session_id))
            with contextlib.suppress(filelock.Timeout, FileNotFoundError):  # another session's end removed the folder
                self._sessions.mkdir(parents=True, exist_ok=True)
                lock.acquire()
                bound.work.mkdir()
                return bound, lock
            lock.release()
        raise OutputError(f"{self._sessions}: keeps being removed by another process; choose another out")

    @contextlib.contextmanager
    def reached(self) -> Iterator[None]:
        """Turn what goes wrong while the output is read or written into an error that says what to do.

        Raises:
            OutputError: It cannot be written to, or its file system has no locks.
        """
        try:
            yield
        except OSError as error:
            if error.errno in _NO_LOCKS:
                raise OutputError(
                    f"{self.out}: its file system has no locks, without which two runs would destroy each other's "
                    "work; mount it with locks, or choose another out"
                ) from error
            raise OutputError(f"{self.out}: cannot be written to: {error.strerror}") from error

    def working(self) -> contextlib.AbstractContextManager[None]:
        """Do what ``reached`` does, where ``state`` is written."""
        return self.reached()

    def each(self, function: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
        """Yield what a function that looks into the output returns for each item, in their order.

        One at a time here, when it is asked for: a disk answers at once.
        """
        return map(function, items)

    def check_held(self) -> None:
        """Make sure that this run still holds the output; a folder's lock cannot be taken away.

        Raises:
            OutputError: Another run has taken it.
        """

    def _lock_file(self, session_id: str) -> Path:
        return self._sessions / f"{session_id}.lock"

    def is_live(self, session_id: str) -> bool:
        """Whether the process that holds a session still lives."""
        file = self._lock_file(session_id)
        if not file.exists():
            return False
        try:
            with _file_lock(file):
                file.unlink(missing_ok=True)  # nobody holds it
            return False
        except filelock.Timeout:
            return True

    def _sweep(self) -> None:
        """Remove what dead sessions have left."""
        shutil.rmtree(self.state / "ranges", ignore_errors=True)
        names = {entry.name for entry in os.scandir(self._sessions)} if self._sessions.is_dir() else set()
        for name in names:
            session_id = name.removesuffix(".lock")
            # A session's folder comes after its lock, and goes before it.
            if not self.is_live(session_id):
                shutil.rmtree(self._sessions / session_id, ignore_errors=True)
                if not name.endswith(".lock") and (self._sessions / name).is_file():
                    (self._sessions / name).unlink()
        with contextlib.suppress(OSError):  # there is none, or others are at work
            self._sessions.rmdir()

    def write_state(self, name: str, content: bytes) -> None:
        """Write a file below ``state`` whole or not at all.

        Raises:
            OutputError: It cannot be written.
        """
        path = self.state / name
        with self.reached():
            path.parent.mkdir(parents=True, exist_ok=True)
            replace(path, content)

    def read_state(self, name: str) -> bytes:
        """Return what ``write_state`` wrote.

        Raises:
            OSError: There is no such file.
        """
        return (self.state / name).read_bytes()

    def remove_state(self, name: str) -> None:
        """Remove what ``write_state`` wrote, if it is there, and its folder, if that is empty now."""
        path = self.state / name
        path.unlink(missing_ok=True)
        if path.parent != self.state:
            with contextlib.suppress(OSError):
                path.parent.rmdir()

    def find(self, key: str, fingerprint: str | None = None) -> ClipRecord | None:
        """Return what is known of a clip: that it is made, or why it was not.

        Args:
            key: The clip's key.
            fingerprint: Return only a record of these settings; ``None`` takes any.
        """
        for look in (self.find_made, self._find_unmade):
            record = look(key)
            if record is not None and fingerprint in (None, record.fingerprint):
                return record
        return None

    def _find_unmade(self, key: str) -> ClipRecord | None:
        return layout.load(self._record_file(key))

    def find_made(self, key: str) -> ClipRecord | None:
        """Return the proof of a clip that is made, by whatever settings; ``None`` if it is not whole."""
        record = layout.load(self.clip_folder(key) / PROOF)
        return record if record is not None and is_whole(layout.sizes_in(self.clip_folder(key)), record) else None

    def write_record(self, record: ClipRecord) -> None:
        """Keep the record of a clip that was not made.

        What an earlier run made of it is removed, if the source has been read and found wanting; it stays where the
        source is gone, or where this run failed for reasons of its own.

        Raises:
            OutputError: It cannot be written.
        """
        if record.outcome is Outcome.FAILED and is_same(self.find_made(record.key), record):
            return
        path = self._record_file(record.key)
        part = self.work / f"{uuid.uuid4().hex}.json"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            layout.dump(part, record)
            if record.outcome is not Outcome.FAILED and record.source_sha256 is not None:
                retired = self.retire(record.key)
                if retired is not None:
                    shutil.rmtree(retired)
            part.replace(path)
        except OSError as error:
            raise OutputError(f"{self.out}: no record of {record.key!r} can be written: {error.strerror}") from error

    def retire(self, key: str) -> Path | None:
        """Move what an earlier run made of a clip into the work area, and return where; ``None`` if there is nothing.

        Raises:
            OutputError: The folder is no clip but holds others: a clip is named as a class is.
        """
        folder = self.clip_folder(key)
        if not _exists(folder):
            return None
        if not (folder / PROOF).exists() and not all((folder / kind).is_dir() for kind in KINDS):
            raise OutputError(f"{folder}: is no clip's folder, so clip {key!r} cannot replace it; choose another out")
        retired = self.work / uuid.uuid4().hex
        try:
            folder.rename(retired)
        except FileNotFoundError:  # another process was faster
            if not self.work.is_dir():
                raise
            return None
        return retired

    def remove_record(self, key: str) -> None:
        """Forget an earlier run's record of a clip that is now made."""
        self._record_file(key).unlink(missing_ok=True)

    def begin(self, key: str, *, lossless: bool = False) -> ClipWriter:
        """Start a clip in the work area, with a folder for 16-bit flow where ``lossless``."""
        return ClipWriter(self, key, (*KINDS, LOSSLESS) if lossless else KINDS)


def _file_lock(path: Path) -> filelock.BaseFileLock:
    # Where the file system has no locks, filelock would take the mere presence of the file for one, which a killed
    # process leaves for ever.
    return filelock.FileLock(path, timeout=0, fallback_to_soft=False)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name too long to exist
        return False
