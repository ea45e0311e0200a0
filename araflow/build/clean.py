"""What an output holds that no run needs any more: half-made clips of dead processes, and what was superseded.

Whatever cannot be told for certain stays. A finished clip that the manifest or the build's note lists is never touched.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from araflow.build import _survey
from araflow.build import note as build_note
from araflow.build._survey import is_running, sessions
from araflow.build.note import BuildNote
from araflow.core.errors import OutputError
from araflow.core.files import PROOF
from araflow.report.contact_sheet import CONTACT_SHEET
from araflow.store import _remote_look
from araflow.store.layout import KINDS
from araflow.store.manifest import Manifest
from araflow.store.remote import RemoteStore
from araflow.store.store import Store

_CLIP = "clip that is not listed"


@dataclasses.dataclass(frozen=True, slots=True)
class Item:
    """Something that can go.

    Attributes:
        kind: What it is.
        path: Where, below the output, with ``/``; from the root, where it is not below.
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
    with store.locked() as held:  # which itself removes what dead sessions have left, and ranges
        for item in _find(store):
            _remove(held, item)
        left = {item.path for item in _find(store)}
    return [item for item in found if item.path not in left]


def _remove(store: Store, item: Item) -> None:
    if isinstance(store, RemoteStore) and not Path(item.path).is_absolute():
        if item.kind == _CLIP:
            store.remove_clip(item.path.removeprefix("clips/"), set())
        else:
            _remote_look.remove(store, item.path)
        return
    path = store.out / item.path
    try:
        if item.kind == _CLIP:  # at once, so that no half of it is left in its place
            retired = store.retire(item.path.removeprefix("clips/"))
            if retired is not None:
                shutil.rmtree(retired)
        elif path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{path}: cannot be removed: {error.strerror}") from error
    _remove_empty(path.parent, store.clips)


def _find(store: Store) -> list[Item]:
    note = build_note.read(store)
    manifest = Manifest.read(store.manifest, ["key"]) if store.manifest.is_file() else None
    items = [_item(store, "dead session", path) for path in _dead(store)]
    items += [_item(store, "unfinished file", path) for path in _unfinished(store)]
    items += [Item("range of a dead run", name, size) for name, size in _ranges(store).items()]
    if note is not None or manifest is not None:
        listed = set() if note is None else set(note.label_of)
        listed |= set() if manifest is None else {key for (key,) in manifest.columns("key")}
        items += [Item(_CLIP, f"clips/{key}", size) for key, size in _clips_but(store, listed)]
        lost = (name for name, record, _ in _survey.records(store) if record.key not in listed)
        items += [Item("record of a clip that is not listed", name, (store.out / name).stat().st_size) for name in lost]
    if note is not None:
        items += [_item(store, "superseded source", path) for path in _sources(store, note)]
    return sorted(items, key=lambda item: (item.kind, item.path))


def _item(store: Store, kind: str, path: Path) -> Item:
    """Of an address, what is only worked with lies on this machine, and is named from its root."""
    below = not isinstance(store, RemoteStore)
    return Item(kind, path.relative_to(store.out).as_posix() if below else str(path.absolute()), _size(path))


def _ranges(store: Store) -> dict[str, int]:
    if isinstance(store, RemoteStore):
        return _remote_look.ranges(store)
    folder = store.state / "ranges"
    files = (path for path in folder.iterdir() if path.suffix != ".part") if folder.is_dir() else ()
    return {path.relative_to(store.out).as_posix(): _size(path) for path in files}


def _clips_but(store: Store, listed: set[str]) -> Iterator[tuple[str, int]]:
    """Yield key and size of the clips that are there but not listed."""
    if isinstance(store, RemoteStore):
        yield from ((key, size) for key, size in _remote_look.clips(store).items() if key not in listed)
        return
    for path in _clips(store.clips):
        key = path.relative_to(store.clips).as_posix()
        if key not in listed:
            yield key, _size(path)


def _dead(store: Store) -> Iterator[Path]:
    for name, lives in sessions(store).items():
        if not lives:
            own = (store.state / "work" / name, store.state / "work" / f"{name}.lock")
            yield from (path for path in own if path.exists())


def _unfinished(store: Store) -> Iterator[Path]:
    """Files that were being written when a run was killed, where araflow writes any; not in what was unpacked."""
    if isinstance(store, RemoteStore):
        return  # objects appear whole
    own = (store.manifest.name, CONTACT_SHEET)  # beside these, the folder is the user's
    yield from (path for name in own if (path := store.out / f"{name}.part").is_file())
    for folder in (store.state, store.state / "records", store.state / "ranges"):
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


def _sources(store: Store, note: BuildNote) -> Iterator[Path]:
    """What was drawn or unpacked for other settings."""
    if note.sources is None:
        return  # no clip has a video, so nobody knows
    given = [note.source, note.spec["dataset"]["source"], note.spec["dataset"]["splits"]]
    for path in store.state.iterdir() if store.state.is_dir() else ():
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
