"""The build flow: fetch → select → extract (a task per shard) → manifest → audit.

What is done is known from the output folder, so tasks are not cached: a cached result says that a task ran once, not
that its files are there.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import functools
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar

from prefect import flow, runtime, tags, task
from prefect.artifacts import create_image_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.futures import as_completed
from prefect.states import Cancelled, Completed, Failed, State
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.utilities.annotations import quote
from pydantic import Field

from araflow import audit as auditing
from araflow import spec as specs
from araflow import stages, summary
from araflow.build import settle
from araflow.clip import Clip, ClipRecord, Outcome
from araflow.datasets import Sources
from araflow.errors import AraflowError, ManifestError, PoolClosedError
from araflow.extract import Recipe
from araflow.manifest import Manifest
from araflow.pool import WorkerPool
from araflow.report import write_contact_sheet
from araflow.spec import BuildSpec
from araflow.stages import Selection
from araflow.store import Store

log = logging.getLogger("araflow.flows")
if logging.getLogger("araflow").level == logging.NOTSET:
    logging.getLogger("araflow").setLevel(logging.INFO)  # Prefect shows warnings alone of loggers that do not ask for more
_P = ParamSpec("_P")
_R = TypeVar("_R")
_SHARDS_AT_ONCE = 2  # the next shard hashes its sources while the last clips of this one are still decoding


@dataclasses.dataclass(frozen=True, slots=True)
class StageResult:
    """What a stage hands to the next; an object, since Prefect draws an edge only where one is passed on.

    Attributes:
        stage: Name of the stage.
        counts: Clips by outcome.
        made: Clips that were worked on, as against found done.
        reasons: Clips that are not done, by reason code.
        seconds: Wall time.
    """

    stage: str
    counts: dict[str, int]
    made: int = 0
    reasons: dict[str, int] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0


def _plainly(function: Callable[_P, _R]) -> Callable[_P, _R | State[Any]]:
    """End in state Failed with the message of an error that araflow explains itself, without a traceback in the log."""

    @functools.wraps(function)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> _R | State[Any]:
        try:
            return function(*args, **kwargs)
        except PoolClosedError as error:
            return Cancelled(message=str(error), data=error)
        except AraflowError as error:
            return Failed(message=str(error), data=error)

    return run


@task(name="fetch", cache_policy=NO_CACHE)
@_plainly
def fetch(spec: BuildSpec, accept_licence: bool) -> Sources:
    """Make the dataset's files local."""
    return stages.prepare(spec, Store(Path(spec.out)), accept_licence=accept_licence)


@task(name="select", cache_policy=NO_CACHE)
@_plainly
def select(spec: BuildSpec, files: Sources) -> Selection:
    """List the clips and give each its split."""
    selection = stages.select(spec, files)
    log.info("%d clips of %d classes listed", len(selection.clips), len(selection.labels))
    return selection


@task(name="extract", task_run_name="extract-shard-{shard:04d}", cache_policy=NO_CACHE)
@_plainly
def extract(shard: int, shards: int, clips: tuple[Clip, ...], spec: BuildSpec, recipe: Recipe, pool: Any) -> StageResult:  # noqa: ANN401
    """Make the clips of one shard. ``pool`` is a ``WorkerPool``, shared by all shards of this process."""
    start, made = time.monotonic(), 0

    def count(record: ClipRecord, worked_on: bool) -> None:
        nonlocal made
        made += worked_on

    records = stages.extract_shard(clips, recipe, Store(Path(spec.out)), pool, spec.run, count)
    seconds = time.monotonic() - start
    counts = stages.outcomes(records)
    reasons = Counter(record.reason_code for record in records if record.outcome is not Outcome.DONE)
    shown = ", ".join(f"{number} {name}" for name, number in counts.items() if number)
    log.info("shard %d of %d: %s (%d worked on, %.1f s)", shard + 1, shards, shown, made, seconds)
    return StageResult("extract", dict(counts), made, dict(reasons), seconds)


@task(name="manifest", cache_policy=NO_CACHE)
@_plainly
def manifest(spec: BuildSpec, selection: Selection, recipe: Recipe) -> Manifest:
    """Write the manifest and the contact sheet."""
    written = stages.write_manifest(spec, selection, recipe, Store(Path(spec.out)))
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
@_plainly
def audit(written: Manifest) -> StageResult:
    """Hold the files against the manifest, and test clips against training clips; publish the counts."""
    problems = auditing.validate(written, decode=False)
    if problems:
        more = f" (and {len(problems) - 5} more)" if len(problems) > 5 else ""
        raise ManifestError(f"{written.folder}: files do not match the manifest: {'; '.join(problems[:5])}{more}")
    create_table_artifact(
        table=summary.by_class(written),
        key="outcomes",
        description=f"Clips of {written.folder} by class, outcome and split; leaked: test clips whose source title is "
        "also in training.",
    )
    return StageResult("audit", dict(written.outcomes()), reasons=dict(summary.reasons(written)))


def _run_name() -> str:
    parameters = runtime.flow_run.parameters
    spec = resolve(**{name: parameters.get(name) for name in _FLAT}, config=parameters["config"], overrides=parameters["overrides"])
    backend = spec.optical.backend
    with contextlib.suppress(AraflowError):  # the flow itself will say what is wrong
        backend = settle(spec)[0].backend
    parts = [spec.name, backend, spec.optical.algorithm]
    return "-".join([*parts, spec.optical.preset] if spec.optical.algorithm == "dis" else parts)


_FLAT = {
    "classes": "dataset.classes",
    "source": "dataset.source",
    "splits": "dataset.splits",
    "protocol": "split.protocol",
    "fold": "split.fold",
    "backend": "optical.backend",
    "algorithm": "optical.algorithm",
    "preset": "optical.preset",
    "quantizer": "optical.quantizer",
    "bound": "optical.bound",
    "workers": "run.workers",
    "shard_size": "run.shard_size",
    "on_error": "run.on_error",
    "out": "out",
}
"""Flow argument to setting."""


def resolve(config: str, overrides: list[str], **flat: Any) -> BuildSpec:  # noqa: ANN401
    """Read the configuration; the flow's own arguments stand above ``overrides``, which stand above the file.

    Raises:
        SpecError: A setting is wrong.
    """
    tree = specs.load(config, overrides).model_dump()
    for name, value in flat.items():
        if value is not None:
            *groups, key = _FLAT[name].split(".")
            branch = tree
            for group in groups:
                branch = branch[group]
            branch[key] = value
    return specs.parse(tree, f"flow arguments over {config}")


@flow(name="build", flow_run_name=_run_name, task_runner=ThreadPoolTaskRunner(max_workers=_SHARDS_AT_ONCE))
@_plainly
def build(
    config: Annotated[str, Field(description="Configuration: a YAML file, or a shipped name such as hmdb5.")] = "hmdb5",
    overrides: Annotated[list[str], Field(description="Any other settings, each dotted.key=value.")] = [],  # noqa: B006
    classes: Annotated[list[str] | None, Field(description="Classes to take; empty: as configured.")] = None,
    source: Annotated[str | None, Field(description="Folder, archive or address of the videos.")] = None,
    splits: Annotated[str | None, Field(description="Folder, archive or address of the split files.")] = None,
    protocol: specs.Protocol | None = None,
    fold: Annotated[int | None, Field(ge=1, le=3, description="Official fold.")] = None,
    backend: specs.BackendName | None = None,
    algorithm: specs.Algorithm | None = None,
    preset: specs.Preset | None = None,
    quantizer: specs.Quantizer | None = None,
    bound: Annotated[float | None, Field(gt=0, description="Largest storable |u|, |v| in pixels per frame.")] = None,
    workers: Annotated[int | None, Field(ge=1, description="Decoding processes; empty: one per core.")] = None,
    shard_size: Annotated[int | None, Field(ge=1, description="Clips per task.")] = None,
    on_error: specs.OnError | None = None,
    out: Annotated[str | None, Field(description="Output folder.")] = None,
    strict: Annotated[bool, Field(description="Any clip that is not done fails the run.")] = False,
    accept_licence: Annotated[bool, Field(description="I accept the dataset's licence; download it.")] = False,
) -> State[StageResult]:
    """Turn a dataset's videos into RGB frames, optical flow and a manifest."""
    given = {name: value for name, value in locals().items() if name in _FLAT}
    spec = resolve(config, overrides, **given)
    recipe, why = settle(spec)
    log.info("optical flow: %s", why)
    start = time.monotonic()
    with Store(Path(spec.out)).locked(), WorkerPool(spec.run.workers) as pool:
        files = fetch.submit(spec, accept_licence)
        selection = select.submit(spec, files)
        shards = selection.result().shards(spec.run.shard_size)
        extracted = [
            extract.submit(number, len(shards), quote(clips), spec, recipe, quote(pool), wait_for=[selection])
            for number, clips in enumerate(shards)
        ]
        made = 0
        try:
            for future in as_completed(extracted):
                made += future.result().made
        except BaseException:
            pool.close()  # the other shards end at once, instead of each running into the same trouble
            raise
        written = manifest.submit(spec, quote(selection.result()), recipe, wait_for=extracted)
        result = audit.submit(quote(written.result()), wait_for=[written]).result()
    result = dataclasses.replace(result, stage="build", made=made, seconds=time.monotonic() - start)
    message = summary.last_line(written.result(), made, result.seconds)
    log.info("%s", message)
    if strict and result.counts.get(Outcome.DONE, 0) < sum(result.counts.values()):
        raise AraflowError(f"strict: {message}")
    return Completed(message=message, data=result)



def run(
    spec: BuildSpec, config: str, overrides: Sequence[str], *, accept_licence: bool = False, strict: bool = False
) -> StageResult:
    """Run the flow here and now, under the name ``build-<name>``.

    Args:
        spec: What ``config`` and ``overrides`` say.
        config: See the flow's argument.
        overrides: See the flow's argument.
        accept_licence: See the flow's argument.
        strict: See the flow's argument.

    Raises:
        AraflowError: The run failed.
    """
    named = build.with_options(name=f"build-{spec.name}")
    with tags(spec.dataset.name, spec.optical.algorithm):
        state = named(
            config=config, overrides=list(overrides), accept_licence=accept_licence, strict=strict, return_state=True
        )
    result = state.result(raise_on_failure=True)
    assert isinstance(result, StageResult)  # noqa: S101 - for the type checker; a failed state has raised
    return result
