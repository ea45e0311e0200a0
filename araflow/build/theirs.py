"""Whose the frames are that lie where a build's clips will lie: asked before any clip is made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from araflow.core.clip import Clip, ClipRecord, Outcome
from araflow.core.errors import ManifestError, OutputError
from araflow.store import ownership
from araflow.store.layout import MANIFEST, clip_name
from araflow.store.store import Store

_COLUMNS = ("key", "frames", "flows", "rgb_bytes", "flow_bytes", "lossless_bytes", "rgb_format", "also", "also_bytes")


def check(store: Store, clips: Sequence[Clip]) -> None:
    """Refuse an output where frames that araflow did not make lie in a clip's folder; call it when it is held.

    A clip that has lost its proof alone is araflow's still, if its files are those of its row in the manifest.

    Raises:
        OutputError: There are such frames, or a folder cannot be read, or is a link, or the manifest is one.
    """
    if MANIFEST in store.place.links("", deep=False):
        raise OutputError(f"{store.out / MANIFEST}: is no file but a link, or the like; move it away")
    if not store.place.exists("clips"):
        return
    keys = [clip.key for clip in clips]
    answers = store.map(lambda key: ownership.holds_unknown(store.place, key), keys)
    unknown = [key for key, holds in zip(keys, answers, strict=True) if holds]
    if unknown:
        rows = _rows(store, unknown)
        theirs = [key for key in unknown if key not in rows or not ownership.adopt(store.place, key, rows[key])]
        if theirs:
            raise OutputError(ownership.refusal(store.place, [clip_name(key) for key in theirs]))


def _rows(store: Store, keys: Iterable[str]) -> Mapping[str, ClipRecord]:
    """What the manifest says of these clips' files; nothing, where there is no manifest of araflow's."""
    from araflow.store.manifest import Manifest

    try:
        if not store.place.exists(MANIFEST):
            return {}
        manifest = Manifest.read(store.manifest, (*_COLUMNS, "outcome")).select(outcome=Outcome.DONE, key=[*keys])
    except ManifestError:
        return {}
    rows = (dict(zip(_COLUMNS, row, strict=True)) for row in manifest.columns(*_COLUMNS))
    return {row["key"]: ClipRecord(**row, outcome=Outcome.DONE, reason="complete") for row in rows}
