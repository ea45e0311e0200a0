"""What lies in an output: which clips are listed, and what is known of each. Reading changes nothing there."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterator

from araflow.build import note as build_note
from araflow.build.note import BuildNote
from araflow.core.clip import Outcome
from araflow.core.errors import ManifestError, OutputError
from araflow.core.files import STATE
from araflow.store import listing
from araflow.store.address import is_remote, open_store
from araflow.store.layout import MANIFEST
from araflow.store.manifest import Manifest
from araflow.store.store import Store

_COLUMNS = ("key", "label", "outcome", "reason", "fingerprint", "source_sha256", "path")
"""Of the manifest, those that are looked at."""
_OUTCOMES = frozenset(Outcome)
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


def read(store: Store) -> Output:
    """Read what lies in an output.

    Raises:
        OutputError: The note, a proof or a record cannot be read.
        ManifestError: The manifest cannot be read.
    """
    running = store.is_running()
    note = build_note.read(store)
    manifest = Manifest.read(store.manifest, _COLUMNS) if store.place.exists(MANIFEST) else None
    if note is None and manifest is not None and not manifest.settings:
        return Output(store, None, manifest, list(_as_listed(manifest)), running)
    written: dict[str, Entry] = {}
    if note is not None:
        fingerprint, label_of = note.fingerprint, note.label_of
    elif manifest is not None:
        fingerprint = manifest.row(0)["fingerprint"] if len(manifest) else ""
        label_of = dict(manifest.columns("key", "label"))
        # A copy of what is visible has no records, and its manifest is all that is known of clips that are not there.
        written = {entry.key: entry for entry in _entries_of(manifest) if entry.outcome is not Outcome.DONE}
    else:
        return Output(store, None, None, None, running)
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
    return Output(store, note, manifest, entries, running)


def _entries_of(manifest: Manifest) -> Iterator[Entry]:
    """Yield what a manifest says of its clips."""
    for key, label, outcome, reason, fingerprint, digest, _ in manifest.columns(*_COLUMNS):
        if outcome not in _OUTCOMES:
            raise ManifestError(
                f"{manifest.folder}: clip {key!r} has the outcome {outcome!r}; allowed: {', '.join(Outcome)}"
            )
        yield Entry(key, label, Outcome(outcome), reason or "", None, (fingerprint, digest))


def _as_listed(manifest: Manifest) -> Iterator[Entry]:
    """Yield what a manifest says that no build wrote, such as TAO's folders: its clips have no proofs."""
    for entry, (path,) in zip(_entries_of(manifest), manifest.columns("path"), strict=True):
        gone = entry.outcome is Outcome.DONE and not (path and (manifest.folder / path).is_dir())
        yield Entry(entry.key, entry.label) if gone else entry


def begun(note: BuildNote) -> float:
    """Return when the clips of the last run were listed, in seconds since 1970."""
    return datetime.datetime.fromisoformat(note.begun).timestamp()
