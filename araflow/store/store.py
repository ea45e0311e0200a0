"""An output: where clips lie, and how a clip appears whole or not at all, in a folder or in object storage.

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
import re
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

from araflow.core.clip import ClipRecord, Outcome
from araflow.core.files import STATE, explained
from araflow.store import _placing, layout, ownership
from araflow.store.draft import ClipDraft
from araflow.store.layout import KINDS, MANIFEST, clip_name, is_same, is_whole, proof_name, record_name
from araflow.store.place import Place

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
_RANGES = f"{STATE}/ranges"
_RANGE = re.compile(r"range-[\w-]+(\.result)?\.json")


class Known(NamedTuple):
    """What an output knows of a clip.

    Attributes:
        record: That it is made by the settings that were asked for, or why it was not; ``None`` if it is to come.
        made: The proof of the clip that is there and whole, by whatever settings; ``None`` if there is none.
    """

    record: ClipRecord | None
    made: ClipRecord | None


@dataclasses.dataclass(frozen=True, slots=True)
class Store:
    """An output. Making one touches nothing.

    Attributes:
        place: Where it lies.
        session_id: The session that half-made clips belong to; empty before ``locked`` or ``session``.
    """

    place: Place
    session_id: str = ""

    @property
    def out(self) -> Path:
        """Where it lies; of an address, a path of universal-pathlib."""
        return self.place.root

    @property
    def state(self) -> Path:
        """Folder on this machine of everything that is only worked with; where the output is a folder, hidden there."""
        return self.place.sessions.folder

    @property
    def work(self) -> Path:
        """Folder on this machine of half-made clips."""
        return self.place.sessions.work(self.session_id)

    @property
    def manifest(self) -> Path:
        """The manifest file."""
        return self.out / MANIFEST

    def clip_folder(self, key: str) -> Path:
        """Folder of a finished clip."""
        return self.out / clip_name(key)

    # --- runs ---

    @contextlib.contextmanager
    def locked(self) -> Iterator[Store]:
        """Hold the output for one run, and remove what dead sessions of this machine have left.

        Yields:
            The store, bound to a session.

        Raises:
            OutputError: Another run holds it, it cannot be written to, or its file system has no locks.
        """
        with self.place.sessions.locked(), self.session() as bound, self.place.held(bound.session_id):
            bound._remove_ranges()
            ownership.settle(self.place)
            yield bound
            bound.check_held()
            bound._remove_ranges()  # nobody will take them

    @contextlib.contextmanager
    def session(self) -> Iterator[Store]:
        """Have a work area of one's own, which others know to be alive for as long as this process lives.

        For processes that make clips for the run that holds the output, on this machine or another.

        Yields:
            The store, bound to the session.

        Raises:
            OutputError: The folder cannot be written to, or its file system has no locks.
        """
        with self.place.sessions.begun() as session_id:
            yield dataclasses.replace(self, session_id=session_id)

    def check_held(self) -> None:
        """Make sure that this run still holds the output.

        Raises:
            OutputError: Another run has taken it.
        """
        if self.session_id:
            self.place.check_held(self.session_id)

    def is_live(self, session_id: str) -> bool:
        """Whether the process that holds a session still lives; on another machine, as far as is known here.

        Raises:
            OutputError: The storage cannot be reached.
        """
        return self.place.sessions.is_live(session_id) or self.place.is_held(session_id)

    def is_running(self) -> bool:
        """Whether a run holds the output. Asking changes nothing there.

        Raises:
            OutputError: That cannot be found out.
        """
        return self.place.sessions.is_locked() or self.place.is_held()

    def map(self, function: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
        """Yield what a function that looks into the output returns for each item, in their order; many at once."""
        return self.place.map(function, items)

    # --- state ---

    def write_state(self, name: str, content: bytes) -> None:
        """Write a file of the hidden folder, which all machines see, whole or not at all.

        Raises:
            OutputError: It cannot be written.
        """
        self.place.replace(f"{STATE}/{name}", content)

    def read_state(self, name: str) -> bytes | None:
        """Return what ``write_state`` wrote; ``None`` where there is no such file.

        Raises:
            OutputError: It cannot be read.
        """
        return self.place.read(f"{STATE}/{name}")

    def remove_state(self, name: str) -> None:
        """Remove what ``write_state`` wrote, if it is there.

        Raises:
            OutputError: It cannot be removed.
        """
        self.place.remove([f"{STATE}/{name}"])

    def ranges(self) -> dict[str, int]:
        """Return what was handed to other machines, named from the output, and the sizes in bytes.

        Raises:
            OutputError: They cannot be listed.
        """
        found = self.place.sizes(_RANGES, deep=False)
        return {f"{_RANGES}/{name}": size for name, size in found.items() if _RANGE.fullmatch(name)}

    def _remove_ranges(self) -> None:
        self.place.remove(self.ranges())
        self.place.remove_empty(_RANGES)

    # --- what is known of clips ---

    def look(self, key: str, fingerprint: str | None = None, *, count_files: bool = True) -> Known:
        """Return what is known of a clip; its folder is listed once, where it has a proof.

        Args:
            key: The clip's key.
            fingerprint: The settings that were asked for; ``None`` takes any.
            count_files: Hold the clip's files against its proof; else the proof is taken at its word, and no folder is
                listed.

        Raises:
            OutputError: What is there cannot be read.
        """
        made = self.find_made(key) if count_files else self.read_proof(key)
        if made is not None and fingerprint in (None, made.fingerprint):
            return Known(made, made)
        unmade = layout.parse_unmade(self.place.read(record_name(key)), record_name(key))
        return Known(unmade if unmade is not None and fingerprint in (None, unmade.fingerprint) else None, made)

    def find(self, key: str, fingerprint: str | None = None, *, count_files: bool = True) -> ClipRecord | None:
        """Return what is known of a clip: that it is made, or why it was not; see ``look``."""
        return self.look(key, fingerprint, count_files=count_files).record

    def find_made(self, key: str) -> ClipRecord | None:
        """Return the proof of a clip that is made, by whatever settings; ``None`` if it is not whole.

        Raises:
            OutputError: What is there cannot be read.
        """
        record = self.read_proof(key)
        return record if record is not None and is_whole(self.place.sizes(clip_name(key)), record) else None

    def read_proof(self, key: str) -> ClipRecord | None:
        """Return the proof of a clip, without a look at its files; ``None`` if it has none.

        Raises:
            OutputError: What is there cannot be read.
        """
        return _placing.read_proof(self.place, key)

    # --- writing clips ---

    def begin(self, *further: str) -> ClipDraft:
        """Start a clip in the work area, with a folder for each of these kinds of files beside the usual ones."""
        return ClipDraft(self.work / uuid.uuid4().hex, (*KINDS, *further))

    def commit(self, draft: ClipDraft, record: ClipRecord, *, keep_rgb: bool) -> None:
        """Write the proof and have the clip appear, replacing what an earlier run made.

        Where another process has made the same clip meanwhile, its is kept: both hold the same.

        Args:
            draft: The clip's files.
            record: The clip's record; its ``outcome`` is done.
            keep_rgb: Take over the earlier clip's ``rgb`` folder instead of the draft's (empty) one.

        Raises:
            OutputError: The clip would lie inside another one's folder, or hold others.
            OSError: It cannot be written, or the ``rgb`` folder to keep is gone.
        """
        _placing.commit(self.place, draft, record, keep_rgb=keep_rgb)

    def write_record(self, record: ClipRecord) -> None:
        """Keep the record of a clip that was not made.

        What an earlier run made of it is removed, if the source has been read and found wanting; it stays where the
        source is gone, or where this run failed for reasons of its own.

        Raises:
            OutputError: It cannot be written.
        """
        failed = record.outcome is Outcome.FAILED
        if failed and is_same(self.find_made(record.key), record):
            return

        def remove_made() -> None:
            if not failed and record.source_sha256 is not None:
                self.remove_clip(record.key)

        self._put_record(record, record_name(record.key), remove_made)

    def withdraw(self, made: ClipRecord) -> None:
        """Have a clip count as not made, since its files are damaged; they stay until it is made anew.

        Raises:
            OutputError: Its proof cannot be written.
        """
        reason = "io-error: its files are not those that were written"
        self._put_record(dataclasses.replace(made, outcome=Outcome.FAILED, reason=reason), proof_name(made.key))

    def _put_record(self, record: ClipRecord, name: str, before: Callable[[], None] = lambda: None) -> None:
        draft = self.work / f"{uuid.uuid4().hex}.json"
        with explained(self.out, f"no record of {record.key!r} can be written"):
            draft.write_bytes(layout.encode(record))
            self.place.put_file(draft, name, before)

    def remove_record(self, key: str) -> None:
        """Forget why a clip was not made.

        Raises:
            OutputError: It cannot be removed.
        """
        self.place.remove([record_name(key)])

    def remove_clip(self, key: str) -> None:
        """Remove what an earlier run made of a clip, its proof first or all at once; what is not the clip's stays.

        Raises:
            OutputError: The folder is no clip but holds others: a clip is named as a class is.
            OSError: It cannot be removed.
        """
        _placing.remove(self.place, key, self.work / uuid.uuid4().hex)
