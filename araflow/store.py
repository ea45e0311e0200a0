"""The output folder: where clips lie, how frames are named, and how a clip appears whole or not at all.

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
import errno
import json
import os
import shutil
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import filelock

from araflow.clip import ClipRecord, Outcome
from araflow.errors import OutputError
from araflow.fingerprint import digest

if TYPE_CHECKING:  # worker processes start sooner without the settings' machinery
    from araflow.spec import Naming

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
PROOF = ".araflow.json"
STATE = ".araflow"
KINDS = ("rgb", "u", "v")
LOSSLESS = "flow"
"""The fourth folder of a clip, where 16-bit flow is asked for."""
_TAKEN = {errno.ENOTEMPTY, errno.EEXIST}
_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP}
_MOST_TRIES = 20
"""To start a session or place a clip while others do the same; each try that fails means that another one got on."""
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
    """An output folder. Making one touches nothing.

    Attributes:
        out: The folder.
        session_id: The session that half-made clips belong to; empty before ``locked`` or ``session``.
    """

    out: Path
    session_id: str = ""

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
        return self._sessions / self.session_id

    @property
    def _sessions(self) -> Path:
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
    def locked(self) -> Iterator[Store]:
        """Hold the folder for one run: make it, and remove what sessions have left that are dead.

        Yields:
            The store, bound to a session.

        Raises:
            OutputError: Another run holds it, it cannot be written to, or its file system has no locks.
        """
        lock = _file_lock(self.state / "lock")
        with self.working():
            self.state.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire()
            except filelock.Timeout:
                raise OutputError(
                    f"{self.out}: another araflow run is writing here; wait for it, or choose another out"
                ) from None
        try:
            self._sweep()
            with self.session() as bound:
                yield bound
        finally:
            self._sweep()  # of processes that were killed meanwhile, and of ranges that nobody will take
            lock.release()

    @contextlib.contextmanager
    def session(self) -> Iterator[Store]:
        """Have a work area of one's own, which others know to be alive for as long as this process lives.

        For processes that make clips for the run that holds the folder, on this machine or another.

        Yields:
            The store, bound to the session.

        Raises:
            OutputError: The folder cannot be written to, or its file system has no locks.
        """
        with self.working():
            bound, lock = self._begin_session()
        try:
            yield bound
        finally:
            shutil.rmtree(bound.work, ignore_errors=True)
            self._lock_file(bound.session_id).unlink(missing_ok=True)
            lock.release()
            with contextlib.suppress(OSError):  # others are at work
                self._sessions.rmdir()

    def _begin_session(self) -> tuple[Store, filelock.BaseFileLock]:
        for _ in range(_MOST_TRIES):
            bound = dataclasses.replace(self, session_id=uuid.uuid4().hex)
            lock = _file_lock(self._lock_file(bound.session_id))
            with contextlib.suppress(filelock.Timeout, FileNotFoundError):  # another session's end removed the folder
                self._sessions.mkdir(parents=True, exist_ok=True)
                lock.acquire()
                bound.work.mkdir()
                return bound, lock
            lock.release()
        raise OutputError(f"{self._sessions}: keeps being removed by another process; choose another out")

    @contextlib.contextmanager
    def reached(self) -> Iterator[None]:
        """Turn what goes wrong while the output is read or written into an error that says what to do.

        Raises:
            OutputError: It cannot be written to, or its file system has no locks.
        """
        try:
            yield
        except OSError as error:
            if error.errno in _NO_LOCKS:
                raise OutputError(
                    f"{self.out}: its file system has no locks, without which two runs would destroy each other's "
                    "work; mount it with locks, or choose another out"
                ) from error
            raise OutputError(f"{self.out}: cannot be written to: {error.strerror}") from error

    def working(self) -> contextlib.AbstractContextManager[None]:
        """Do what ``reached`` does, where ``state`` is written."""
        return self.reached()

    def each(self, function: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
        """Yield what a function that looks into the output returns for each item, in their order.

        One at a time here, when it is asked for: a disk answers at once.
        """
        return map(function, items)

    def _lock_file(self, session_id: str) -> Path:
        return self._sessions / f"{session_id}.lock"

    def is_live(self, session_id: str) -> bool:
        """Whether the process that holds a session still lives."""
        file = self._lock_file(session_id)
        if not file.exists():
            return False
        try:
            with _file_lock(file):
                file.unlink(missing_ok=True)  # nobody holds it
            return False
        except filelock.Timeout:
            return True

    def _sweep(self) -> None:
        """Remove what dead sessions have left."""
        shutil.rmtree(self.state / "ranges", ignore_errors=True)
        names = {entry.name for entry in os.scandir(self._sessions)} if self._sessions.is_dir() else set()
        for name in names:
            session_id = name.removesuffix(".lock")
            # A session's folder comes after its lock, and goes before it.
            if not self.is_live(session_id):
                shutil.rmtree(self._sessions / session_id, ignore_errors=True)
                if not name.endswith(".lock") and (self._sessions / name).is_file():
                    (self._sessions / name).unlink()
        with contextlib.suppress(OSError):  # there is none, or others are at work
            self._sessions.rmdir()

    def write_state(self, name: str, content: bytes) -> None:
        """Write a file below ``state`` whole or not at all.

        Raises:
            OutputError: It cannot be written.
        """
        path = self.state / name
        with self.reached():
            path.parent.mkdir(parents=True, exist_ok=True)
            replace(path, content)

    def read_state(self, name: str) -> bytes:
        """Return what ``write_state`` wrote.

        Raises:
            OSError: There is no such file.
        """
        return (self.state / name).read_bytes()

    def remove_state(self, name: str) -> None:
        """Remove what ``write_state`` wrote, if it is there, and its folder, if that is empty now."""
        path = self.state / name
        path.unlink(missing_ok=True)
        if path.parent != self.state:
            with contextlib.suppress(OSError):
                path.parent.rmdir()

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
        if record.outcome is Outcome.FAILED and _same(self.find_made(record.key), record):
            return
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
        retired = self.work / uuid.uuid4().hex
        try:
            folder.rename(retired)
        except FileNotFoundError:  # another process was faster
            if not self.work.is_dir():
                raise
            return None
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

        Where another process has made the same clip meanwhile, its is kept: both hold the same.

        Args:
            record: The clip's record; its ``outcome`` is done.
            keep_rgb: Take over the earlier clip's ``rgb`` folder instead of this one's (empty) one.

        Raises:
            OutputError: The clip would lie inside another one's folder.
            OSError: It cannot be written, or the ``rgb`` folder to keep is gone.
        """
        final = self._store.clip_folder(self._key)
        # Whatever needs space comes first: on a full disk the earlier clip stays.
        _dump(self._folder / PROOF, record)
        if any((parent / PROOF).exists() for parent in final.parents if self._store.clips in parent.parents):
            raise OutputError(f"{final}: would lie inside another clip's folder; choose another out")
        final.parent.mkdir(parents=True, exist_ok=True)
        for _ in range(_MOST_TRIES):
            if _same(self._store.find_made(self._key), record):
                self._store.remove_record(self._key)
                return
            retired = self._store.retire(self._key)
            if keep_rgb:
                if retired is None:
                    raise FileNotFoundError(errno.ENOENT, "the rgb files to keep are gone", str(final))
                (self._folder / "rgb").rmdir()
                (retired / "rgb").rename(self._folder / "rgb")
                keep_rgb = False
            self._store.remove_record(
                self._key
            )  # before the clip is there: killed in between, nobody would do it later
            try:
                self._folder.rename(final)
            except OSError as error:
                if error.errno not in _TAKEN:
                    raise
                continue  # another process was faster
            finally:
                if retired is not None:
                    shutil.rmtree(retired)
            return
        raise OSError(errno.EBUSY, "another process keeps writing this clip", str(final))

    def discard(self) -> None:
        """Remove a clip that was begun but not committed."""
        shutil.rmtree(self._folder, ignore_errors=True)


def replace(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; leave it untouched if it says the same already.

    Raises:
        OSError: It cannot be written.
    """
    if not isinstance(path, Path):  # an object, which appears whole
        if not path.is_file() or path.read_bytes() != content:
            path.write_bytes(content)
        return
    part = path.with_name(path.name + ".part")
    if path.is_file() and path.read_bytes() == content:
        part.unlink(missing_ok=True)  # of a run that was killed
        return
    part.write_bytes(content)
    part.replace(path)


def _file_lock(path: Path) -> filelock.BaseFileLock:
    # Where the file system has no locks, filelock would take the mere presence of the file for one, which a killed
    # process leaves for ever.
    return filelock.FileLock(path, timeout=0, fallback_to_soft=False)


def open_store(out: str) -> Store:
    """Return the output at a folder, or at an address such as ``s3://bucket/folder``.

    Raises:
        UnavailableError: What reaches the address is not installed.
        OutputError: The address cannot be one.
    """
    if not is_remote(out):
        return Store(Path(out))
    from araflow.remote_store import open_remote

    return open_remote(out)


def is_remote(out: str) -> bool:
    """Whether an output is an address, and not a folder."""
    return "://" in out


def open_path(text: str) -> Path:
    """Return the path of a file or folder, or of an address, which has a path's methods; see ``open_store``."""
    return open_store(text).out


def reached(path: Path) -> contextlib.AbstractContextManager[None]:
    """Turn what goes wrong at an address into an ``OutputError``; leave what goes wrong in a folder alone."""
    if isinstance(path, Path):
        return contextlib.nullcontext()
    from araflow.remote_store import RemoteStore

    return RemoteStore(path).reached()


class Found(NamedTuple):
    """A file that ``scan`` found."""

    name: str
    size: int
    path: Path


def scan(folder: Path) -> dict[str, list[Found]]:
    """List the files in each folder of a clip, which lies in a folder or at an address, sorted by name.

    Raises:
        OSError: A folder cannot be read.
        OutputError: The address cannot be reached.
    """
    listed: dict[str, list[Found]] = defaultdict(list)
    if isinstance(folder, Path):
        for kind in (entry for entry in os.scandir(folder) if entry.is_dir()):
            listed[kind.name] += [
                Found(entry.name, entry.stat().st_size, Path(entry.path)) for entry in os.scandir(kind)
            ]
    else:
        with reached(folder):
            found = folder.fs.find(folder.path, detail=True)
        for path, info in found.items():
            *_, kind, name = path.split("/")
            listed[kind].append(Found(name, int(info["size"]), folder / kind / name))
    return {kind: sorted(own) for kind, own in listed.items()}


def _same(made: ClipRecord | None, record: ClipRecord) -> bool:
    return made is not None and (made.fingerprint, made.source_sha256) == (record.fingerprint, record.source_sha256)


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
