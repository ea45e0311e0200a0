"""The stages of a build, shard in and records out. They work without Prefect, which only calls them.

Resume needs nothing but the output folder: a clip is done when its proof is there, bound to the source's bytes and to
the fingerprint of the settings.
"""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import as_completed

from araflow.acquire import local as sources
from araflow.acquire.fetch import Progress, no_progress
from araflow.acquire.types import Sources
from araflow.build import extract
from araflow.build.extract import Job, Recipe
from araflow.build.pool import WorkerError, WorkerPool
from araflow.core import splits
from araflow.core.clip import Clip, ClipRecord, Outcome
from araflow.core.errors import OutputError, SourceError
from araflow.core.processes import Lost
from araflow.core.spec import BuildSpec, RunSpec
from araflow.datasets import check_classes, load
from araflow.store.manifest import Manifest
from araflow.store.store import Store

log = logging.getLogger(__name__)
NOTHING = Sources(None, None)
_CRASHES = {-4, -6, -7, -8, -11}
"""Exit codes of a process that broke: SIGILL, SIGABRT, SIGBUS, SIGFPE, SIGSEGV."""
_PYTHON_ENDED = 1
"""Exit code of a worker that could not even start, say because a library is broken. Any other is a decoder's own."""


@dataclasses.dataclass(frozen=True, slots=True)
class Selection:
    """The clips of a build.

    Attributes:
        clips: Listed clips, sorted by key.
        labels: Class names in label order.
        split_of: Clip key to split; empty where no split was asked for.
    """

    clips: tuple[Clip, ...]
    labels: tuple[str, ...]
    split_of: dict[str, str]


def shards(clips: tuple[Clip, ...], size: int) -> list[tuple[Clip, ...]]:
    """Cut clips into shards of at most ``size``."""
    return [clips[start : start + size] for start in range(0, len(clips), size)]


def prepare(spec: BuildSpec, store: Store, progress: Progress = no_progress) -> Sources:
    """Make the dataset's videos and split files local; the caller has checked the settings and holds the store's lock.

    Raises:
        SourceError: The source cannot be had.
    """
    dataset = load(spec.dataset.name)
    return dataset.prepare(spec.dataset, store.state, report=log.info, progress=progress)


def select(spec: BuildSpec, files: Sources) -> Selection:
    """List the clips of the wanted classes and give each its split.

    Raises:
        SpecError: A class is unknown, or the split protocol needs what the clips do not have.
        SourceError: A list or name cannot be read, or no clip is listed.
    """
    dataset = load(spec.dataset.name)
    labels = check_classes(dataset, spec.dataset.name, spec.dataset.classes)
    clips = thin_out(dataset.list_clips(files, spec.dataset.classes), spec.dataset.clips_per_class)
    split_of = splits.assign(clips, spec.split)
    wanted = {"train", "test"} | ({"val"} if spec.split.val_fraction else set())
    if spec.split.protocol == "official" and files.subsets:
        wanted = set(files.subsets)
    parts: dict[str, set[str]] = defaultdict(set)
    for clip in clips:
        parts[clip.label or ""].add(split_of[clip.key])
    for label in labels or sorted(parts):
        if label in parts and (lacking := wanted - parts[label]):
            log.warning("class %s has no %s clips", label, " and no ".join(sorted(lacking)))
    return selection(clips, str(files.videos or files.splits), labels, split_of)


def thin_out(clips: Sequence[Clip], most: int | None) -> list[Clip]:
    """Take at most so many clips of each class and subset, evenly spaced through their sorted keys.

    Those whose videos are there come first; where a class has none, listed ones are taken all the same.
    """
    if most is None:
        return list(clips)
    groups: dict[tuple[str | None, str | None], list[Clip]] = defaultdict(list)
    for clip in sorted(clips, key=lambda clip: clip.key):
        groups[clip.label, clip.subset].append(clip)
    there = ([clip for clip in own if clip.source is not None] or own for own in groups.values())
    taken = (own if len(own) <= most else [own[number * len(own) // most] for number in range(most)] for own in there)
    return sorted((clip for own in taken for clip in own), key=lambda clip: clip.key)


def selection(
    clips: Sequence[Clip], origin: str, labels: Sequence[str] | None = None, split_of: dict[str, str] | None = None
) -> Selection:
    """Wrap listed clips.

    Args:
        clips: Sorted by key.
        origin: Where they were looked for, for the message.
        labels: Class names in label order; ``None`` takes those of the clips, sorted.
        split_of: Clip key to split.

    Raises:
        SourceError: There are none.
    """
    if not clips:
        raise SourceError(f"{origin}: no clips found: no video files, no folders of images, and no list of any")
    if labels is None:
        labels = sorted({clip.label for clip in clips if clip.label is not None})
    return Selection(tuple(clips), tuple(labels), split_of or {})


def check_output(store: Store, selection: Selection) -> None:
    """Refuse an output folder that holds something else: its manifest would be replaced by one without those clips.

    Raises:
        OutputError: The manifest there shares no clip with the selection.
    """
    with store.reached():
        if not store.manifest.is_file():
            return
    there = {key for (key,) in Manifest.read(store.manifest).columns("key")}
    if there and there.isdisjoint(clip.key for clip in selection.clips):
        raise OutputError(
            f"{store.out}: holds {len(there)} other clips, such as {min(there)!r}; choose another out, or remove it"
        )


def extract_shard(
    clips: Iterable[Clip],
    recipe: Recipe,
    store: Store,
    pool: WorkerPool,
    run: RunSpec,
    on_record: Callable[[ClipRecord, bool], None] = lambda record, made: None,
) -> list[ClipRecord]:
    """Make the clips of one shard, those apart that are made already.

    Args:
        clips: The shard.
        recipe: How to make them.
        store: Where; the caller holds its lock.
        pool: Workers; started only if something is to be done.
        run: Timeouts, and what a bad clip means.
        on_record: Called after each clip with its record and whether it was worked on, not just looked up.

    Returns:
        One record per clip, in the order of their keys.

    Raises:
        OutputError: Nothing more can be written.
        SourceError: A clip is bad and ``run.on_error`` is ``stop``.
    """
    records: list[ClipRecord] = []

    def keep(record: ClipRecord, *, news: bool, made: bool) -> None:
        if news and record.outcome is not Outcome.DONE:
            store.write_record(record)
        records.append(record)
        on_record(record, made)
        if record.outcome is not Outcome.DONE and run.on_error == "stop":
            raise SourceError(f"{record.key}: {record.outcome}: {record.reason} (run.on_error is stop)")

    pending = {}
    try:
        for answer in store.each(lambda clip: _plan(clip, recipe, store), clips):
            if isinstance(answer, Job):
                pending[pool.submit(extract.make, answer, run.clip_timeout)] = answer
            else:
                record, news = answer
                keep(record, news=news, made=False)
        while pending:
            done = next(as_completed(pending))
            job = pending.pop(done)
            try:
                result = done.result()
                if isinstance(result, Lost) and not result.timed_out:
                    text = "%s: its process %s; trying once more"
                    log.warning(text, job.key, result, extra={"clip": job.key})
                    result = pool.submit(extract.make, job, run.clip_timeout).result()
            except WorkerError as error:
                result = job.record(Outcome.FAILED, f"error: {error}")
            keep(_lost(job, result, run) if isinstance(result, Lost) else result, news=True, made=True)
    finally:
        for future in pending:
            future.cancel()
    return sorted(records, key=lambda record: record.key)


def _plan(clip: Clip, recipe: Recipe, store: Store) -> Job | tuple[ClipRecord, bool]:
    """Decide what is to be done for a clip: a job, or its record and whether that is news."""
    known = store.find(clip.key, recipe.fingerprint)
    if clip.source is None:
        if known is not None and (known.outcome is Outcome.DONE or known.reason_code == "missing"):
            return known, False
        reason = f"missing: {clip.name} is listed but not in the source"
        return ClipRecord(clip.key, Outcome.QUARANTINED, reason, fingerprint=recipe.fingerprint), True
    try:
        size, checksum = extract.hash_source(clip.source)
    except OSError as error:
        if known is not None and known.outcome is Outcome.DONE:
            return known, False  # as for a source that is gone
        reason = f"io-error: {error.strerror or error}"
        return ClipRecord(clip.key, Outcome.FAILED, reason, fingerprint=recipe.fingerprint), True
    if known is not None and known.source_sha256 == checksum and known.outcome is not Outcome.FAILED:
        return known, False
    other = store.find_made(clip.key)
    keep_rgb = other is not None and other.source_sha256 == checksum and other.rgb_fingerprint == recipe.rgb_fingerprint
    return Job(clip.key, clip.source, store, recipe, size, checksum, keep_rgb)


def _lost(job: Job, lost: Lost, run: RunSpec) -> ClipRecord:
    if lost.timed_out:
        return job.record(Outcome.FAILED, f"timeout: took longer than run.clip_timeout={run.clip_timeout:g} seconds")
    # A process that was killed from outside (out of memory, say) may well succeed next time; a crash will not.
    broke = lost.exit_code is not None and (
        lost.exit_code in _CRASHES or (lost.exit_code >= 0 and lost.exit_code != _PYTHON_ENDED)
    )
    outcome = Outcome.QUARANTINED if broke else Outcome.FAILED
    return job.record(outcome, f"crashed: the decoding process {lost}, twice")


def collect(clips: Sequence[Clip], recipe: Recipe, store: Store) -> list[ClipRecord]:
    """Read every clip's record back from the output folder, in the clips' order.

    Raises:
        OutputError: A clip has no record: extraction has not finished.
    """
    records = []
    found = store.each(lambda clip: store.find(clip.key, recipe.fingerprint), clips)
    for clip, record in zip(clips, found, strict=True):
        if record is None:
            raise OutputError(f"{store.out}: {clip.key!r} has no record: run the build again to finish it")
        records.append(record)
    return records


def outcomes(records: Iterable[ClipRecord]) -> Counter[str]:
    """Count records by outcome; every outcome is there, also with 0."""
    counts = Counter({outcome.value: 0 for outcome in Outcome})
    counts.update(record.outcome.value for record in records)
    return counts


def write_manifest(
    spec: BuildSpec,
    selection: Selection,
    recipe: Recipe,
    store: Store,
    *,
    files: Sources = NOTHING,
    configured: bool = True,
) -> Manifest:
    """Join the clips with their records and write the manifest.

    Args:
        spec: Settings, which the manifest keeps.
        selection: The clips.
        recipe: How they were made.
        store: Where.
        files: What was made local, for the record of where the clips come from.
        configured: They are those of ``spec.dataset`` and ``spec.split``; else these settings had no part in them.

    Raises:
        OutputError: A clip has no record, or the file cannot be written.
    """
    settings = spec.output_settings()
    if not configured:
        del settings["dataset"], settings["split"]
    manifest = Manifest.of(
        selection.clips,
        collect(selection.clips, recipe, store),
        labels=selection.labels,
        split_of=selection.split_of,
        metadata={
            "name": spec.name,
            "spec": settings,
            "labels": list(selection.labels),
            "software": extract.software(recipe.backend),
            "dataset": sources.provenance(spec.dataset, files) if configured else None,
        },
        folder=store.out,
    )
    store.check_held()
    with store.reached():
        manifest.write(store.manifest)
    return manifest
