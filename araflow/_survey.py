"""What lies in an output: which clips are listed, and what is known of each. Reading changes nothing there."""

from __future__ import annotations

import dataclasses
import datetime
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path

from araflow import build_note
from araflow.build_note import BuildNote
from araflow.clip import ClipRecord, Outcome
from araflow.errors import OutputError
from araflow.manifest import Manifest
from araflow.store import PROOF, Store, open_store

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
    """

    key: str
    label: str | None
    outcome: Outcome | None = None
    reason: str = ""
    settled: float | None = None

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


def find_output(out: str) -> Store:
    """Return an output that is there.

    Raises:
        OutputError: It is none, or an address, which is not read yet.
    """
    if "://" in out:
        raise OutputError(f"{out}: only folders are looked into yet, no addresses")
    store = open_store(out)
    if not Path(out).is_dir():
        raise OutputError(f"{out}: no such folder")
    if not store.state.is_dir() and not store.manifest.is_file():
        raise OutputError(
            f"{out}: is no output of araflow: it has neither {store.manifest.name} nor {store.state.name}; name the "
            "folder that is out in the settings"
        )
    return store


def survey(store: Store) -> Survey:
    """Read what lies in an output.

    Raises:
        OutputError: The note cannot be read.
        ManifestError: The manifest cannot be read.
    """
    running = is_running(store)
    note = build_note.read(store)
    manifest = Manifest.read(store.manifest) if store.manifest.is_file() else None
    if note is not None:
        fingerprint, label_of = note.fingerprint, note.label_of
    elif manifest is not None:
        keys, labels, prints = (manifest.table.column(name).to_pylist() for name in ("key", "label", "fingerprint"))
        fingerprint, label_of = prints[0] if prints else "", dict(zip(keys, labels, strict=True))
    else:
        return Survey(store, None, None, None, running)
    again = begun(note) - _CLOCK_STEP if note is not None and running else None
    unmade = {record.key: (record, time) for _, record, time in records(store)}
    entries = []
    for key, label in label_of.items():
        found = _read(store.clip_folder(key) / PROOF)
        if found is None or found[0].fingerprint != fingerprint:
            found = unmade.get(key)
        if found is None or found[0].fingerprint != fingerprint:
            entries.append(Entry(key, label))
            continue
        record, time = found
        if again is not None and record.outcome is Outcome.FAILED and time < again:
            entries.append(Entry(key, label))  # an earlier run's, which this one will try
            continue
        entries.append(Entry(key, label, record.outcome, record.reason, time))
    return Survey(store, note, manifest, entries, running)


def is_running(store: Store) -> bool:
    """Whether a run holds an output. Asking changes nothing there."""
    return _is_held(store.state / "lock")


def sessions(store: Store) -> dict[str, bool]:
    """Return the sessions whose files are there, and whether the process of each lives."""
    folder = store.state / "work"
    names = {entry.name.removesuffix(".lock") for entry in os.scandir(folder)} if folder.is_dir() else set()
    return {name: _is_held(folder / f"{name}.lock") for name in sorted(names)}


def live_sessions(store: Store) -> list[Path]:
    """Return the work areas of the processes that write to an output now."""
    return [store.state / "work" / name for name, lives in sessions(store).items() if lives]


def records(store: Store) -> Iterator[tuple[Path, ClipRecord, float]]:
    """Yield the records of clips that were not made, with their files and when each was written."""
    folder = store.state / "records"
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else ():
        found = _read(path)
        if found is not None:
            yield path, *found


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


def _read(path: Path) -> tuple[ClipRecord, float] | None:
    try:
        with path.open("rb") as file:
            return ClipRecord.from_json(json.loads(file.read())), os.fstat(file.fileno()).st_mtime
    except (OSError, ValueError, TypeError, KeyError):
        return None  # as the build takes it: absent, or another version's


def begun(note: BuildNote) -> float:
    """Return when the clips of the last run were listed, in seconds since 1970."""
    return datetime.datetime.fromisoformat(note.begun).timestamp()
