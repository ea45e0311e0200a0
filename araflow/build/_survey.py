"""What lies in an output: which clips are listed, and what is known of each. Reading changes nothing there."""

from __future__ import annotations

import dataclasses
import datetime
import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from araflow.build import note as build_note
from araflow.build.note import BuildNote
from araflow.core.clip import ClipRecord, Outcome
from araflow.core.errors import ManifestError, OutputError
from araflow.core.files import PROOF, STATE
from araflow.store import _remote_look
from araflow.store.manifest import Manifest
from araflow.store.places import open_store
from araflow.store.remote import RemoteStore
from araflow.store.store import Store

_NO_OUTPUT = (
    "is no output of araflow: it has neither manifest.parquet nor .araflow; name the folder that is out in the settings"
)
_COLUMNS = ("key", "label", "outcome", "reason", "fingerprint", "source_sha256", "path")
"""Of the manifest, those that are looked at."""
_CLOCK_STEP = 1.0
"""Seconds by which a file may seem older than it is: file systems and other machines have clocks of their own."""


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """A listed clip.

    Attributes:
        key: Its key.
        label: Its class.
        outcome: What became of it under the current settings; ``None`` if that is to come.
        reason: Why, as in the manifest.
        settled: When that was written, in seconds since 1970.
        made_from: Fingerprint of the settings and SHA-256 of the source that it was made from.
    """

    key: str
    label: str | None
    outcome: Outcome | None = None
    reason: str = ""
    settled: float | None = None
    made_from: tuple[str | None, str | None] | None = None

    @property
    def reason_code(self) -> str:
        """The part of ``reason`` that counts are grouped by."""
        return self.reason.partition(":")[0]


@dataclasses.dataclass(frozen=True, slots=True)
class Survey:
    """What lies in an output.

    Attributes:
        store: The output.
        note: What it is built from; ``None`` where an older araflow built it.
        manifest: Its manifest; ``None`` if there is none yet.
        entries: The listed clips, sorted by key; ``None`` where none have been listed.
        running: A run holds the output.
    """

    store: Store
    note: BuildNote | None
    manifest: Manifest | None
    entries: list[Entry] | None
    running: bool

    @property
    def built(self) -> bool:
        """Whether a build made it; else a manifest lists folders that something else made, such as TAO's."""
        return self.note is not None or self.manifest is None or bool(self.manifest.settings)


def find_output(out: str) -> Store:
    """Return an output that is there.

    Raises:
        OutputError: It is none, or its address cannot be reached.
        UnavailableError: What reaches the address is not installed.
    """
    store = open_store(out)
    if isinstance(store, RemoteStore):
        if not _remote_look.is_there(store):
            raise OutputError(f"{out}: nothing is there")
        if not store.manifest.is_file() and not _remote_look.has_state(store):
            raise OutputError(f"{out}: {_NO_OUTPUT}")
        return store
    if not Path(out).is_dir():
        raise OutputError(f"{out}: no such folder")
    if not store.state.is_dir() and not store.manifest.is_file():
        raise OutputError(f"{out}: {_NO_OUTPUT}")
    return store


def survey(store: Store) -> Survey:
    """Read what lies in an output.

    Raises:
        OutputError: The note cannot be read.
        ManifestError: The manifest cannot be read.
    """
    running = is_running(store)
    note = build_note.read(store)
    manifest = Manifest.read(store.manifest, _COLUMNS) if store.manifest.is_file() else None
    if note is None and manifest is not None and not manifest.settings:
        return Survey(store, None, manifest, list(_as_listed(manifest)), running)
    written: dict[str, Entry] = {}
    if note is not None:
        fingerprint, label_of = note.fingerprint, note.label_of
    elif manifest is not None:
        fingerprint = manifest.row(0)["fingerprint"] if len(manifest) else ""
        label_of = dict(manifest.columns("key", "label"))
        # A copy of what is visible has no records, and its manifest is all that is known of clips that are not there.
        written = {entry.key: entry for entry in _entries_of(manifest) if entry.outcome is not Outcome.DONE}
    else:
        return Survey(store, None, None, None, running)
    again = begun(note) - _CLOCK_STEP if note is not None and running else None
    unmade = {record.key: (record, time) for _, record, time in records(store)}
    entries = []
    for (key, label), made in zip(label_of.items(), _proofs(store, label_of, running), strict=True):
        found = next(
            (one for one in (made, unmade.get(key)) if one is not None and one[0].fingerprint == fingerprint), None
        )
        if found is None:
            entries.append(written.get(key) or Entry(key, label))
            continue
        record, time = found
        if again is not None and record.outcome is Outcome.FAILED and time is not None and time < again:
            entries.append(Entry(key, label))  # an earlier run's, which this one will try
            continue
        made_from = (record.fingerprint, record.source_sha256)
        entries.append(Entry(key, label, record.outcome, record.reason, time, made_from))
    return Survey(store, note, manifest, entries, running)


def _entries_of(manifest: Manifest) -> Iterator[Entry]:
    """Yield what a manifest says of its clips."""
    for key, label, outcome, reason, fingerprint, digest, _ in manifest.columns(*_COLUMNS):
        if outcome not in set(Outcome):
            raise ManifestError(
                f"{manifest.folder}: clip {key!r} has the outcome {outcome!r}; allowed: {', '.join(Outcome)}"
            )
        yield Entry(key, label, Outcome(outcome), reason or "", None, (fingerprint, digest))


def _as_listed(manifest: Manifest) -> Iterator[Entry]:
    """Yield what a manifest says that no build wrote, such as TAO's folders: its clips have no proofs."""
    for entry, (path,) in zip(_entries_of(manifest), manifest.columns("path"), strict=True):
        gone = entry.outcome is Outcome.DONE and not (path and (manifest.folder / path).is_dir())
        yield Entry(entry.key, entry.label) if gone else entry


def is_running(store: Store) -> bool:
    """Whether a run holds an output. Asking changes nothing there."""
    if isinstance(store, RemoteStore) and _remote_look.is_running(store):
        return True
    return _is_held(store.state / "lock")


def sessions(store: Store) -> dict[str, bool]:
    """Return the sessions whose files are there (of an address, on this machine), and whether the process lives."""
    folder = store.state / "work"
    names = {entry.name.removesuffix(".lock") for entry in os.scandir(folder)} if folder.is_dir() else set()
    return {name: _is_held(folder / f"{name}.lock") for name in sorted(names)}


def live_sessions(store: Store) -> list[Path]:
    """Return the work areas of the processes that write to an output now."""
    return [store.state / "work" / name for name, lives in sessions(store).items() if lives]


def records(store: Store) -> Iterator[tuple[str, ClipRecord, float | None]]:
    """Yield the records of clips that were not made, with their names below the output and when each was written."""
    if isinstance(store, RemoteStore):
        names = _remote_look.records(store)
        read = [_parsed(*one) for one in _remote_look.read(store, names, timed=True)]
    else:
        folder = store.state / "records"
        names = sorted(f"{STATE}/records/{path.name}" for path in folder.glob("*.json")) if folder.is_dir() else []
        read = [_read(store.out / name) for name in names]
    yield from ((name, *found) for name, found in zip(names, read, strict=True) if found is not None)


def _proofs(store: Store, keys: Iterable[str], timed: bool) -> Iterator[tuple[ClipRecord, float | None] | None]:
    """Yield the proof of each clip, ``None`` where there is none; of an address, with its time only if ``timed``."""
    if isinstance(store, RemoteStore):
        names = (f"clips/{key}/{PROOF}" for key in keys)
        yield from (_parsed(*one) for one in _remote_look.read(store, names, timed=timed))
    else:
        yield from (_read(store.clip_folder(key) / PROOF) for key in keys)


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


def _read(path: Path) -> tuple[ClipRecord, float | None] | None:
    try:
        with path.open("rb") as file:
            return _parsed(file.read(), os.fstat(file.fileno()).st_mtime)
    except OSError:
        return None  # as the build takes it


def _parsed(content: bytes | None, time: float | None) -> tuple[ClipRecord, float | None] | None:
    try:
        return None if content is None else (ClipRecord.from_json(json.loads(content)), time)
    except (ValueError, TypeError, KeyError):
        return None  # another version's


def begun(note: BuildNote) -> float:
    """Return when the clips of the last run were listed, in seconds since 1970."""
    return datetime.datetime.fromisoformat(note.begun).timestamp()
