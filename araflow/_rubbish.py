"""What an output holds that no run needs any more: half-made clips of dead processes, and what was superseded.

Whatever cannot be told for certain stays. A finished clip that the manifest or the build's note lists is never touched.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from araflow import _survey, build_note
from araflow._survey import is_running, sessions
from araflow.build_note import BuildNote
from araflow.errors import OutputError
from araflow.manifest import Manifest
from araflow.store import KINDS, PROOF, Store


@dataclasses.dataclass(frozen=True, slots=True)
class Item:
    """Something that can go.

    Attributes:
        kind: What it is.
        path: Where, below the output, with ``/``.
        bytes: Its size.
    """

    kind: str
    path: str
    bytes: int


def find(store: Store) -> list[Item]:
    """List what can go, by kind and path.

    Raises:
        OutputError: A run is at work, or the note cannot be read.
        ManifestError: The manifest cannot be read, so nobody knows what belongs to it.
    """
    if is_running(store):
        raise OutputError(f"{store.out}: a run is at work here; wait for it, or stop it")
    return _find(store)


def remove(store: Store) -> list[Item]:
    """Remove what ``find`` lists, and return it.

    Raises:
        OutputError: See ``find``; or something cannot be removed.
        ManifestError: See ``find``.
    """
    found = find(store)
    with store.locked():  # which itself removes what dead sessions have left, and ranges
        for item in _find(store):
            path = store.out / item.path
            try:
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
            except OSError as error:
                raise OutputError(f"{path}: cannot be removed: {error.strerror}") from error
            _remove_empty(path.parent, store.clips)
    return [item for item in found if not os.path.lexists(store.out / item.path)]


def _find(store: Store) -> list[Item]:
    note = build_note.read(store)
    manifest = Manifest.read(store.manifest) if store.manifest.is_file() else None
    found = [("dead session", path) for path in _dead(store)]
    found += [("unfinished file", path) for path in _unfinished(store)]
    ranges = store.state / "ranges"
    if ranges.is_dir():
        found += [("range of a dead run", path) for path in ranges.iterdir() if path.suffix != ".part"]
    if note is not None or manifest is not None:
        listed = set() if note is None else set(note.label_of)
        listed |= set() if manifest is None else set(manifest.table.column("key").to_pylist())
        found += [("clip that is not listed", path) for path in _clips(store.clips) if _key(store, path) not in listed]
        lost = (path for path, record, _ in _survey.records(store) if record.key not in listed)
        found += [("record of a clip that is not listed", path) for path in lost]
    if note is not None:
        found += [("superseded source", path) for path in _sources(store, note)]
    items = [Item(kind, path.relative_to(store.out).as_posix(), _size(path)) for kind, path in found]
    return sorted(items, key=lambda item: (item.kind, item.path))


def _dead(store: Store) -> Iterator[Path]:
    for name, lives in sessions(store).items():
        if not lives:
            own = (store.state / "work" / name, store.state / "work" / f"{name}.lock")
            yield from (path for path in own if path.exists())


def _unfinished(store: Store) -> Iterator[Path]:
    """Files that were being written when a run was killed, where araflow writes any; not in what was unpacked."""
    for folder in (store.out, store.state, store.state / "records", store.state / "ranges"):
        yield from (path for path in folder.glob("*.part") if path.is_file())


def _clips(folder: Path) -> Iterator[Path]:
    """The folders of clips, wherever they are below; no clip lies in another."""
    if not folder.is_dir():
        return
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            path = Path(entry.path)
            if (path / PROOF).is_file() and all((path / kind).is_dir() for kind in KINDS):
                yield path
            else:
                yield from _clips(path)


def _key(store: Store, clip: Path) -> str:
    return clip.relative_to(store.clips).as_posix()


def _sources(store: Store, note: BuildNote) -> Iterator[Path]:
    """What was drawn or unpacked for other settings."""
    if note.sources is None:
        return  # no clip has a video, so nobody knows
    given = [note.source, note.spec["dataset"]["source"], note.spec["dataset"]["splits"]]
    for path in store.state.iterdir():
        if not path.is_dir() or path.name in note.sources or not path.name.startswith(("drawn-", "unpacked-")):
            continue
        # Of split files it is not known where they were unpacked.
        lists = (path / "splits").exists() and note.spec["dataset"]["splits"] is not None
        if not lists and not any(text is not None and Path(text).is_relative_to(path.absolute()) for text in given):
            yield path


def _size(path: Path) -> int:
    if not path.is_dir():
        return path.stat().st_size
    return sum((Path(folder) / name).lstat().st_size for folder, _, names in os.walk(path) for name in names)


def _remove_empty(folder: Path, clips: Path) -> None:
    """Remove the folder that a clip lay in, a class as a rule, where it was the last one."""
    while folder != clips and clips in folder.parents:
        try:
            folder.rmdir()
        except OSError:  # it holds others
            return
        folder = folder.parent
