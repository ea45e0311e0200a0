"""What lies in an output: which clips are listed, and what is known of each. Reading changes nothing there."""

from __future__ import annotations

import dataclasses
import datetime
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from araflow.build import note as build_note
from araflow.build.note import BuildNote, UnreadableNoteError
from araflow.core.clip import Outcome
from araflow.core.errors import ManifestError, OutputError
from araflow.core.files import STATE, explained
from araflow.store import listing
from araflow.store.address import is_remote, open_store
from araflow.store.layout import MANIFEST
from araflow.store.manifest import Manifest
from araflow.store.store import Store

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
class Output:
    """What lies in an output.

    Attributes:
        store: The output.
        note: What it is built from; ``None`` where an older araflow built it.
        manifest: Its manifest; ``None`` if there is none yet.
        entries: The listed clips, sorted by key; ``None`` where none have been listed.
        running: A run holds the output.
        unreadable: See ``State``.
    """

    store: Store
    note: BuildNote | None
    manifest: Manifest | None
    entries: list[Entry] | None
    running: bool
    unreadable: Mapping[str, str]

    @property
    def built(self) -> bool:
        """Whether a build made it; else a manifest lists folders that something else made, such as TAO's."""
        return self.note is not None or self.manifest is None or bool(self.manifest.settings)


def find(out: str) -> Store:
    """Return an output that is there.

    Raises:
        OutputError: It is none, or its address cannot be reached.
        UnavailableError: What reaches the address is not installed.
    """
    store = open_store(out)
    if not store.place.exists(""):
        raise OutputError(f"{out}: {'nothing is there' if is_remote(out) else 'no such folder'}")
    if not any(store.place.exists(name) for name in (STATE, MANIFEST)):
        raise OutputError(
            f"{out}: is no output of araflow: it has neither manifest.parquet nor .araflow; name the folder that is "
            "out in the settings"
        )
    return store


class State(NamedTuple):
    """What an output says of itself.

    Attributes:
        note: What it is built from; ``None`` if there is none, or none that can be.
        manifest: Likewise.
        unreadable: Which of the two are there and say what cannot be, by file name, and why.
    """

    note: BuildNote | None
    manifest: Manifest | None
    unreadable: dict[str, str]


def read_state(store: Store, columns: Sequence[str]) -> State:
    """Read note and manifest, as far as they can be: what both say is known from the clips, too.

    Args:
        store: The output.
        columns: Those of the manifest that will be asked for.

    Raises:
        OutputError: One of them cannot be read from the disk, so that nobody knows what it says.
    """
    note = manifest = None
    unreadable = {}
    try:
        note = build_note.read(store)
    except UnreadableNoteError as error:
        unreadable[build_note.NAME] = str(error)
    try:
        manifest = Manifest.read(store.manifest, columns) if store.place.exists(MANIFEST) else None
    except ManifestError as error:
        unreadable[MANIFEST] = str(error)
    return State(note, manifest, unreadable)


def is_ours(store: Store) -> bool:
    """Whether araflow has made anything in an output.

    Raises:
        OutputError: That cannot be read.
    """
    if store.read_state(build_note.NAME) is not None:
        return True
    return next(listing.clips(store.place), None) is not None or next(listing.records(store.place), None) is not None


def put_aside(store: Store, name: str) -> str:
    """Rename a file that cannot be read as what it should be, never over something, and return its new name.

    Call it when the output is held.

    Args:
        store: The output.
        name: The file, right below the output.

    Raises:
        OutputError: It cannot be renamed.
    """
    names = (f"{name}.unreadable{f'-{number}' if number else ''}" for number in itertools.count())
    free = next(one for one in names if not store.place.exists(one))
    with store.place.reached(), explained(store.out / name, "cannot be put aside"):
        (store.out / name).rename(store.out / free)
    return free


def read(store: Store) -> Output:
    """Read what lies in an output.

    Raises:
        OutputError: The note, the manifest, a proof or a record cannot be read from the disk.
    """
    running = store.is_running()
    note, manifest, unreadable = read_state(store, _COLUMNS)
    if note is None and manifest is not None and not manifest.settings:
        return Output(store, None, manifest, list(_as_listed(manifest)), running, unreadable)
    written: dict[str, Entry] = {}
    if note is not None:
        fingerprint, label_of = note.fingerprint, note.label_of
    elif manifest is not None:
        fingerprint = manifest.row(0)["fingerprint"] if len(manifest) else ""
        label_of = dict(manifest.columns("key", "label"))
        # A copy of what is visible has no records, and its manifest is all that is known of clips that are not there.
        written = {entry.key: entry for entry in _entries_of(manifest) if entry.outcome is not Outcome.DONE}
    else:
        return Output(store, None, None, None, running, unreadable)
    again = begun(note) - _CLOCK_STEP if note is not None and running else None
    unmade = {record.key: (record, time) for _, record, _, time in listing.records(store.place)}
    entries = []
    for (key, label), made in zip(label_of.items(), listing.proofs(store.place, label_of, timed=running), strict=True):
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
    return Output(store, note, manifest, entries, running, unreadable)


def _entries_of(manifest: Manifest) -> Iterator[Entry]:
    """Yield what a manifest says of its clips."""
    for key, label, outcome, reason, fingerprint, digest, _ in manifest.columns(*_COLUMNS):
        yield Entry(key, label, Outcome(outcome), reason or "", None, (fingerprint, digest))


def _as_listed(manifest: Manifest) -> Iterator[Entry]:
    """Yield what a manifest says that no build wrote, such as TAO's folders: its clips have no proofs."""
    for entry, (path,) in zip(_entries_of(manifest), manifest.columns("path"), strict=True):
        gone = entry.outcome is Outcome.DONE and not (path and (manifest.folder / path).is_dir())
        yield Entry(entry.key, entry.label) if gone else entry


def begun(note: BuildNote) -> float:
    """Return when the clips of the last run were listed, in seconds since 1970."""
    return datetime.datetime.fromisoformat(note.begun).timestamp()
