"""Which files of a clip's folder are araflow's: those that a proof lists, whatever else lies there.

A proof is the clip's record; a list that is kept while a clip is placed or removed file by file (``listed``); or the
clip's row in a manifest, where the record alone is lost (``adopt``).
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Iterator, Sequence

from araflow.core.clip import ClipRecord
from araflow.core.files import PROOF, STATE
from araflow.core.fingerprint import digest
from araflow.core.keys import why_not
from araflow.core.reading import json_of
from araflow.store import layout
from araflow.store.layout import clip_name
from araflow.store.place import Place

_LISTS = f"{STATE}/placing"
_SHOWN = 3
"""Folders that a message names."""


def own(place: Place, key: str, there: Collection[str]) -> set[str]:
    """Return how a clip's files that are araflow's are named: all that are there, and some that may not be.

    Args:
        place: The output.
        key: The clip's key.
        there: The files of its folder, named from there.

    Raises:
        OutputError: A proof cannot be read.
    """
    found = {PROOF}.intersection(there)  # nobody else's name
    proof = layout.parse_listed(place.read(f"{clip_name(key)}/{PROOF}")) if found else None
    if proof is not None:
        found |= layout.own_names(proof, there)
    if any(layout.is_frame(name) and name not in found for name in there):
        found |= _read(place, _file(key))
    return found


def holds_unknown(place: Place, key: str) -> bool:
    """Whether frames lie in a clip's folder that no proof lists; where there is a proof, they are not looked for.

    Raises:
        OutputError: The folder is a link or a file, or lies behind one; or it cannot be read.
    """
    name = clip_name(key)
    place.check_folder(name)
    if layout.parse_listed(place.read(f"{name}/{PROOF}")) is not None:
        return False
    frames = [one for one in place.sizes(name) if layout.is_frame(one)]
    return bool(frames) and not _read(place, _file(key)).issuperset(frames)


def adopt(place: Place, key: str, record: ClipRecord) -> bool:
    """Take a clip that has lost its proof for what its row in a manifest says, if all its files fit.

    Args:
        place: The output.
        key: The clip's key.
        record: What the row says of its files.

    Returns:
        Whether they do.

    Raises:
        OutputError: That cannot be read or written.
    """
    there = place.sizes(clip_name(key))
    fits = layout.is_whole(there, record)
    if fits:
        _write(place, key, layout.own_names(record, there))
    return fits


@contextlib.contextmanager
def listed(place: Place, key: str, names: Collection[str], *, at_once: bool) -> Iterator[None]:
    """Keep a list of a clip's files while it is placed or removed, where that is not done at once.

    Raises:
        OutputError: It cannot be written.
    """
    at_once = at_once and place.renames
    if not at_once:
        _write(place, key, names)
    yield  # after an error, as after a kill, the list stays
    if not at_once or place.exists(_file(key)):
        place.remove([_file(key)])
        place.remove_empty(_LISTS)


def settle(place: Place) -> None:
    """Remove the lists that processes have left which were killed, as far as they are needed no more.

    Raises:
        OutputError: That cannot be found out.
    """
    for name in place.sizes(_LISTS, deep=False):
        key = _parse(place.read(f"{_LISTS}/{name}")).get("key")
        if isinstance(key, str) and why_not(key) is None and _file(key) == f"{_LISTS}/{name}":
            proven = layout.parse_listed(place.read(f"{clip_name(key)}/{PROOF}")) is not None
            if proven or not any(map(layout.is_frame, place.sizes(clip_name(key)))):
                place.remove([f"{_LISTS}/{name}"])
    place.remove_empty(_LISTS)


def refusal(place: Place, names: Sequence[str]) -> str:
    """Return what is said where something that is not araflow's keeps a clip from its place.

    Args:
        place: The output.
        names: What it is, named from the output.
    """
    shown = ", ".join(f"{place}/{name}" for name in names[:_SHOWN])
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return f"{shown}{more}: not what araflow made, so it stays as it is; choose another out, or move it away"


def _file(key: str) -> str:
    return f"{_LISTS}/{digest({'key': key})}.json"


def _write(place: Place, key: str, names: Collection[str]) -> None:
    place.replace(_file(key), json.dumps({"key": key, "names": sorted(names)}).encode())


def _read(place: Place, name: str) -> set[str]:
    names = _parse(place.read(name)).get("names")
    return {one for one in names if isinstance(one, str)} if isinstance(names, list) else set()


def _parse(content: bytes | None) -> dict[str, object]:
    try:
        known = json_of(content or b"{}")
    except ValueError:
        return {}
    return known if isinstance(known, dict) else {}
