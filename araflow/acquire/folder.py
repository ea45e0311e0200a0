"""The folder that a downloaded dataset lives in, and what is on record about it.

::

    <folder>/dataset.json   licence and its acceptance, every file that was downloaded, what has been unpacked
    <folder>/archives/      downloads, until they are deleted
    <folder>/lists/         Kinetics' lists of clips and of parts
    <folder>/splits/        official split files
    <folder>/videos/        <class>/<clip>
"""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from araflow.acquire.notes import read_note
from araflow.acquire.registry import Registry
from araflow.core.errors import SourceError
from araflow.core.files import explained, replace_json
from araflow.core.resources import cache_folder
from araflow.core.spec import DatasetSpec

if TYPE_CHECKING:
    from araflow.acquire.fetch import Fetched


class _Note(BaseModel):
    model_config = ConfigDict(extra="allow")  # what a later version writes besides is kept


class _File(_Note):
    name: str
    url: str
    size: int
    sha256: str
    fetched: str


class _Record(_Note):
    """What ``dataset.json`` holds, as far as this version knows."""

    name: str
    licence: dict[str, str] = {}
    files: list[_File] = []
    unpacked: dict[str, list[str]] = {}


class DatasetFolder:
    """One dataset's folder.

    Args:
        path: The folder; it need not exist.
        known: The dataset's facts.
    """

    def __init__(self, path: Path, known: Registry) -> None:
        self.path, self.known = path, known
        self.archives, self.lists = path / "archives", path / "lists"
        self.videos, self.splits = path / "videos", path / "splits"
        self._file = path / "dataset.json"

    @classmethod
    def of(cls, spec: DatasetSpec, known: Registry) -> DatasetFolder:
        """Return the folder that the settings name: ``dataset.folder``, or the dataset's in the cache."""
        return cls(Path(spec.folder).expanduser() if spec.folder else cache_folder() / known.name, known)

    @contextlib.contextmanager
    def locked(self, report: Callable[[str], None]) -> Iterator[None]:
        """Keep other processes from filling the folder at the same time; wait for one that does.

        Raises:
            SourceError: The folder cannot be written.
        """
        import filelock

        lock = filelock.FileLock(self.path / ".lock")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire(timeout=0)
            except filelock.Timeout:
                report(f"{self.path} is being filled by another process; waiting for it")
                lock.acquire()
        except OSError as error:
            raise SourceError(f"{self.path}: cannot be written: {error.strerror or error}") from error
        try:
            yield
        finally:
            lock.release()

    def accepted(self) -> bool:
        """Whether the licence, as the registry words it now, has been accepted for this folder."""
        return bool(self._read()["licence"].get("text") == self.known.licence)

    def accept(self) -> None:
        """Record that the licence is accepted, and when."""
        if not self.accepted():
            now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
            self._write(licence={"text": self.known.licence, "accepted": now})

    def note_download(self, fetched: Fetched) -> None:
        """Record a downloaded file."""
        entry = {"name": fetched.path.name, "url": fetched.url, "size": fetched.size, "sha256": fetched.sha256}
        others = [
            file for file in self._read()["files"] if (file["name"], file["url"]) != (entry["name"], entry["url"])
        ]
        files = sorted([*others, entry | {"fetched": fetched.fetched}], key=lambda file: (file["url"], file["name"]))
        self._write(files=files)

    def holds(self, what: str, wanted: Collection[str] | None) -> bool:
        """Whether ``videos`` (of these classes; ``None``: of all) or ``splits`` are there, all that the source had."""
        there = self._read()["unpacked"].get(what)
        if there is None or not (self.path / what).is_dir():
            return False
        if what == "splits":
            return True
        needed = set(self.known.classes if wanted is None else wanted)
        return needed <= set(there) and all((self.videos / label).is_dir() for label in needed)

    def note_unpacked(self, what: str, classes: Collection[str] | None) -> None:
        """Record that ``videos`` of these classes (``None``: of all), or ``splits``, are unpacked."""
        unpacked = self._read()["unpacked"]
        there = {*unpacked.get(what, []), *(self.known.classes if classes is None else classes)}
        self._write(unpacked=unpacked | {what: sorted(there) if what == "videos" else []})

    def files(self) -> list[dict[str, Any]]:
        """Return name, address, size, SHA-256 and date of every file that was downloaded."""
        return list(self._read()["files"])

    def _read(self) -> dict[str, Any]:
        content = read_note(self._file, _Record, "choose another folder, or delete it to begin anew")
        content = content or _Record(name=self.known.name)
        if content.name != self.known.name:
            raise SourceError(
                f"{self.path}: is the folder of {content.name!r}, not of {self.known.name!r}: choose another"
            )
        return content.model_dump()

    def _write(self, **changes: object) -> None:
        with explained(self._file, "cannot be written", SourceError):
            self.path.mkdir(parents=True, exist_ok=True)
            replace_json(self._file, self._read() | changes)
