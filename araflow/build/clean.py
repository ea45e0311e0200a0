"""What an output holds that no run needs any more: half-made clips of dead processes, and what was superseded.

Whatever cannot be told for certain stays. A finished clip that the manifest or the build's note lists is never touched,
nor is any clip where one of the two is there and says what cannot be.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from araflow.build import outputs
from araflow.build.note import BuildNote
from araflow.core.errors import OutputError
from araflow.core.files import PROOF, STATE, explained, is_draft
from araflow.store import layout, listing, ownership
from araflow.store.store import Store

_SOURCE = re.compile(r"(drawn|unpacked)-[0-9a-f]{16}")
"""Folders that araflow draws or unpacks into; what a user calls much the same stays."""


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


_Found = tuple[Item, Callable[[Store], None]]
"""With what removes it from an output that is held."""


def find(store: Store) -> list[Item]:
    """List what can go, by kind and path.

    Raises:
        OutputError: A run is at work, or the note or the manifest cannot be read from the disk.
    """
    if store.is_running():
        raise OutputError(f"{store.out}: a run is at work here; wait for it, or stop it")
    return [item for item, _ in _find(store)]


def remove(store: Store) -> list[Item]:
    """Remove what ``find`` lists, and return it.

    Raises:
        OutputError: See ``find``; or something cannot be removed.
    """
    found = find(store)
    with store.locked() as held:  # which itself removes what dead sessions have left, and ranges
        for item, removed in _find(store):
            with explained(item.path, "cannot be removed"):
                removed(held)
        left = {item.path for item, _ in _find(store)}
    return [item for item in found if item.path not in left]


def _find(store: Store) -> list[_Found]:
    note, manifest, unreadable = outputs.read_state(store, ["key"])
    found = [_local(store, "dead session", path) for path in store.place.sessions.left()]
    found += [_file(Item("unfinished file", *one)) for one in _unfinished(store)]
    found += [_file(Item("range of a dead run", *one)) for one in store.ranges().items()]
    if not unreadable and (note is not None or manifest is not None):
        listed = set() if note is None else set(note.label_of)
        listed |= set() if manifest is None else {key for (key,) in manifest.columns("key")}
        found += [found for key in listing.clips(store.place) if key not in listed for found in _clip(store, key)]
        found += [
            _file(Item("record of a clip that is not listed", name, size))
            for name, record, size, _ in listing.records(store.place)
            if record.key not in listed
        ]
    if note is not None and not unreadable:
        found += [_local(store, "superseded source", path) for path in _sources(store, note)]
    return sorted(found, key=lambda one: (one[0].kind, one[0].path))


def _file(item: Item) -> _Found:
    return item, lambda held: held.place.remove([item.path])


def _clip(store: Store, key: str) -> Iterator[_Found]:
    def remove_clip(held: Store) -> None:
        held.remove_clip(key)
        held.place.remove_empty(layout.clip_name(key).rpartition("/")[0])  # its class, as a rule, whose last one it was

    name = layout.clip_name(key)
    sizes = store.place.sizes(name)
    own = ownership.own(store.place, key, sizes) - store.place.links(name) - {PROOF}
    if own and not layout.holds_others(sizes):
        yield Item("clip that is not listed", name, sum(sizes.get(one, 0) for one in (*own, PROOF))), remove_clip


def _local(store: Store, kind: str, path: Path) -> _Found:
    """Of an address, what is only worked with lies on this machine, and is named from its root."""
    return Item(kind, store.place.shown(path), _size(path)), functools.partial(_remove_local, path)


def _remove_local(path: Path, held: Store) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _unfinished(store: Store) -> Iterator[tuple[str, int]]:
    """Files that were being written when a run was killed, where araflow writes any; not in what was unpacked."""
    for folder in ("", STATE, f"{STATE}/placing", f"{STATE}/ranges"):
        links = store.place.links(folder, deep=False)
        for name, size in store.place.sizes(folder, deep=False).items():
            if is_draft(name) and name not in links:
                yield f"{folder}/{name}".lstrip("/"), size


def _sources(store: Store, note: BuildNote) -> Iterator[Path]:
    """What was drawn or unpacked for other settings."""
    if note.sources is None:
        return  # no clip has a video, so nobody knows
    given = [note.source, note.spec["dataset"]["source"], note.spec["dataset"]["splits"]]
    for path in store.state.iterdir() if store.state.is_dir() else ():
        if path.is_symlink() or path.name in note.sources or not _SOURCE.fullmatch(path.name) or not path.is_dir():
            continue
        # Of split files it is not known where they were unpacked.
        lists = (path / "splits").exists() and note.spec["dataset"]["splits"] is not None
        if not lists and not any(text is not None and Path(text).is_relative_to(path.absolute()) for text in given):
            yield path


def _size(path: Path) -> int:
    if not path.is_dir():
        return path.stat().st_size
    return sum((Path(folder) / name).lstat().st_size for folder, _, names in os.walk(path) for name in names)
