"""Hold a manifest against the files it describes, and its splits against each other."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

import cv2

from araflow.core import splits
from araflow.core.clip import Outcome
from araflow.core.errors import ManifestError
from araflow.core.processes import usable_cores
from araflow.media import images
from araflow.store.address import open_place
from araflow.store.layout import KINDS, LOSSLESS
from araflow.store.manifest import Manifest
from araflow.store.place import Place

log = logging.getLogger(__name__)
_ROWS_AT_ONCE = 8192
"""As many wait to be checked."""
_CHECKED = (
    *("key", "outcome", "reason", "path", "frames", "flows", "width", "height", "quantizer", "radii"),
    *("rgb_bytes", "flow_bytes", "lossless_bytes", "fingerprint"),
)
"""Columns that are held against files and each other."""
_SATURATED = 0.05
"""Share of a clip's flow beyond ±bound that is worth a warning."""


def validate(
    manifest: Manifest, *, decode: bool = True, on_clip: Callable[[str], None] = lambda key: None
) -> list[str]:
    """Check files against rows.

    Every finished clip must have its folder, ``frames`` PNG files, ``flows`` = ``frames - 1`` JPEG files in ``u`` and
    in ``v`` under the frames' names, and the bytes that its row counts; every row must be consistent in itself.

    Args:
        manifest: What to check; its folder is where the files are looked for.
        decode: Also decode every image and check its size; without it only names and bytes are checked.
        on_clip: Called after each row with its key, from several threads.

    Returns:
        One line per difference; empty if all is well.

    Raises:
        OutputError: The manifest lies at an address, which cannot be reached.
    """
    place = open_place(manifest.folder)

    def check(row: dict[str, Any]) -> list[str]:
        found = [f"{row['key']}: {problem}" for problem in _check_row(row, place, decode)]
        on_clip(row["key"])
        return found

    # cv2 and file reads let go of the interpreter lock.
    with ThreadPoolExecutor(max(usable_cores(), place.at_once)) as threads:
        batches = manifest.table.select(_CHECKED).to_batches(max_chunksize=_ROWS_AT_ONCE)
        problems = [line for batch in batches for lines in threads.map(check, batch.to_pylist()) for line in lines]
    counts = Counter(key for (key,) in manifest.columns("key"))
    return problems + [f"{key}: listed twice" for key, count in counts.items() if count > 1]


def check(manifest: Manifest) -> None:
    """Hold names, counts and bytes against the manifest, as the last stage of a build; warn of strays and clipped flow.

    Raises:
        ManifestError: They do not match.
    """
    if problems := validate(manifest, decode=False):
        more = f" (and {len(problems) - 5} more)" if len(problems) > 5 else ""
        raise ManifestError(
            f"{manifest.folder}: files do not match the manifest: {'; '.join(problems[:5])}{more}. "
            "Run it again: clips whose files are not whole are made anew"
        )
    if left := strays(manifest):
        log.warning("%d clip folders belong to no row of this build, such as %s", len(left), left[0])
    if fast := {key: share for key, share in manifest.columns("key", "saturated") if (share or 0) > _SATURATED}:
        worst = max(fast, key=lambda key: fast[key])
        log.warning(
            "%d clips move faster than the images can hold, more than %.0f %% of the flow of each; most of all %s "
            "(%.0f %%): raise optical.bound, or use optical.quantizer=max_radius",
            len(fast),
            100 * _SATURATED,
            worst,
            100 * fast[worst],
        )


def _check_row(row: dict[str, Any], place: Place, decode: bool) -> Iterator[str]:
    if row["outcome"] not in set(Outcome):
        yield f"outcome is {row['outcome']!r}"
        return
    if not row["reason"]:
        yield "has no reason"
    if row["outcome"] != Outcome.DONE:
        if row["path"] is not None:
            yield f"is {row['outcome']} but has a path"
        return
    counts = _counts(row)
    if row["path"] is None or not counts:
        must = "flows must be frames - 1" if _is_ours(row) else "there must be frames or flows"
        yield f"frames={row['frames']}, flows={row['flows']}, path={row['path']}: {must}"
        return
    sizes = place.sizes(row["path"])
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
    elif not stems["u"] == stems["v"] == stems.get(LOSSLESS, stems["u"]) == stems["rgb"][:-1]:
        yield "u and v are not named as the frames they belong to"
    yield from _check_measured(row, files)
    if decode:
        yield from _check_images(row, files, place)


def _is_ours(row: dict[str, Any]) -> bool:
    """Whether a build made the clip. Of others, such as TAO's folders, holds only what their rows say."""
    return row["fingerprint"] is not None


def _counts(row: dict[str, Any]) -> dict[str, int]:
    """Return how many files each folder of a finished clip must hold; nothing where its row contradicts itself."""
    frames, flows = row["frames"], row["flows"]
    counts = dict(zip(KINDS, (frames, flows, flows), strict=True))
    if not _is_ours(row):
        return {kind: count for kind, count in counts.items() if count}
    if frames is None or flows != frames - 1:
        return {}
    return counts if row["lossless_bytes"] is None else {**counts, LOSSLESS: flows}


def _check_measured(row: dict[str, Any], files: dict[str, dict[str, int]]) -> Iterator[str]:
    """Bytes and radii; of what no build made these may be unknown."""
    scaled = row["quantizer"] == "max_radius" and (_is_ours(row) or row["radii"] is not None)
    if scaled and len(row["radii"] or ()) != row["flows"]:
        yield f"has {len(row['radii'] or ())} radii for {row['flows']} flows"
    sizes = {kind: sum(own.values()) for kind, own in files.items()}
    flow_bytes = sizes.get("u", 0) + sizes.get("v", 0)
    totals = {"rgb_bytes": sizes.get("rgb"), "flow_bytes": flow_bytes, "lossless_bytes": sizes.get(LOSSLESS)}
    for name, total in totals.items():
        if total != row[name] and (_is_ours(row) or row[name] is not None):
            yield f"files have {total} bytes, {name} says {row[name]}"


def _check_images(row: dict[str, Any], files: dict[str, dict[str, int]], place: Place) -> Iterator[str]:
    expected = {"rgb": (row["height"], row["width"], 3), "u": (row["height"], row["width"])}
    expected |= {"v": expected["u"], LOSSLESS: expected["rgb"]}
    for kind, names in files.items():
        for name, size in names.items():
            data = (place.read(f"{row['path']}/{name}") if size else None) or b""
            try:
                image = images.decode(data, cv2.IMREAD_UNCHANGED)
            except images.ImageError:
                yield f"{name} does not decode"
                continue
            if _is_ours(row) and image.shape != expected[kind]:
                yield f"{name} is {image.shape}, expected {expected[kind]}"


def strays(manifest: Manifest) -> list[str]:
    """Return the clip folders without a finished row, relative to the manifest: made by earlier settings, as a rule.

    A clip folder is one that holds ``rgb``, ``u`` and ``v``; a class may be named so. None is looked for in object
    storage, where that would mean to list every frame.
    """
    place = open_place(manifest.folder)
    if place.at_once > 1:
        return []
    paths = {path for (path,) in manifest.columns("path")}
    found = []
    for folder, inner, _ in os.walk(manifest.folder / "clips"):
        if set(KINDS) <= set(inner):
            inner.clear()  # no clips lie inside a clip
            path = Path(folder).relative_to(manifest.folder).as_posix()
            if path not in paths:
                found.append(path)
    return sorted(found)


def leakage(manifest: Manifest) -> splits.LeakageReport:
    """Count, per class, the finished test clips whose source group is also in training."""
    return splits.leakage(manifest.select(outcome=Outcome.DONE).columns("label", "group", "split"))
