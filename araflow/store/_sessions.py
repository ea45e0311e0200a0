"""Which processes of this machine write to an output, and their work areas.

A process that writes has a session: a lock file that it holds while it lives, and a folder of half-made clips. What a
dead one has left is removed by the next run, which holds a lock of its own.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import filelock

from araflow.core.errors import OutputError

_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP}
_SECONDS_OF_LOOKS = 1.0
"""Who only looks whether a run is at work holds its lock for an instant; a run holds it for longer."""
_MOST_TRIES = 20
"""To start a session while others do the same; each try that fails means that another one got on."""


@dataclasses.dataclass(frozen=True, slots=True)
class Sessions:
    """The sessions of an output on this machine.

    Attributes:
        folder: Hidden folder on this machine of what is only worked with.
        out: How messages name the folder that this lies in.
    """

    folder: Path
    out: str

    def work(self, session_id: str) -> Path:
        """Return the folder of half-made clips of a session."""
        return self._all / session_id

    @property
    def _all(self) -> Path:
        return self.folder / "work"

    def _lock_file(self, session_id: str) -> Path:
        return self._all / f"{session_id}.lock"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for one run: make it, and remove what sessions have left that are dead.

        Raises:
            OutputError: Another run holds it, it cannot be written to, or its file system has no locks.
        """
        lock = _file_lock(self.folder / "lock")
        with self._reached():
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire(timeout=_SECONDS_OF_LOOKS)
            except filelock.Timeout:
                raise OutputError(
                    f"{self.out}: another araflow run is writing here; wait for it, or choose another out"
                ) from None
        try:
            self._sweep()
            yield
        finally:
            self._sweep()  # of processes that were killed meanwhile
            lock.release()

    @contextlib.contextmanager
    def begun(self) -> Iterator[str]:
        """Have a session, which others know to be alive for as long as this process lives.

        Yields:
            The session's id; its work area is there.

        Raises:
            OutputError: The folder cannot be written to, or its file system has no locks.
        """
        with self._reached():
            session_id, lock = self._begin()
        try:
            yield session_id
        finally:
            shutil.rmtree(self.work(session_id), ignore_errors=True)
            self._lock_file(session_id).unlink(missing_ok=True)
            lock.release()
            with contextlib.suppress(OSError):  # others are at work
                self._all.rmdir()

    def _begin(self) -> tuple[str, filelock.BaseFileLock]:
        for _ in range(_MOST_TRIES):
            session_id = uuid.uuid4().hex
            lock = _file_lock(self._lock_file(session_id))
            with contextlib.suppress(filelock.Timeout, FileNotFoundError):  # another session's end removed the folder
                self._all.mkdir(parents=True, exist_ok=True)
                lock.acquire()
                self.work(session_id).mkdir()
                return session_id, lock
            lock.release()
        raise OutputError(f"{self._all}: keeps being removed by another process; choose another out")

    @contextlib.contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in _NO_LOCKS:
                raise OutputError(
                    f"{self.out}: its file system has no locks, without which two runs would destroy each other's "
                    "work; mount it with locks, or choose another out"
                ) from error
            raise OutputError(f"{self.out}: cannot be written to: {error.strerror}") from error

    def _sweep(self) -> None:
        """Remove what dead sessions have left."""
        names = {entry.name for entry in os.scandir(self._all)} if self._all.is_dir() else set()
        for name in names:
            session_id = name.removesuffix(".lock")
            # A session's folder comes after its lock, and goes before it.
            if not self.is_live(session_id):
                shutil.rmtree(self.work(session_id), ignore_errors=True)
                if not name.endswith(".lock") and (self._all / name).is_file():
                    (self._all / name).unlink()
        with contextlib.suppress(OSError):  # there is none, or others are at work
            self._all.rmdir()

    def is_live(self, session_id: str) -> bool:
        """Whether the process that holds a session still lives; the lock of one that does not is removed."""
        file = self._lock_file(session_id)
        if not file.exists():
            return False
        try:
            with _file_lock(file):
                file.unlink(missing_ok=True)  # nobody holds it
            return False
        except filelock.Timeout:
            return True

    # --- looking, which changes nothing ---

    def is_locked(self) -> bool:
        """Whether a run holds the folder.

        Raises:
            OutputError: That cannot be found out.
        """
        return _is_held(self.folder / "lock")

    def seen(self) -> dict[str, bool]:
        """Return the sessions of which anything is there, and whether their processes live.

        Raises:
            OutputError: That cannot be found out.
        """
        names = {entry.name.removesuffix(".lock") for entry in os.scandir(self._all)} if self._all.is_dir() else set()
        return {name: _is_held(self._lock_file(name)) for name in sorted(names)}

    def left(self) -> list[Path]:
        """Return what sessions have left that are dead."""
        dead = (name for name, lives in self.seen().items() if not lives)
        return [path for name in dead for path in (self.work(name), self._lock_file(name)) if path.exists()]


def _file_lock(path: Path) -> filelock.BaseFileLock:
    # Where the file system has no locks, filelock would take the mere presence of the file for one, which a killed
    # process leaves for ever.
    return filelock.FileLock(path, timeout=0, fallback_to_soft=False)


def _is_held(lock: Path) -> bool:
    # Not filelock, which makes the file, and empties it. For an instant this keeps others from the lock.
    try:
        descriptor = os.open(lock, os.O_RDONLY)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise OutputError(f"{lock}: cannot be read: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no locks on this file system, so no run either
        return False
    finally:
        os.close(descriptor)
    return False
