"""The stages as Prefect tasks. Each body is one call of the library; nothing here knows how a stage works.

What is done is known from the output folder, so tasks are not cached: a cached result says that a task ran once, not
that its files are there.
"""

from __future__ import annotations

import base64
import dataclasses
import functools
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

from prefect import State, task
from prefect.artifacts import create_image_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.states import Cancelled, Failed

from araflow import audit as auditing
from araflow import stages, summary
from araflow.clip import Clip, ClipRecord
from araflow.datasets import Sources
from araflow.errors import AraflowError, PoolClosedError
from araflow.extract import Recipe
from araflow.manifest import Manifest
from araflow.pool import WorkerPool
from araflow.portions import Portion
from araflow.report import write_contact_sheet
from araflow.spec import BuildSpec
from araflow.stages import Selection
from araflow.store import Store

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
def fetch(spec: BuildSpec) -> Sources:
    """Make the dataset's files local."""
    return stages.prepare(spec, Store(Path(spec.out)))


@task(name="fetch-part", task_run_name="fetch-{name}", cache_policy=NO_CACHE)
@plainly
def fetch_part(name: str, portion: Portion) -> int:
    """Fetch and unpack one archive of a dataset in parts; return how many wanted clips are in it."""
    clips = portion.open()
    log.info("%s: %d clips", name, len(clips))
    return len(clips)


@task(name="select", cache_policy=NO_CACHE)
@plainly
def select(spec: BuildSpec, files: Sources) -> Selection:
    """List the clips and give each its split."""
    selection = stages.select(spec, files)
    stages.check_output(Store(Path(spec.out)), selection)
    log.info("%d clips of %d classes listed", len(selection.clips), len(selection.labels))
    return selection


@task(name="extract", task_run_name="extract-shard-{shard:04d}", cache_policy=NO_CACHE)
@plainly
def extract(
    shard: int, shards: int, clips: tuple[Clip, ...], spec: BuildSpec, recipe: Recipe, pool: WorkerPool
) -> StageResult:
    """Make the clips of one shard, in worker processes that all shards share."""
    start = last = time.monotonic()
    made = seen = 0

    def count(record: ClipRecord, worked_on: bool) -> None:
        nonlocal made, seen, last
        made, seen = made + worked_on, seen + 1
        if time.monotonic() - last > _SECONDS_OF_SILENCE:
            last = time.monotonic()
            log.info("shard %d of %d: %d of %d clips", shard + 1, shards, seen, len(clips))

    records = stages.extract_shard(clips, recipe, Store(Path(spec.out)), pool, spec.run, count)
    seconds = time.monotonic() - start
    counts = stages.outcomes(records)
    shown = ", ".join(f"{number} {name}" for name, number in counts.items() if number)
    log.info("shard %d of %d: %s (%d worked on, %.1f s)", shard + 1, shards, shown, made, seconds)
    return StageResult("extract", dict(counts), made, seconds)


@task(name="manifest", cache_policy=NO_CACHE)
@plainly
def manifest(spec: BuildSpec, selection: Selection, recipe: Recipe, files: Sources) -> Manifest:
    """Write the manifest, and draw the contact sheet."""
    written = stages.write_manifest(spec, selection, recipe, Store(Path(spec.out)), files=files)
    picture = write_contact_sheet(written)
    if picture is not None:
        data = base64.b64encode(picture.read_bytes()).decode()
        create_image_artifact(
            image_url=f"data:image/jpeg;base64,{data}",
            key="contact-sheet",
            description="One clip per class: frames, and the optical flow from each to the next as colour.",
        )
    return written


@task(name="audit", cache_policy=NO_CACHE)
@plainly
def audit(written: Manifest) -> StageResult:
    """Hold the files against the manifest and test clips against training clips, and publish the counts."""
    auditing.check(written)
    create_table_artifact(
        table=summary.by_class(written),
        key="outcomes",
        description=f"Clips of {written.folder} by class, outcome and split. Leaked: test clips whose source title is "
        "also in training.",
    )
    return StageResult("audit", dict(written.outcomes()))
