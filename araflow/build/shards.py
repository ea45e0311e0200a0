"""The clips of one shard: those that are made already are looked up, the others go to the worker processes.

What failed for a reason that may pass is tried again. A clip is settled after its last try; ``run.on_error`` is about
settled ones.
"""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

from araflow.build import extract, source, turned, verify
from araflow.build.extract import Job
from araflow.build.pool import WorkerError, WorkerPool
from araflow.build.recipe import Recipe
from araflow.core import telling
from araflow.core.clip import Clip, ClipRecord, Outcome
from araflow.core.errors import SourceError
from araflow.core.processes import Lost, usable_cores
from araflow.core.reading import NotAFileError
from araflow.core.spec import RunSpec
from araflow.store.store import Known, Store

log = logging.getLogger(__name__)
_FIRST_PAUSE, _LONGER = 5.0, 5.0
"""Seconds before the first retry, and the factor from one pause to the next."""
_CRASHES = {-4, -6, -7, -8, -11}
"""Exit codes of a process that broke: SIGILL, SIGABRT, SIGBUS, SIGFPE, SIGSEGV."""
_PYTHON_ENDED = 1
"""Exit code of a worker that could not even start, say because a library is broken. Any other is a decoder's own."""


def shards(clips: tuple[Clip, ...], size: int) -> list[tuple[Clip, ...]]:
    """Cut clips into shards of at most ``size``."""
    return [clips[start : start + size] for start in range(0, len(clips), size)]


def extract_shard(
    clips: Sequence[Clip],
    recipe: Recipe,
    store: Store,
    pool: WorkerPool,
    run: RunSpec,
    on_record: Callable[[ClipRecord, bool], None] = lambda record, made: None,
) -> list[ClipRecord]:
    """Make the clips of one shard, those apart that are made already; try those that fail ``run.retries`` times more.

    A clip that took too long is not tried again: it would take as long. The next run tries it.

    Args:
        clips: The shard.
        recipe: How to make them.
        store: Where; the caller holds its lock.
        pool: Workers; started only if something is to be done.
        run: Timeouts, retries, and what a bad clip means.
        on_record: Called once for each clip, when it is settled, with its record and whether it was worked on, not just
            looked up.

    Returns:
        One record per clip, in the order of their keys.

    Raises:
        OutputError: Nothing more can be written.
        SourceError: A clip is bad, after its last try, and ``run.on_error`` is ``stop``.
        PoolClosedError: The run is being stopped.
    """
    settled: list[ClipRecord] = []
    pause = _FIRST_PAUSE
    for tries_left in reversed(range(run.retries + 1)):
        failed: list[ClipRecord] = []
        with contextlib.closing(_try(clips, recipe, store, pool, run)) as answers:
            for record, made in answers:
                if tries_left and _may_pass(record):
                    failed.append(record)
                    continue
                settled.append(record)
                on_record(record, made)
                telling.say_bad(log, record)
                if record.outcome is not Outcome.DONE and run.on_error == "stop":
                    raise SourceError(f"{record.key}: {record.outcome}: {record.reason} (run.on_error is stop)")
        if not failed:
            break
        codes = ", ".join(f"{number} {code}" for code, number in Counter(one.reason_code for one in failed).items())
        text = "%d clips failed (%s), such as %s: %s; again in %.0f s"
        log.warning(text, len(failed), codes, failed[0].key, failed[0].reason, pause)
        pool.pause(pause)
        pause *= _LONGER
        again = {record.key for record in failed}
        clips = [clip for clip in clips if clip.key in again]
    return sorted(settled, key=lambda record: record.key)


def _may_pass(record: ClipRecord) -> bool:
    return record.outcome is Outcome.FAILED and record.reason_code != "timeout"


def _try(
    clips: Sequence[Clip], recipe: Recipe, store: Store, pool: WorkerPool, run: RunSpec
) -> Generator[tuple[ClipRecord, bool]]:
    """Try each clip once; yield its record, which is written, and whether it was worked on, as the answers come."""
    pending: dict[Future[ClipRecord | Lost], Job] = {}
    lost_before: set[str] = set()

    def submit(job: Job) -> None:
        pending[pool.submit(extract.make, job, run.clip_timeout)] = job

    try:
        for answer in _plans(clips, recipe, store, run.verify):
            if isinstance(answer, Job):
                submit(answer)
                continue
            record, news = answer
            if news:
                store.write_record(record)
            yield record, False
        while pending:
            for future in wait(pending, return_when=FIRST_COMPLETED).done:
                job = pending.pop(future)
                try:
                    result = future.result()
                except WorkerError as error:
                    result = job.record(Outcome.FAILED, f"error: {error}")
                if isinstance(result, Lost):
                    if not result.timed_out and job.key not in lost_before:
                        text = "%s: its process %s; trying once more"
                        log.warning(text, job.key, result, extra={"clip": job.key})
                        lost_before.add(job.key)
                        submit(job)  # behind the others, whose answers are not held back by it
                        continue
                    result = _lost(job, result, run)
                if result.outcome is not Outcome.DONE:
                    store.write_record(result)
                yield result, True
    finally:
        for future in pending:
            future.cancel()


def _plans(
    clips: Sequence[Clip], recipe: Recipe, store: Store, verified: bool
) -> Iterator[Job | tuple[ClipRecord, bool]]:
    def plan(clip: Clip) -> Job | tuple[ClipRecord, bool]:
        return _plan(clip, verify.look(store, clip.key, recipe.fingerprint, verify=verified), recipe, store)

    if not verified:
        yield from store.map(plan, clips)
        return
    with ThreadPoolExecutor(max(usable_cores(), store.place.at_once)) as threads:  # every byte is read
        yield from threads.map(plan, clips)


def _plan(clip: Clip, found: Known, recipe: Recipe, store: Store) -> Job | tuple[ClipRecord, bool]:
    """Decide what is to be done for a clip: a job, or its record and whether that is news."""
    known, made = found
    if clip.source is None:
        if known is not None and (known.outcome is Outcome.DONE or known.reason_code == "missing"):
            return known, False
        reason = f"missing: {clip.name} is listed but not in the source"
        return ClipRecord(clip.key, Outcome.QUARANTINED, reason, fingerprint=recipe.fingerprint), True
    try:
        mark = source.stamp(clip.source)
        size, checksum = source.hash_source(clip.source)
    except OSError as error:
        if known is not None and known.outcome is Outcome.DONE:
            return known, False  # as for a source that is gone
        if (seen := _no_file(clip.source, error)) is not None:
            record = ClipRecord(clip.key, Outcome.QUARANTINED, seen, fingerprint=recipe.fingerprint)
            return record, record != known
        reason = f"io-error: {error.strerror or error}"
        return ClipRecord(clip.key, Outcome.FAILED, reason, fingerprint=recipe.fingerprint), True
    same = made if made is not None and made.source_sha256 == checksum else None
    right = same is None or turned.as_wanted(same, recipe.rotation, clip.source)
    answered = known is not None and known.source_sha256 == checksum and known.outcome is not Outcome.FAILED
    if known is not None and answered and (right or known.outcome is not Outcome.DONE):
        return known, False
    keep_rgb = same is not None and right and same.rgb_fingerprint == recipe.rgb_fingerprint
    return Job(clip.key, clip.source, store, recipe, size, checksum, keep_rgb, mark)


def _no_file(source: Path, error: OSError) -> str | None:
    """Say what is in a file's place, where that is no matter of another try."""
    name = "it" if error.filename in (None, str(source)) else Path(error.filename).name
    if isinstance(error, NotAFileError):
        return f"not-a-file: {name} is {error.strerror}"
    return None


def _lost(job: Job, lost: Lost, run: RunSpec) -> ClipRecord:
    if lost.timed_out:
        return job.record(Outcome.FAILED, f"timeout: took longer than run.clip_timeout={run.clip_timeout:g} seconds")
    if job.was_touched():  # half a file may well crash a decoder
        return job.changed()
    # A process that was killed from outside (out of memory, say) may well succeed next time; a crash will not.
    broke = lost.exit_code is not None and (
        lost.exit_code in _CRASHES or (lost.exit_code >= 0 and lost.exit_code != _PYTHON_ENDED)
    )
    outcome = Outcome.QUARANTINED if broke else Outcome.FAILED
    return job.record(outcome, f"crashed: the decoding process {lost}, twice")


def outcomes(records: Iterable[ClipRecord]) -> Counter[str]:
    """Count records by outcome; every outcome is there, also with 0."""
    counts = Counter({outcome.value: 0 for outcome in Outcome})
    counts.update(record.outcome.value for record in records)
    return counts
