"""Hold the files of one finished clip against its row or its proof."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Set
from pathlib import PurePosixPath
from typing import Any

import cv2
import numpy as np

from araflow.core.clip import ClipRecord, Outcome
from araflow.core.errors import SourceError, brief
from araflow.core.files import PROOF
from araflow.media import images
from araflow.media.flow_forms import SUFFIXES, parse
from araflow.store.layout import (
    KINDS,
    LOSSLESS,
    clip_name,
    files_digest,
    own_names,
    parse_proof,
    parse_unmade,
    proof_name,
    record_name,
)
from araflow.store.place import Place

_Row = Mapping[str, Any]
_Files = Mapping[str, Mapping[str, int]]
"""By kind, the size of each file by its name below the clip."""
_OF_RECORD = tuple(field.name for field in dataclasses.fields(ClipRecord) if field.name != "rgb_fingerprint")
COLUMNS = (*_OF_RECORD, "path")
"""Columns of a manifest that are held against files, records and each other."""


def has_digests(row: _Row) -> bool:
    """Whether the bytes of all its files are known; an older araflow kept no digests of them."""
    return row["rgb_sha256"] is not None and row["flow_sha256"] is not None


def damage(place: Place, made: ClipRecord) -> list[str]:
    """Return what is wrong with the files of a clip; it may be damage that its proof alone does not show.

    Every byte is read. Where there is no digest of them, every image is decoded instead.

    Raises:
        OutputError: The files cannot be read.
    """
    row = {**dataclasses.asdict(made), "path": clip_name(made.key)}
    return list(check_files(row, place, decode=not has_digests(row), deep=True))


def check_row(row: _Row, place: Place, *, decode: bool, deep: bool) -> Iterator[str]:
    """Yield what is wrong with a row and its clip's files.

    Args:
        row: ``COLUMNS``, and their values.
        place: Where its path leads.
        decode: Decode every image, and hold every byte against the digests.
        deep: Hold the row against the clip's record, and every byte against the digests.

    Raises:
        OutputError: The files cannot be read.
    """
    if row["outcome"] not in set(Outcome):
        yield f"outcome is {row['outcome']!r}"
        return
    if not row["reason"]:
        yield "has no reason"
    if row["outcome"] == Outcome.DONE:
        yield from check_files(row, place, decode=decode, deep=deep, foreign=_is_ours(row))
    elif row["path"] is not None:
        yield f"is {row['outcome']} but has a path"
    if deep and _is_ours(row):
        yield from _check_record(row, place)


def check_files(row: _Row, place: Place, *, decode: bool, deep: bool, foreign: bool = False) -> Iterator[str]:
    """Yield what is wrong with the own files of a finished clip, and which are foreign; see ``check_row``."""
    counts = _counts(row)
    if row["path"] is None or not counts:
        must = "flows must be frames - 1" if _is_ours(row) else "there must be frames or flows"
        yield f"frames={row['frames']}, flows={row['flows']}, path={row['path']}: {must}"
        return
    there = place.sizes(row["path"])
    own = {name: there[name] for name in _own(row, there)} if _is_ours(row) else there
    yield from _check_own(row, counts, own, place, decode=decode, deep=deep)
    if foreign:
        yield from _check_foreign(counts, there.keys() - own.keys())


def _check_own(
    row: _Row, counts: Mapping[str, int], sizes: Mapping[str, int], place: Place, *, decode: bool, deep: bool
) -> Iterator[str]:
    files = {kind: {name: sizes[name] for name in sorted(sizes) if name.startswith(f"{kind}/")} for kind in counts}
    if absent := [kind for kind, own in files.items() if not own]:
        yield f"{absent[0]}: No such file or directory"
        return
    for kind, count in counts.items():
        if len(files[kind]) != count:
            yield f"{kind} holds {len(files[kind])} files, the row says {count}"
    stems = {kind: [PurePosixPath(name).stem for name in files[kind]] for kind in counts}
    if not _is_ours(row):
        if stems.get("u") != stems.get("v"):
            yield "u and v are not named alike"
    elif any(own != stems["rgb"][:-1] for kind, own in stems.items() if kind not in ("rgb", "film")):
        yield "u and v are not named as the frames they belong to"
    yield from _check_measured(row, files)
    if decode or deep:
        yield from _check_content(row, files, place, decode=decode)


def _check_foreign(counts: Mapping[str, int], names: Set[str]) -> Iterator[str]:
    """Files where the clip's own lie: they are nobody's to remove, and who lists a folder takes them for frames."""
    for kind in counts if names else ():
        if theirs := sorted(name for name in names if name.startswith(f"{kind}/")):
            yield f"{kind} holds {len(theirs)} files that are not the clip's, such as {theirs[0]}: move them away"


def _own(row: _Row, sizes: Mapping[str, int]) -> set[str]:
    numbers = {name: row[name] for name in ("frames", "flows", "lossless_bytes", "rgb_format", "also")}
    return own_names(ClipRecord(row["key"], Outcome.DONE, "complete", **numbers), sizes)


def _is_ours(row: _Row) -> bool:
    """Whether a build made the clip. Of others, such as TAO's folders, holds only what their rows say."""
    return row["fingerprint"] is not None


def _counts(row: _Row) -> dict[str, int]:
    """Return how many files each folder of a finished clip must hold; nothing where its row contradicts itself."""
    frames, flows = row["frames"], row["flows"]
    counts = dict(zip(KINDS, (frames, flows, flows), strict=True))
    if not _is_ours(row):
        return {kind: count for kind, count in counts.items() if count}
    if frames is None or flows != frames - 1:
        return {}
    if row["lossless_bytes"] is not None:
        counts[LOSSLESS] = flows
    return counts | {form: 1 if form == "film" else flows for form in parse(row["also"])}


def _check_measured(row: _Row, files: _Files) -> Iterator[str]:
    """Bytes and radii; of what no build made these may be unknown."""
    scaled = row["quantizer"] == "max_radius" and (_is_ours(row) or row["radii"] is not None)
    if scaled and len(row["radii"] or ()) != row["flows"]:
        yield f"has {len(row['radii'] or ())} radii for {row['flows']} flows"
    sizes = {kind: sum(own.values()) for kind, own in files.items()}
    flow_bytes = sizes.get("u", 0) + sizes.get("v", 0)
    totals = {"rgb_bytes": sizes.get("rgb"), "flow_bytes": flow_bytes, "lossless_bytes": sizes.get(LOSSLESS)}
    totals["also_bytes"] = sum(sizes[form] for form in parse(row["also"])) if row["also"] else None
    for name, total in totals.items():
        if total != row[name] and (_is_ours(row) or row[name] is not None):
            yield f"files have {total} bytes, {name} says {row[name]}"


def _check_content(row: _Row, files: _Files, place: Place, *, decode: bool) -> Iterator[str]:
    """Read each file once, for its picture and for its digest."""
    for column, kinds in (("rgb_sha256", ("rgb",)), ("flow_sha256", ("u", "v", LOSSLESS, *SUFFIXES))):
        digests: dict[str, str] = {}
        problems: list[str] = []
        for name, size in (one for kind in kinds for one in files.get(kind, {}).items()):
            data = (place.read(f"{row['path']}/{name}") if size else None) or b""
            digests[name] = hashlib.sha256(data).hexdigest()
            if decode:
                problems += (_check_flow if name.partition("/")[0] in SUFFIXES else _check_image)(row, name, data)
        if not problems and row[column] not in (None, files_digest(digests)):
            problems = [f"{', '.join(filter(files.get, kinds))}: names and bytes are not those that were written"]
        yield from problems


def _check_image(row: _Row, name: str, data: bytes) -> Iterator[str]:
    size = (row["height"], row["width"])
    expected = size if name.startswith(("u/", "v/")) else (*size, 3)
    try:
        image = images.decode(data, cv2.IMREAD_UNCHANGED)
    except images.ImageError:
        yield f"{name} does not decode"
        return
    if _is_ours(row) and image.shape != expected:
        yield f"{name} is {image.shape}, expected {expected}"


def _check_flow(row: _Row, name: str, data: bytes) -> Iterator[str]:
    from araflow.media import flow_files, mp4  # decoders, for which most checks have no need

    kind = name.partition("/")[0]
    try:
        shape = (mp4 if kind == "film" else flow_files).shape_of(data, name)
    except SourceError:
        yield f"{name} does not decode"
        return
    high, wide = row["height"], row["width"]
    expected = (row["flows"], high + high % 2, wide + wide % 2) if kind == "film" else (high, wide, 2)
    if shape != expected:
        yield f"{name} is {shape}, expected {expected}"


def _check_record(row: _Row, place: Place) -> Iterator[str]:
    """Hold a row against the record that it was written from; a copy without the hidden folder has only proofs."""
    key = row["key"]
    if row["outcome"] == Outcome.DONE:
        record = parse_proof(place.read(proof_name(key)), key)
        if record is None:
            yield f"{PROOF} is no valid record of this clip"
            return
    else:
        content = place.read(record_name(key))
        record = parse_unmade(content, record_name(key))
        if record is None:
            if content is not None:
                yield f"{record_name(key)} is no valid record of this clip"
            return
    for name in _OF_RECORD:
        says = getattr(record, name)
        if name == "radii" and says is not None:
            says = np.float32(says).tolist()  # as the manifest keeps them
        if row[name] != says:
            yield f"{name} is not what the clip's record says: {_short(row[name])} instead of {_short(says)}"


def _short(value: object) -> str:
    return brief(repr(value), 80)
