"""A run's hold on an output in object storage, which has no locks.

An object that is made only where there is none (S3's ``If-None-Match: *``) and renewed while the run lives. A server
that ignores that condition is found out; of two runs that start within the same two seconds, the last to write has it.

A hold is dead when it has not been renewed for two minutes by the storage's own clock, or at once where it names a
process of this machine that is gone.
"""

from __future__ import annotations

import contextlib
import email.utils
import json
import logging
import os
import platform
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from araflow.core.errors import OutputError

if TYPE_CHECKING:
    from araflow.store.remote import RemoteStore

log = logging.getLogger(__name__)
NAME = ".araflow/lock.json"
_SECONDS_TO_RENEW, _SECONDS_TO_DIE, _SECONDS_TO_SETTLE = 20.0, 120.0, 2.0
_MOST_TRIES = 20
_FIELDS = {"session": str, "host": str, "machine": str, "pid": int, "time": float}
_REFUSED = {409, 412}
"""HTTP's Conflict (another one is just being made) and Precondition Failed (there is one)."""


@contextlib.contextmanager
def held(store: RemoteStore) -> Iterator[None]:
    """Hold an output for the session that ``store`` is bound to.

    Raises:
        OutputError: Another run holds it, or has taken it because this one's renewals did not come through.
    """
    _take(store)
    stop = threading.Event()
    renewing = threading.Thread(target=_renew, args=(store, stop), name="araflow-lease", daemon=True)
    renewing.start()
    known = None
    try:
        yield
    finally:
        stop.set()
        renewing.join()
        with contextlib.suppress(OutputError):  # the storage is gone; the hold dies by itself
            known = look(store)
            if _is_ours(store, known):
                store.remove_state(_STATE)
    _check(store, known)


def check(store: RemoteStore) -> None:
    """Make sure that a run still has its hold, which it may not if it slept for minutes.

    Raises:
        OutputError: Another run has taken it.
    """
    _check(store, look(store))


def _check(store: RemoteStore, known: dict[str, Any] | None) -> None:
    if known is not None and not _is_ours(store, known):
        raise OutputError(
            f"{_refusal(store, known)} It has taken this one for dead; run it again when that one has ended"
        )


def is_live(store: RemoteStore, session_id: str) -> bool:
    """Whether a session holds the output, as far as its last renewal says.

    Raises:
        OutputError: The storage cannot be reached.
    """
    known = look(store)
    return known is not None and known.get("session") == session_id and not _is_dead(store, known)


def look(store: RemoteStore) -> dict[str, Any] | None:
    """Return what the hold says: who, where and when; nothing where it is unreadable, ``None`` where there is none.

    Raises:
        OutputError: The storage cannot be reached.
    """
    try:
        known = json.loads(store.read_state(_STATE))
        return known if all(isinstance(known[name], kind) for name, kind in _FIELDS.items()) else {}
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError):
        return {}


_STATE = NAME.removeprefix(".araflow/")


def _take(store: RemoteStore) -> None:
    doubtful = False
    for _ in range(_MOST_TRIES):
        known = look(store)
        if _is_ours(store, known):  # the answer to our own request was lost, and it was sent again
            time.sleep(_SECONDS_TO_SETTLE)
            if _is_ours(store, look(store)):
                return
            doubtful = True
        elif known is not None:
            if not _is_dead(store, known):
                raise OutputError(_refusal(store, known))
            if look(store) == known:  # and not that of another run that has found it dead, too
                store.remove_state(_STATE)
            doubtful = True
        elif _make(store):
            if not doubtful and not _make(store):  # it keeps to the condition
                return
            time.sleep(_SECONDS_TO_SETTLE)
            if _is_ours(store, look(store)):
                return
    raise OutputError(f"{store.out}: other araflow runs keep taking it; choose another out")


def _refusal(store: RemoteStore, known: dict[str, Any]) -> str:
    who = f"on {known['host']}, process {known['pid']}" if known else "its hold is unreadable"
    return (
        f"{store.out}: another araflow run is writing here ({who}); wait for it, or choose another out. "
        f"One that is gone is forgotten after {_SECONDS_TO_DIE:.0f} s."
    )


def _make(store: RemoteStore) -> bool:
    with store.reached():
        try:
            store.files.pipe_file(store.object(NAME), _text(store), mode="create")
        except FileExistsError:
            return False
        except OSError as error:  # s3fs knows Amazon's answer only
            response = getattr(error.__cause__, "response", None) or {}
            if response.get("ResponseMetadata", {}).get("HTTPStatusCode") in _REFUSED:
                return False
            raise
    return True


def _text(store: RemoteStore) -> bytes:
    content = {
        "session": store.session_id,
        "host": platform.node(),
        "machine": _machine(),
        "pid": os.getpid(),
        "time": time.time(),
    }
    return json.dumps(content).encode()


def _machine() -> str:
    """What tells the machines and containers apart in which a process number means different processes."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{platform.node()} {boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return platform.node()


def _renew(store: RemoteStore, stop: threading.Event) -> None:
    while not stop.wait(_SECONDS_TO_RENEW):
        try:
            known = look(store)
            if known is not None and not _is_ours(store, known):
                log.warning("%s: another run has taken this one for dead, and writes here now", store.out)
                return
            store.write_state(_STATE, _text(store))
        except OutputError as error:
            log.warning("the hold on the output could not be renewed: %s", error)


def _is_ours(store: RemoteStore, known: dict[str, Any] | None) -> bool:
    return known is not None and known.get("session") == store.session_id


def _is_dead(store: RemoteStore, known: dict[str, Any]) -> bool:
    if known.get("machine") == _machine():
        if known["pid"] == os.getpid():
            return not store.is_live_here(known["session"])
        try:
            os.kill(known["pid"], 0)
        except ProcessLookupError:
            return True
        except OSError:  # another user's
            pass
    return _age(store, known) > _SECONDS_TO_DIE


def _age(store: RemoteStore, known: dict[str, Any]) -> float:
    """Return the seconds since the last renewal: by the storage's clock, because machines' clocks differ."""
    if not hasattr(store.files, "call_s3"):
        return time.time() - float(known.get("time", 0.0))
    bucket, key, _ = store.files.split_path(store.object(NAME))
    with store.reached():
        try:
            head = store.files.call_s3("head_object", Bucket=bucket, Key=key)
        except FileNotFoundError:
            return 0.0
    now = email.utils.parsedate_to_datetime(head["ResponseMetadata"]["HTTPHeaders"]["date"])
    return float((now - head["LastModified"]).total_seconds())
