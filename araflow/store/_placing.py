"""How a clip comes to its place in an output, and goes from there; what is not the clip's stays."""

from __future__ import annotations

import errno
from collections.abc import Collection
from pathlib import Path

from araflow.core.clip import ClipRecord
from araflow.core.errors import OutputError
from araflow.core.files import PROOF
from araflow.store import layout
from araflow.store.draft import ClipDraft
from araflow.store.layout import clip_name, is_same, is_whole, proof_name, record_name
from araflow.store.place import Place

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
        if made is not None and is_same(made, record) and is_whole(there, made):  # another process was faster
            place.remove([record_name(key)])
            return
        _refuse_others(place, key, there)
        keep = layout.others(there)
        if keep_rgb and draft.lacks("rgb"):
            keep.add("rgb")
            if sum(one.startswith("rgb/") for one in there) != record.frames:
                raise FileNotFoundError(errno.ENOENT, "the rgb files to keep are gone", f"{place}/{name}")
        # Its record goes before the clip is there: killed in between, nobody would do it later.
        if place.put_folder(
            draft.folder, name, last=PROOF, keep=keep, there=there, before=lambda: place.remove([record_name(key)])
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
    _refuse_others(place, key, there)
    place.remove_folder(clip_name(key), aside, first=PROOF, keep=layout.others(there), there=there)


def _refuse_inside(place: Place, key: str) -> None:
    parents = key.split("/")[:-1]
    for depth in range(1, len(parents) + 1):
        if place.read(f"{clip_name('/'.join(parents[:depth]))}/{PROOF}") is not None:
            raise OutputError(f"{place}/{clip_name(key)}: would lie inside another clip's folder; choose another out")


def _refuse_others(place: Place, key: str, there: Collection[str]) -> None:
    if layout.holds_others(there):
        raise OutputError(
            f"{place}/{clip_name(key)}: is no clip's folder, so clip {key!r} cannot replace it; choose another out"
        )
