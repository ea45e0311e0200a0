"""What a build would make, before it is started: clips per class and split, and, from a few clips, hours and bytes."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from araflow.acquire import registry
from araflow.acquire.folder import DatasetFolder
from araflow.acquire.registry import is_address
from araflow.acquire.types import Sources
from araflow.build import stages
from araflow.build.recipe import Recipe
from araflow.build.resolved import ResolvedBuild, resolve
from araflow.core import leakage, splits
from araflow.core.addresses import masked
from araflow.core.clip import Clip, ClipRecord, Outcome
from araflow.core.errors import ClipError, SpecError
from araflow.core.fingerprint import digest
from araflow.core.listing import PassedOver
from araflow.core.processes import usable_cores
from araflow.core.spec import BuildSpec
from araflow.core.tally import Tally

_CLIPS_TIMED = 6
_CLIPS_PROBED = 200
_SECONDS = 12.0
"""The measurement stops taking further clips after this time."""


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """What a build would make.

    Attributes:
        backend: Which optical-flow backend would run, and why.
        classes: Per class its listed clips, their number by split, and the test clips whose source title is also in
            training, of the class (``leaked``) or of any (``leaked across classes``; ``None`` where no group
            tells), and the test clips of which none does (``source unknown``).
        total: The same of all classes together.
        present: Clips whose video is there; ``None`` while only lists are at hand.
        estimate: Frames, hours and bytes of the whole build, measured on a few clips; ``None`` without videos.
        measured: How many clips were measured.
        passed_over: What lies in the source and became no clip.
        remarks: What was guessed about the source, in words.
    """

    backend: str
    classes: list[dict[str, Any]]
    total: dict[str, int]
    present: int | None
    estimate: dict[str, float] | None
    measured: int
    passed_over: tuple[PassedOver, ...] = ()
    remarks: tuple[str, ...] = ()


def plan(spec: BuildSpec) -> Plan:
    """Count and measure, without writing below ``spec.out`` and without downloading.

    Raises:
        SpecError: A setting is wrong, or neither videos nor split files are at hand.
        SourceError: They cannot be read.
        UnavailableError: The named backend is absent.
    """
    build = resolve(spec, accept_licence=True)
    with tempfile.TemporaryDirectory(prefix="araflow-plan-") as scratch:
        files = _at_hand(build, Path(scratch))
        selection = stages.select(build, files)
        present = [clip for clip in selection.clips if clip.source is not None]
        estimate, measured = _measure(build, present, Path(scratch)) if present else (None, 0)
    counts: Counter[tuple[str | None, str]] = Counter()
    for clip in selection.clips:
        counts[clip.label, "listed"] += 1
        counts[clip.label, selection.split_of[clip.key]] += 1
    leaks = leakage.leakage(
        leakage.Seen(clip.label, clip.group, selection.split_of[clip.key]) for clip in selection.clips
    )
    by_class = Tally.of(counts, ("listed", *splits.SPLITS), selection.labels).beside(leaks, across_classes=True)
    found = len(present) if files.videos else None
    beside = selection.passed_over, selection.remarks
    return Plan(build.why, by_class.classes, by_class.total, found, estimate, measured, *beside)


def _at_hand(build: ResolvedBuild, scratch: Path) -> Sources:
    """The files that are here already: folders as they are, archives unpacked into the scratch folder."""
    assert build.dataset is not None, "there is no source besides"
    spec = build.spec
    for name, text in (("source", spec.dataset.source), ("splits", spec.dataset.splits)):
        if text is not None and is_address(text):
            raise SpecError(
                f"dataset.{name}: a plan downloads nothing, and {masked(text)} is an address; give a folder or archive"
            )
    if (files := build.dataset.at_hand(spec.dataset, scratch)) is not None:
        return files
    folder = DatasetFolder.of(spec.dataset, registry.load(spec.dataset.name))
    raise SpecError(
        f"dataset.source and dataset.splits are both null, and {spec.dataset.name} is not in {folder.path}: run "
        f"`araflow fetch {spec.dataset.name}` first, or set one of them; a plan downloads nothing"
    )


def _measure(build: ResolvedBuild, present: list[Clip], scratch: Path) -> tuple[dict[str, float] | None, int]:
    recipe = build.recipe
    from araflow.build.extract import Job, make  # what decodes; a plan from split files alone does without
    from araflow.build.source import hash_source
    from araflow.store.address import open_store

    # A spread that does not depend on the order of files.
    spread = sorted(present, key=lambda clip: digest({"key": clip.key}))
    lengths = [length for clip in spread[:_CLIPS_PROBED] if (length := _header_frames(clip, recipe))]
    records: list[ClipRecord] = []
    spent, start, length = 0.0, time.monotonic(), 8
    for number, clip in enumerate([spread[0], *spread[:_CLIPS_TIMED]]):
        part = dataclasses.replace(recipe, max_frames=min(length, recipe.max_frames or length))
        source, store = clip.source or Path(), open_store(scratch / "out")
        try:
            size, checksum = hash_source(source)
        except (ClipError, OSError):
            continue
        began = time.process_time()
        record = make(Job(clip.key, source, store, part, size, checksum, keep_rgb=False))
        seconds = time.process_time() - began
        if record.outcome is Outcome.DONE and number > 0:  # the first one warms up, and sets how long the others are
            records.append(record)
            spent += seconds
        elif record.frames:
            length = max(4, min(150, int(_SECONDS / _CLIPS_TIMED / seconds * record.frames)))
        if time.monotonic() - start > _SECONDS:
            break
    frames = sum(record.frames or 0 for record in records)
    if not frames or not lengths:
        return None, 0
    total = sum(lengths) / len(lengths) * len(present)
    workers = build.spec.run.workers or usable_cores()
    own = ((record.flow_bytes, record.lossless_bytes, record.also_bytes) for record in records)
    flow_bytes = sum(size or 0 for sizes in own for size in sizes)
    return {
        "frames": round(total),
        "cpu_hours": spent / frames * total / 3600,
        "hours": spent / frames * total / 3600 / workers,
        "rgb_bytes": round(sum(record.rgb_bytes or 0 for record in records) / frames * total),
        "flow_bytes": round(flow_bytes / frames * total),
        "workers": workers,
    }, len(records)


def _header_frames(clip: Clip, recipe: Recipe) -> int | None:
    from araflow.media.steady import count
    from araflow.media.video import read

    try:
        info, frames = read(clip.source or Path())
        frames.close()
    except (ClipError, OSError):
        return None
    if not info.header_frames:
        return None
    made = count(info.header_frames, info.fps, recipe.frames.fps)
    return min(made, recipe.max_frames or made)
