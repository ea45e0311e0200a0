"""Hold a manifest against the files it describes, and its splits against each other."""

from __future__ import annotations

import contextlib
import datetime
import logging
import os
import random
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from araflow.core import leakage as leaks
from araflow.core.clip import Outcome
from araflow.core.errors import ManifestError, OutputError
from araflow.core.processes import usable_cores
from araflow.core.words import counted
from araflow.store import checks, duplicates
from araflow.store.address import open_place
from araflow.store.layout import KINDS
from araflow.store.manifest import Manifest
from araflow.store.place import Place

log = logging.getLogger(__name__)
_ROWS_AT_ONCE = 8192
"""As many wait to be checked."""
_ONE_IN, _MOST_DEEP = 100, 64
"""Of so many clips, a build reads one byte by byte; and not more than so many."""
_SATURATED = 0.05
"""Share of a clip's flow beyond ±bound that is worth a warning."""


def validate(
    manifest: Manifest,
    *,
    decode: bool = True,
    deep: bool = False,
    on_clip: Callable[[str], None] = lambda key: None,
) -> list[str]:
    """Check files against rows.

    Every finished clip must have its folder, ``frames`` PNG files, ``flows`` = ``frames - 1`` JPEG files in ``u`` and
    in ``v`` under the frames' names, and the bytes that its row counts; every row must be consistent in itself.

    Args:
        manifest: What to check, with all its columns; its folder is where the files are looked for.
        decode: Also decode every image, check its size, and hold every byte against the clips' digests; without it only
            names and sizes are checked.
        deep: Also hold every row against the clip's record, and all of them against the manifest's digest of them;
            without ``decode``, hold the bytes against the clips' digests all the same.
        on_clip: Called after each row with its key, from several threads.

    Returns:
        One line per difference; empty if all is well.

    Raises:
        OutputError: The manifest lies at an address, which cannot be reached.
    """
    place = open_place(manifest.folder)

    def check(row: dict[str, Any]) -> list[str]:
        try:
            found = [f"{row['key']}: {problem}" for problem in checks.check_row(row, place, decode=decode, deep=deep)]
        except OutputError as error:
            if place.at_once > 1:
                raise  # it is not the clip that cannot be reached
            found = [f"{row['key']}: {error}"]
        on_clip(row["key"])
        return found

    # cv2 and file reads let go of the interpreter lock; a disk that is only asked for names answers at once.
    many = min(max(usable_cores(), place.at_once), len(manifest)) if decode or deep or place.at_once > 1 else 1
    with ThreadPoolExecutor(many) if many > 1 else contextlib.nullcontext() as threads:
        each = map if threads is None else threads.map
        batches = manifest.table.select(checks.COLUMNS).to_batches(max_chunksize=_ROWS_AT_ONCE)
        problems = [line for batch in batches for lines in each(check, batch.to_pylist()) for line in lines]
    problems += _check_rows(manifest)
    if deep and not manifest.is_as_written():
        problems.append("rows or metadata are not those that araflow wrote: they were edited, lost, added or moved")
    return problems


def _check_rows(manifest: Manifest) -> list[str]:
    """What cannot be seen in one row alone."""
    keys = [key for (key,) in manifest.columns("key")]
    problems = [f"{key}: listed twice" for key, count in Counter(keys).items() if count > 1]
    labels = manifest.labels
    for key, label, number in manifest.columns("key", "label", "label_index"):
        if (None if number is None or number >= len(labels) else labels[number]) != label:
            problems.append(f"{key}: label {label!r} is not class {number} of the manifest's labels")
    if keys != sorted(keys):
        problems.append("rows are not sorted by key")
    return problems


def without_digests(manifest: Manifest) -> int:
    """Count the finished clips of which no digest of their bytes is known, since an older araflow made them."""
    found = manifest.select(outcome=Outcome.DONE).columns("fingerprint", "rgb_sha256", "flow_sha256")
    return sum(made is not None and (rgb is None or flow is None) for made, rgb, flow in found)


def check(manifest: Manifest) -> str:
    """Check the output as the last stage of a build.

    Names, counts and bytes of every clip are held against the manifest, and every byte of a few clips against its
    digest. Warns of strays and clipped flow.

    Returns:
        One line that says what was read.

    Raises:
        ManifestError: They do not match.
    """
    drawn, line = _draw(manifest)
    if problems := validate(manifest, decode=False) or _read(drawn, open_place(manifest.folder)):
        more = f" (and {len(problems) - 5} more)" if len(problems) > 5 else ""
        raise ManifestError(
            f"{manifest.folder}: files do not match the manifest: {'; '.join(problems[:5])}{more}. "
            "Run it again with --verify: clips whose own files are not those that were written are made anew"
        )
    if left := strays(manifest):
        log.warning("%d clip folders belong to no row of this build, such as %s", len(left), left[0])
    if bad := [key for key, damaged in manifest.columns("key", "damaged") if damaged]:
        log.warning(
            "%d clips decoded with errors or are shorter than their headers say, such as %s: their status is corrupt, "
            "and araflow manifest show --clips %s tells what was seen",
            len(bad),
            bad[0],
            manifest.folder,
        )
    twice = duplicates.find(manifest)
    if twice.across_splits or twice.across_classes:
        log.warning("%s", twice.line)
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
    return line


def _draw(manifest: Manifest) -> tuple[list[dict[str, Any]], str]:
    """Return the rows of a few finished clips, others on another day, and a line that says which."""
    done, seed = manifest.select(outcome=Outcome.DONE), datetime.datetime.now(datetime.UTC).date().isoformat()
    count = min(len(done), 1 + len(done) // _ONE_IN, _MOST_DEEP)
    rows = [done.row(number) for number in random.Random(seed).sample(range(len(done)), count)]
    return rows, f"audit: every byte of {count:,} of {counted(len(done), 'clip')} was read, drawn with seed {seed}"


def _read(rows: list[dict[str, Any]], place: Place) -> list[str]:
    """Hold every byte against the clips' digests."""

    def check(row: dict[str, Any]) -> list[str]:
        return [f"{row['key']}: {problem}" for problem in checks.check_files(row, place, decode=False, deep=True)]

    with ThreadPoolExecutor(max(usable_cores(), place.at_once)) as threads:
        return [line for lines in threads.map(check, rows) for line in lines]


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


def leakage(manifest: Manifest) -> leaks.LeakageReport:
    """Count, per class, the finished test clips whose source group, or whose very bytes, are also in training."""
    done = manifest.select(outcome=Outcome.DONE)
    return leaks.leakage(map(leaks.Seen._make, done.columns("label", "group", "split", "source_sha256")))
