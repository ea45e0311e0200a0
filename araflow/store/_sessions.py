"""Which processes of this machine write to an output, and their work areas.

A process that writes has a session: a lock file that it holds while it lives, and a folder of half-made clips, both
named by the session's id. What a dead one has left is removed by the next run, which holds a lock of its own. Whatever
else lies among them is not araflow's, and stays.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from araflow.core.errors import OutputError
from araflow.core.files import only_holder

_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP}
_ID = re.compile(r"[0-9a-f]{32}")
_LOOK = 1.0
"""Seconds for which a run tries to get its lock: one who only looks whether there is a run has it for an instant."""
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
            OutputError: Another run holds it, it cannot be written to, it or what it holds is a link, or its file
                system has no locks.
        """
        with contextlib.ExitStack() as held:
            with self._reached():
                self._refuse_links()
                self.folder.mkdir(parents=True, exist_ok=True)
                self._hold(held)
            self._sweep()
            try:
                yield
            finally:
                self._sweep()  # of processes that were killed meanwhile

    def _hold(self, held: contextlib.ExitStack) -> None:
        last = time.monotonic() + _LOOK
        while True:
            try:
                held.enter_context(only_holder(self.folder / "lock"))
                return
            except BlockingIOError:
                if time.monotonic() > last:
                    raise OutputError(
                        f"{self.out}: another araflow run is writing here; wait for it, or choose another out"
                    ) from None
            time.sleep(_LOOK / 50)

    def _refuse_links(self) -> None:
        for path in (self.folder, self._all, self.folder / "lock"):
            if path.is_symlink():
                raise OutputError(
                    f"{path}: is a link, and araflow follows none below an output: remove it, or choose another out"
                )

    @contextlib.contextmanager
    def begun(self) -> Iterator[str]:
        """Have a session, which others know to be alive for as long as this process lives.

        Yields:
            The session's id; its work area is there.

        Raises:
            OutputError: The folder cannot be written to, or its file system has no locks.
        """
        with contextlib.ExitStack() as held:
            with self._reached():
                self._refuse_links()
                session_id = self._begin(held)
            try:
                yield session_id
            finally:
                shutil.rmtree(self.work(session_id), ignore_errors=True)
                self._lock_file(session_id).unlink(missing_ok=True)
                with contextlib.suppress(OSError):  # others are at work
                    self._all.rmdir()

    def _begin(self, held: contextlib.ExitStack) -> str:
        for _ in range(_MOST_TRIES):
            session_id = uuid.uuid4().hex
            with contextlib.suppress(FileNotFoundError):  # another session's end removed the folder
                self._all.mkdir(parents=True, exist_ok=True)
                held.enter_context(only_holder(self._lock_file(session_id)))
                self.work(session_id).mkdir()
                return session_id
            held.close()
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
        for session_id in self._ids():
            lock = self._lock_file(session_id)
            with contextlib.suppress(BlockingIOError, FileNotFoundError), only_holder(lock, make=False):
                shutil.rmtree(self.work(session_id), ignore_errors=True)
                lock.unlink()
        with contextlib.suppress(OSError):  # there is none, or others are at work
            self._all.rmdir()

    def _ids(self) -> list[str]:
        """Return the sessions of which a lock is there: it comes first, and goes last."""
        if self._all.is_symlink() or not self._all.is_dir():
            return []
        found = (path.stem for path in self._all.iterdir() if path.suffix == ".lock")
        return sorted(name for name in found if _ID.fullmatch(name) and not self._lock_file(name).is_symlink())

    def is_live(self, session_id: str) -> bool:
        """Whether the process that holds a session still lives."""
        return _is_held(self._lock_file(session_id))

    # --- looking, which changes nothing ---

    def is_locked(self) -> bool:
        """Whether a run holds the folder.

        Raises:
            OutputError: That cannot be found out.
        """
        return _is_held(self.folder / "lock")

    def seen(self) -> dict[str, bool]:
        """Return the sessions of which something is there, and whether their processes live.

        Raises:
            OutputError: That cannot be found out.
        """
        return {session_id: self.is_live(session_id) for session_id in self._ids()}

    def left(self) -> list[Path]:
        """Return what sessions have left that are dead."""
        dead = (name for name, lives in self.seen().items() if not lives)
        return [path for name in dead for path in (self.work(name), self._lock_file(name)) if path.exists()]


def _is_held(lock: Path) -> bool:
    # For an instant this keeps others from the lock.
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
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
