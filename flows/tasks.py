"""The stages as Prefect tasks. Each body is one call of the library; nothing here knows how a stage works.

What is done is known from the output folder, so tasks are not cached: a cached result says that a task ran once, not
that its files are there.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import time
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

from prefect import State, task
from prefect.cache_policies import NO_CACHE
from prefect.states import Cancelled, Failed

from araflow.acquire.types import Sources
from araflow.build import note as build_note
from araflow.build import shards, stages
from araflow.build.extract import Recipe
from araflow.build.pool import WorkerPool
from araflow.build.portions import Portion
from araflow.build.stages import Selection
from araflow.core.clip import Clip, ClipRecord
from araflow.core.errors import AraflowError, PoolClosedError
from araflow.core.spec import BuildSpec
from araflow.report.contact_sheet import write_contact_sheet
from araflow.store import audit as auditing
from araflow.store.manifest import Manifest
from araflow.store.store import Store
from flows import show
from flows.executors import limits

log = logging.getLogger("araflow.flows")
if logging.getLogger("araflow").level == logging.NOTSET:
    # Prefect shows only warnings of loggers that do not ask for more.
    logging.getLogger("araflow").setLevel(logging.INFO)
_SECONDS_OF_SILENCE = 60.0
"""A shard of slow optical flow takes an hour; it says how far it is at this interval."""
_P = ParamSpec("_P")
_R = TypeVar("_R")


@dataclasses.dataclass(frozen=True, slots=True)
class StageResult:
    """What a stage hands on; an object, since Prefect draws an edge only where one is passed.

    Attributes:
        stage: Name of the stage.
        counts: Clips by outcome.
        made: Clips that were worked on, as against found done.
        seconds: Wall time.
    """

    stage: str
    counts: dict[str, int]
    made: int = 0
    seconds: float = 0.0


def plainly(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """End in state Failed with the message of an error that araflow explains itself, without a traceback in the log."""

    @functools.wraps(function)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> _R | State[Any]:
        try:
            return function(*args, **kwargs)
        except PoolClosedError as error:
            return Cancelled(message=str(error), data=error)
        except AraflowError as error:
            return Failed(message=str(error), data=error)

    return cast(Callable[_P, _R], run)  # Prefect turns a returned state into its result, or raises its error


@task(name="fetch", cache_policy=NO_CACHE)
@plainly
def fetch(spec: BuildSpec, store: Store) -> Sources:
    """Make the dataset's files local."""
    with limits.slot("download"):
        return stages.prepare(spec, store)


@task(name="fetch-part", task_run_name="fetch-{name}", cache_policy=NO_CACHE)
@plainly
def fetch_part(name: str, portion: Portion) -> int:
    """Fetch and unpack one archive of a dataset in parts; return how many wanted clips are in it."""
    with limits.slot("download"):
        clips = portion.open()
    log.info("%s: %d clips", name, len(clips))
    return len(clips)


@task(name="select", cache_policy=NO_CACHE)
@plainly
def select(spec: BuildSpec, files: Sources, store: Store, fingerprint: str, accept_licence: bool) -> Selection:
    """List the clips and give each its split; leave a note of them in the output."""
    selection = stages.select(spec, files)
    stages.check_output(store, selection)
    build_note.write(store, spec, fingerprint, selection, accept_licence=accept_licence)
    log.info("%d clips of %d classes listed", len(selection.clips), len(selection.labels))
    return selection


@task(name="extract", task_run_name="extract-shard-{shard:04d}", cache_policy=NO_CACHE)
@plainly
def extract(
    shard: int,
    clips: tuple[Clip, ...],
    spec: BuildSpec,
    recipe: Recipe,
    store: Store,
    pool: WorkerPool,
    on_clip: Callable[[int], None] = lambda clips: None,
) -> StageResult:
    """Make the clips of one shard, in worker processes that all shards share."""
    return extract_now(f"shard {shard}", clips, spec, recipe, store, pool, on_clip)


def extract_now(
    name: str,
    clips: tuple[Clip, ...],
    spec: BuildSpec,
    recipe: Recipe,
    store: Store,
    pool: WorkerPool,
    on_clip: Callable[[int], None] = lambda clips: None,
) -> StageResult:
    """Make the clips of one shard, and say so in a line.

    Args:
        name: What the line calls it.
        clips: The shard.
        spec: Settings.
        recipe: How.
        store: Where; bound to a session.
        pool: Worker processes.
        on_clip: Called with the number of clips that have been settled since the last call.
    """
    start = last = time.monotonic()
    made = seen = 0

    def count(record: ClipRecord, worked_on: bool) -> None:
        nonlocal made, seen, last
        made, seen = made + worked_on, seen + 1
        on_clip(1)
        if time.monotonic() - last > _SECONDS_OF_SILENCE:
            last = time.monotonic()
            log.info("%s: %d of %d clips", name, seen, len(clips), extra={"shard": name})

    records = shards.extract_shard(clips, recipe, store, pool, spec.run, count)
    seconds = time.monotonic() - start
    counts = shards.outcomes(records)
    shown = ", ".join(f"{number} {outcome}" for outcome, number in counts.items() if number)
    log.info("%s: %s (%d worked on, %.1f s)", name, shown, made, seconds, extra={"shard": name})
    return StageResult("extract", dict(counts), made, seconds)


@task(name="manifest", cache_policy=NO_CACHE)
@plainly
def manifest(spec: BuildSpec, selection: Selection, recipe: Recipe, files: Sources, store: Store) -> Manifest:
    """Write the manifest, and draw the contact sheet."""
    written = stages.write_manifest(spec, selection, recipe, store, files=files)
    if write_contact_sheet(written) is not None:
        show.contact_sheet(written.folder)
    show.manifest(written, spec)
    return written


@task(name="audit", cache_policy=NO_CACHE)
@plainly
def audit(written: Manifest) -> StageResult:
    """Hold the files against the manifest and test clips against training clips, and publish the counts."""
    auditing.check(written)
    show.outcomes(written)
    return StageResult("audit", dict(written.outcomes()))
