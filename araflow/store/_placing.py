"""How a clip comes to its place in an output, and goes from there; what is not the clip's stays.

Where a clip does not appear, or go, all at once (in object storage, and where somebody has put files beside it) a list
of its files is kept meanwhile: else a process that is killed would leave frames that nobody knows to be araflow's.
"""

from __future__ import annotations

import errno
from collections.abc import Collection, Mapping, Set
from pathlib import Path

from araflow.core.clip import ClipRecord
from araflow.core.errors import OutputError
from araflow.core.files import PROOF
from araflow.store import layout, ownership
from araflow.store.draft import ClipDraft
from araflow.store.layout import clip_name, is_same, is_whole, proof_name, record_name
from araflow.store.place import Place

_FOLDERS = {*layout.ALL_KINDS}
"""How empty folders of frames are named."""
_MOST_TRIES = 20
"""To place a clip while others do the same; each try that fails means that another one got on."""


def read_proof(place: Place, key: str) -> ClipRecord | None:
    """Return the proof of a clip, without a look at its files; see ``Store.read_proof``."""
    return layout.parse_proof(place.read(proof_name(key)), key)


def commit(place: Place, draft: ClipDraft, record: ClipRecord, *, keep_rgb: bool) -> None:
    """Write the proof and have the clip appear; see ``Store.commit``."""
    key, name = record.key, clip_name(record.key)
    draft.seal(record)  # whatever needs space comes first: on a full disk the earlier clip stays
    _refuse_inside(place, key)
    for _ in range(_MOST_TRIES):
        there = place.sizes(name)
        made = read_proof(place, key) if PROOF in there else None
        turned = made is not None and (made.rotation, made.mirrored) != (record.rotation, record.mirrored)
        if made is not None and is_same(made, record) and not turned and is_whole(there, made):
            # Another process was faster.
            place.remove([record_name(key)])
            return
        links = place.links(name) if there else set()
        own, names = ownership.own(place, key, there) - links, draft.names()
        own |= _alike(place, name, draft, (names & there.keys()) - own - links)
        _refuse_others(place, key, there, own, names)
        keep: set[str] = set()
        if keep_rgb and draft.lacks("rgb"):
            keep = {one for one in own if one.startswith("rgb/")} & there.keys()
            if len(keep) != record.frames:
                if odd := sorted(link for link in links if link.startswith("rgb/")):
                    raise OutputError(ownership.refusal(place, [f"{name}/{odd[0]}"]))
                raise FileNotFoundError(errno.ENOENT, "the rgb files to keep are gone", f"{place}/{name}")
        goes = (own & there.keys()) - keep
        with ownership.listed(place, key, own | names, at_once=own >= there.keys() - _FOLDERS):
            # Its record goes before the clip is there: killed in between, nobody would do it later.
            if place.put_folder(
                draft.folder,
                name,
                last=PROOF,
                goes=goes,
                keep={"rgb"} if keep else (),
                there=there,
                before=lambda: place.remove([record_name(key)]),
            ):
                return
    raise OSError(errno.EBUSY, "another process keeps writing this clip", f"{place}/{name}")


def remove(place: Place, key: str, aside: Path) -> None:
    """Remove a clip; see ``Store.remove_clip``.

    Args:
        place: The output.
        key: The clip's key.
        aside: A local path to which it may be moved meanwhile.
    """
    there = place.sizes(clip_name(key))
    if layout.holds_others(there):
        raise OutputError(f"{place}/{clip_name(key)}: is no clip's folder, so clip {key!r} is not removed")
    goes = (ownership.own(place, key, there) & there.keys()) - place.links(clip_name(key))
    if goes:
        with ownership.listed(place, key, goes, at_once=goes >= there.keys() - _FOLDERS):
            place.remove_folder(clip_name(key), aside, first=PROOF, goes=goes, there=there)


def _alike(place: Place, name: str, draft: ClipDraft, unknown: Collection[str]) -> set[str]:
    """Files that the draft would only replace by the same: nothing is lost by that, whoever wrote them."""
    return {one for one in unknown if place.read(f"{name}/{one}") == (draft.folder / one).read_bytes()}


def _refuse_others(place: Place, key: str, there: Mapping[str, int], own: Set[str], names: Set[str]) -> None:
    name = clip_name(key)
    if layout.holds_others(there):
        raise OutputError(f"{place}/{name}: is no clip's folder, so clip {key!r} cannot replace it; choose another out")
    taken = {*names, *(one.partition("/")[0] for one in names if "/" in one)}
    theirs = sorted(one for one in there if one not in own and (one in taken or _top(one) in names))
    if own <= {PROOF}:  # no frame here is araflow's, so it would be a clip of somebody's and araflow's
        theirs += sorted(one for one in there if layout.is_frame(one) and one not in own)
    if theirs := [one for one in theirs if one not in _FOLDERS or there[one]]:
        raise OutputError(ownership.refusal(place, [f"{name}/{theirs[0]}"]))


def _top(name: str) -> str:
    return name.partition("/")[0]


def _refuse_inside(place: Place, key: str) -> None:
    parents = key.split("/")[:-1]
    for depth in range(1, len(parents) + 1):
        if place.read(f"{clip_name('/'.join(parents[:depth]))}/{PROOF}") is not None:
            raise OutputError(f"{place}/{clip_name(key)}: would lie inside another clip's folder; choose another out")
