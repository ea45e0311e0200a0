"""The output folder: where clips lie, how frames are named, and how a clip appears whole or not at all.

::

    <out>/clips/<class>/<clip>/{rgb,u,v}/   frames; nothing else is visible, so folder-walking loaders find only frames
    <out>/clips/<class>/<clip>/.araflow.json   the clip's record: the proof that it is complete
    <out>/.araflow/records/<digest>.json    records of clips that were not made, by a digest of their key
    <out>/.araflow/work/                    half-made clips; emptied at every start
    <out>/.araflow/lock                     held while a run writes here
    <out>/manifest.parquet
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import filelock

from araflow.clip import ClipRecord, Outcome
from araflow.errors import OutputError
from araflow.fingerprint import digest

if TYPE_CHECKING:  # worker processes start sooner without the settings' machinery
    from araflow.spec import Naming

PROOF = ".araflow.json"
STATE = ".araflow"
KINDS = ("rgb", "u", "v")
LOSSLESS = "flow"
"""The fourth folder of a clip, where 16-bit flow is asked for."""
_FIRST = {"card": 0, "recipe": 1}
_DIGITS = {"card": 4, "recipe": 6}


def stem(naming: Naming, index: int, total: int) -> str:
    """Return the file name, without suffix, of 0-based frame ``index`` of ``total``.

    Zero-padded, so that sorting names sorts frames: at least 4 digits from 0 (``card``, after NVIDIA's model card), at
    least 6 from 1 (``recipe``, after its scripts), more where ``total`` needs them. Flow from frame k to k+1 has frame
    k's name.
    """
    first = _FIRST[naming]
    return f"{index + first:0{max(_DIGITS[naming], len(str(total - 1 + first)))}d}"


@dataclasses.dataclass(frozen=True, slots=True)
class Store:
    """An output folder. Making one touches nothing."""

    out: Path

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
    def locked(self) -> Iterator[None]:
        """Hold the folder for one run: make it, and empty the work area.

        Raises:
            OutputError: Another run holds it, or it cannot be written to.
        """
        lock = filelock.FileLock(self.state / "lock", timeout=0)
        try:
            self.state.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except filelock.Timeout:
            raise OutputError(
                f"{self.out}: another araflow run is writing here; wait for it, or choose another out"
            ) from None
        except OSError as error:
            raise OutputError(f"{self.out}: cannot be written to: {error.strerror}") from error
        try:
            shutil.rmtree(self.work, ignore_errors=True)
            self.work.mkdir(exist_ok=True)
            yield
            shutil.rmtree(self.work, ignore_errors=True)
        finally:
            lock.release()

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
        return _load(self._record_file(key))

    def find_made(self, key: str) -> ClipRecord | None:
        """Return the proof of a clip that is made, by whatever settings; ``None`` if it is not whole."""
        record = _load(self.clip_folder(key) / PROOF)
        return record if record is not None and _complete(self.clip_folder(key), record) else None

    def write_record(self, record: ClipRecord) -> None:
        """Keep the record of a clip that was not made.

        What an earlier run made of it is removed, if the source has been read and found wanting; it stays where the
        source is gone, or where this run failed for reasons of its own.

        Raises:
            OutputError: It cannot be written.
        """
        path = self._record_file(record.key)
        part = self.work / f"{uuid.uuid4().hex}.json"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _dump(part, record)
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
        folder.rename(retired := self.work / uuid.uuid4().hex)
        return retired

    def remove_record(self, key: str) -> None:
        """Forget an earlier run's record of a clip that is now made."""
        self._record_file(key).unlink(missing_ok=True)

    def begin(self, key: str, *, lossless: bool = False) -> ClipWriter:
        """Start a clip in the work area, with a folder for 16-bit flow where ``lossless``."""
        return ClipWriter(self, key, (*KINDS, LOSSLESS) if lossless else KINDS)


class ClipWriter:
    """Writes one clip into the work area and moves it into place when it is complete.

    Args:
        store: The output folder.
        key: The clip's key.
        kinds: Its folders.
    """

    def __init__(self, store: Store, key: str, kinds: tuple[str, ...] = KINDS) -> None:
        self._store, self._key = store, key
        self._folder = store.work / uuid.uuid4().hex
        self.written = dict.fromkeys(kinds, 0)
        self._names: dict[str, list[str]] = {kind: [] for kind in kinds}
        for kind in kinds:
            (self._folder / kind).mkdir(parents=True)
        self._prefixes = {kind: f"{self._folder / kind}{os.sep}" for kind in kinds}

    def write(self, kind: str, name: str, data: bytes) -> None:
        """Write one frame file.

        Raises:
            OSError: It cannot be written whole.
        """
        with open(self._prefixes[kind] + name, "xb", buffering=0) as file:  # noqa: PTH123 - twice as fast as Path.open
            done = file.write(data)
            while done < len(data):  # a disk that fills up takes the first part without an error
                done += file.write(data[done:])
        self.written[kind] += len(data)
        self._names[kind].append(name)

    def rename_frames(self, naming: Naming, total: int) -> None:
        """Give the names their final width where a clip's header was wrong about the number of frames."""
        for kind, names in self._names.items():
            # Backwards, because a shorter number never equals a longer one but order keeps it plainly safe.
            for index in reversed(range(len(names))):
                final = stem(naming, index, total) + Path(names[index]).suffix
                if final != names[index]:
                    Path(self._prefixes[kind] + names[index]).rename(self._prefixes[kind] + final)
                    names[index] = final

    def kept_rgb(self) -> list[int]:
        """Return the sizes in bytes of the earlier clip's ``rgb`` files."""
        return [entry.stat().st_size for entry in os.scandir(self._store.clip_folder(self._key) / "rgb")]

    def commit(self, record: ClipRecord, *, keep_rgb: bool) -> None:
        """Write the proof and move the clip into place, replacing what an earlier run made.

        Args:
            record: The clip's record; its ``outcome`` is done.
            keep_rgb: Take over the earlier clip's ``rgb`` folder instead of this one's (empty) one.
        """
        final = self._store.clip_folder(self._key)
        # Whatever needs space comes first: on a full disk the earlier clip stays.
        _dump(self._folder / PROOF, record)
        if any((parent / PROOF).exists() for parent in final.parents if self._store.clips in parent.parents):
            raise OutputError(f"{final}: would lie inside another clip's folder; choose another out")
        final.parent.mkdir(parents=True, exist_ok=True)
        retired = self._store.retire(self._key)
        if retired is not None and keep_rgb:
            (self._folder / "rgb").rmdir()
            (retired / "rgb").rename(self._folder / "rgb")
        self._store.remove_record(self._key)  # before the clip is there: killed in between, nobody would do it later
        self._folder.rename(final)
        if retired is not None:
            shutil.rmtree(retired)

    def discard(self) -> None:
        """Remove a clip that was begun but not committed."""
        shutil.rmtree(self._folder, ignore_errors=True)


def replace(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; leave it untouched if it says the same already.

    Raises:
        OSError: It cannot be written.
    """
    part = path.with_name(path.name + ".part")
    if path.is_file() and path.read_bytes() == content:
        part.unlink(missing_ok=True)  # of a run that was killed
        return
    part.write_bytes(content)
    part.replace(path)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name too long to exist
        return False


def _complete(folder: Path, record: ClipRecord) -> bool:
    """Whether all files are there and whole: a power cut can leave a proof beside files that were never written out."""
    counts = dict(zip(KINDS, (record.frames, record.flows, record.flows), strict=True))
    if record.lossless_bytes is not None:
        counts[LOSSLESS] = record.flows
    try:
        sizes = {kind: [entry.stat().st_size for entry in os.scandir(folder / kind)] for kind in counts}
    except OSError:
        return False
    return (
        {kind: len(own) for kind, own in sizes.items()} == counts
        and sum(sizes["rgb"]) == record.rgb_bytes
        and sum(sizes["u"]) + sum(sizes["v"]) == record.flow_bytes
        and sum(sizes.get(LOSSLESS, ())) == (record.lossless_bytes or 0)
    )


def _load(path: Path) -> ClipRecord | None:
    try:
        return ClipRecord.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError):
        return None  # absent, half-written or another version's: all mean "make it again"


def _dump(path: Path, record: ClipRecord) -> None:
    path.write_text(json.dumps(record.to_json()), encoding="utf-8")
