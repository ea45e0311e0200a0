"""A run's hold on an output in object storage, which has no locks.

An object that is made only where there is none (S3's ``If-None-Match: *``) and renewed while the run lives. A server
that ignores that condition is found out; of two runs that start within the same two seconds, the last to write has it.

A hold is dead when it has not been renewed for two minutes by the storage's own clock, or at once where it names a
process of this machine that is gone.
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
from typing import Any, Protocol

from araflow.core.errors import OutputError
from araflow.core.reading import json_of
from araflow.store._sessions import Sessions

log = logging.getLogger(__name__)
NAME = ".araflow/lock.json"
_SECONDS_TO_RENEW, _SECONDS_TO_DIE, _SECONDS_TO_SETTLE = 20.0, 120.0, 2.0
_MOST_TRIES = 20
_FIELDS = {"session": str, "host": str, "machine": str, "pid": int, "time": float}


class Storage(Protocol):
    """What a hold needs of a place in object storage."""

    @property
    def sessions(self) -> Sessions:
        """The processes of this machine that write there."""

    def read(self, name: str) -> bytes | None:
        """Return an object's content; ``None`` where there is none."""

    def put(self, name: str, content: bytes) -> None:
        """Write an object."""

    def create(self, name: str, content: bytes) -> bool:
        """Write an object where there is none, and say whether that was so."""

    def remove(self, names: list[str]) -> None:
        """Remove objects, if they are there."""

    def age(self, name: str) -> float | None:
        """Return the seconds since an object was written, by the storage's clock; ``None`` where nothing tells."""


@dataclasses.dataclass(frozen=True, slots=True)
class Lease:
    """The hold of one session.

    Attributes:
        place: What is held.
        session_id: The session.
    """

    place: Storage
    session_id: str

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the place.

        Raises:
            OutputError: Another run holds it, or has taken it because this one's renewals did not come through.
        """
        self._take()
        stop = threading.Event()
        renewing = threading.Thread(target=self._renew, args=(stop,), name="araflow-lease", daemon=True)
        renewing.start()
        known = None
        try:
            yield
        finally:
            stop.set()
            renewing.join()
            with contextlib.suppress(OutputError):  # the storage is gone; the hold dies by itself
                known = look(self.place)
                if self._is_ours(known):
                    self.place.remove([NAME])
        self._check(known)

    def check(self) -> None:
        """Make sure that a run still has its hold, which it may not if it slept for minutes.

        Raises:
            OutputError: Another run has taken it.
        """
        self._check(look(self.place))

    def _check(self, known: dict[str, Any] | None) -> None:
        if known is not None and not self._is_ours(known):
            raise OutputError(
                f"{_refusal(self.place, known)} It has taken this one for dead; run it again when that one has ended"
            )

    def _take(self) -> None:
        doubtful = False
        for _ in range(_MOST_TRIES):
            known = look(self.place)
            if self._is_ours(known):  # the answer to our own request was lost, and it was sent again
                time.sleep(_SECONDS_TO_SETTLE)
                if self._is_ours(look(self.place)):
                    return
                doubtful = True
            elif known is not None:
                if not _is_dead(self.place, known):
                    raise OutputError(_refusal(self.place, known))
                if look(self.place) == known:  # and not that of another run that has found it dead, too
                    self.place.remove([NAME])
                doubtful = True
            elif self._make():
                if not doubtful and not self._make():  # it keeps to the condition
                    return
                time.sleep(_SECONDS_TO_SETTLE)
                if self._is_ours(look(self.place)):
                    return
        raise OutputError(f"{self.place}: other araflow runs keep taking it; choose another out")

    def _make(self) -> bool:
        return self.place.create(NAME, self._text())

    def _text(self) -> bytes:
        content = {
            "session": self.session_id,
            "host": platform.node(),
            "machine": _machine(),
            "pid": os.getpid(),
            "time": time.time(),
        }
        return json.dumps(content).encode()

    def _renew(self, stop: threading.Event) -> None:
        while not stop.wait(_SECONDS_TO_RENEW):
            try:
                known = look(self.place)
                if known is not None and not self._is_ours(known):
                    log.warning("%s: another run has taken this one for dead, and writes here now", self.place)
                    return
                self.place.put(NAME, self._text())
            except OutputError as error:
                log.warning("the hold on the output could not be renewed: %s", error)

    def _is_ours(self, known: dict[str, Any] | None) -> bool:
        return known is not None and known.get("session") == self.session_id


def is_held(place: Storage, session_id: str | None = None) -> bool:
    """Whether a run holds a place, as far as its last renewal says.

    Args:
        place: The place.
        session_id: That of the only run that counts; ``None`` takes any.

    Raises:
        OutputError: The storage cannot be reached.
    """
    known = look(place)
    return known is not None and session_id in (None, known.get("session")) and not _is_dead(place, known)


def look(place: Storage) -> dict[str, Any] | None:
    """Return what the hold says: who, where and when; nothing where it is unreadable, ``None`` where there is none.

    Raises:
        OutputError: The storage cannot be reached.
    """
    content = place.read(NAME)
    if content is None:
        return None
    try:
        known = json_of(content)
        return known if all(isinstance(known[name], kind) for name, kind in _FIELDS.items()) else {}
    except (ValueError, TypeError, KeyError):
        return {}


def _refusal(place: Storage, known: dict[str, Any]) -> str:
    who = f"on {known['host']}, process {known['pid']}" if known else "its hold is unreadable"
    return (
        f"{place}: another araflow run is writing here ({who}); wait for it, or choose another out. "
        f"One that is gone is forgotten after {_SECONDS_TO_DIE:.0f} s."
    )


def _machine() -> str:
    """What tells the machines and containers apart in which a process number means different processes."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{platform.node()} {boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return platform.node()


def _is_dead(place: Storage, known: dict[str, Any]) -> bool:
    if known.get("machine") == _machine():
        if known["pid"] == os.getpid():
            return not place.sessions.is_live(known["session"])
        try:
            os.kill(known["pid"], 0)
        except ProcessLookupError:
            return True
        except OSError:  # another user's
            pass
    age = place.age(NAME)
    return (time.time() - float(known.get("time", 0.0)) if age is None else age) > _SECONDS_TO_DIE
