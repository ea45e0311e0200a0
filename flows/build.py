"""The build flow: fetch → select → extract (a task per shard) → manifest → audit, and on to a training if asked."""

from __future__ import annotations

import collections
import dataclasses
import logging
import time
from collections.abc import Sequence
from typing import Any

from prefect import State, flow, runtime
from prefect.futures import PrefectFuture, as_completed
from prefect.states import Completed
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.utilities.annotations import quote

from araflow.build import stages
from araflow.build.portions import Portion, Portions
from araflow.build.resolved import ResolvedBuild, resolve
from araflow.core import spec_file, telling
from araflow.core.addresses import masked_all
from araflow.core.clip import Outcome
from araflow.core.errors import AraflowError
from araflow.core.screen import visible
from araflow.core.spec import BuildSpec
from araflow.store import summary
from araflow.store.address import open_store
from flows import executors, show
from flows.arguments import Argument, Arguments
from flows.executors.base import Executor
from flows.here import meter_of_command, resolved_by_command, run_to_end
from flows.states import INCOMPLETE, StageResult, without_traceback
from flows.tasks import audit, fetch, fetch_part, manifest, select

log = logging.getLogger("araflow.flows")
ARGUMENTS = Arguments(
    BuildSpec,
    Argument("dataset", "dataset.name", "Dataset; sample needs no data at all."),
    Argument("classes", "dataset.classes", "Classes to take; none: as configured."),
    Argument("source", "dataset.source", "Folder, archive or address of the videos; empty: as configured."),
    Argument("splits", "dataset.splits", "Folder, archive or address of the split files."),
    Argument("protocol", "split.protocol", "How clips are split."),
    Argument("fold", "split.fold", "Official fold, 1 to 3; 0: as configured."),
    Argument("backend", "optical.backend", "What computes optical flow."),
    Argument("algorithm", "optical.algorithm", "Optical-flow algorithm."),
    Argument("preset", "optical.preset", "Speed against error."),
    Argument("quantizer", "optical.quantizer", "How flow becomes 8-bit."),
    Argument("bound", "optical.bound", "Largest storable |u|, |v| in pixels per frame; 0: as configured."),
    Argument("workers", "run.workers", "Decoding processes; 0: as configured, or one per core."),
    Argument("shard_size", "run.shard_size", "Clips per task; 0: as configured."),
    Argument("on_error", "run.on_error", "What a bad clip means."),
    Argument("engine", "run.engine", "Where clips are made."),
    Argument("dask_address", "run.dask_address", "Dask scheduler, such as tcp://head:8786, for engine dask."),
    Argument("out", "out", "Output: a folder, or an address such as s3://bucket/name."),
)
"""The flow's own arguments that are settings."""


def _run_name() -> str:
    """Say dataset, backend and algorithm; before these are known, what was asked for."""
    resolved = resolved_by_command(ResolvedBuild)
    given = runtime.flow_run.parameters
    return ARGUMENTS.asked(str(given["config"]), given) if resolved is None else resolved.name


@flow(
    name="build",
    flow_run_name=_run_name,
    task_runner=ThreadPoolTaskRunner(max_workers=2),  # type: ignore[arg-type] # Prefect's variance
)
@ARGUMENTS.after("overrides")
@without_traceback
def build(  # noqa: D417
    config: str = "hmdb5",
    overrides: list[str] = [],  # noqa: B006
    strict: bool = False,
    accept_licence: bool = False,
    train: str = "",
    **given: Any,  # noqa: ANN401 - settings, each of its own type
) -> State[StageResult]:
    """Turn a dataset's videos into RGB frames, optical flow and a manifest.

    Args:
        config: Configuration: a YAML file, or a shipped name such as hmdb5.
        overrides: Any other settings, each dotted.key=value.
        strict: Any clip that is not done fails the run.
        accept_licence: I accept the dataset's licence; download it.
        train: Experiment to train on the manifest, in this run: a file, a shipped name, or quick: settings are chosen.
    """
    resolved = resolved_by_command(ResolvedBuild)
    if resolved is None:
        # The flow's own arguments stand above the overrides, which stand above the file.
        spec = spec_file.load(config, overrides, ARGUMENTS.given(given))
        resolved = stages.look(resolve(spec, accept_licence=accept_licence))
        show.name_run(resolved.name)
    spec = resolved.spec
    executors.check(spec.run)
    experiment = _experiment(train, spec, built=False)
    resolved.say_flow()
    start, made = time.monotonic(), 0
    with open_store(spec.out).locked() as store:
        # Here and not on a thread: a download or an unpacking can then be interrupted. A task that is called hands back
        # its failure as a state.
        files = fetch(quote(resolved), quote(store), return_state=True).result()
        selected = select.submit(quote(resolved), files, quote(store), return_state=False)
        selection = selected.result()
        show.name_run(f"{resolved.name}-{len(selection.clips)}-clips")
        progress = show.Progress(len(selection.clips), meter_of_command())
        portions = Portions(resolved, files, selection, store)
        extracted: list[PrefectFuture[StageResult]] = []
        # quote: Prefect would look into every clip for futures.
        with executors.start(resolved, store, progress.advance) as executor:
            under_way: collections.deque[tuple[Portion, list[PrefectFuture[StageResult]]]] = collections.deque()
            for portion in portions:
                before: list[PrefectFuture[Any]] = [selected]
                if portion.name:
                    before.append(fetch_part.submit(visible(portion.name), quote(portion), return_state=False))
                    before[-1].result()
                under_way.append((portion, executor.extract(portion.clips, before)))
                extracted += under_way[-1][1]
                if len(under_way) >= spec.run.parts_at_once:
                    made += _wait_for(*under_way.popleft(), executor, progress)
            while under_way:
                made += _wait_for(*under_way.popleft(), executor, progress)
        written = manifest.submit(
            quote(resolved),
            quote(portions.labelled()),
            quote(files),
            quote(store),
            return_state=False,
            wait_for=extracted,
        )
        audited = audit.submit(quote(written.result()), return_state=False, wait_for=[written])
        checked = audited.result()
    seconds = time.monotonic() - start
    line = summary.last_line(written.result(), made, seconds)
    log.info("%s", line, extra=telling.DETAIL)
    bad = bool(set(checked.counts) - {Outcome.DONE, Outcome.FILTERED})
    if strict and bad:
        raise AraflowError(f"strict: {line}")
    if train:
        from flows import train_eval

        experiment = experiment or _experiment(train, spec, built=True)
        line += "; " + train_eval.staged(experiment, after=[audited])[0]
    result = dataclasses.replace(checked, stage="build", made=made, seconds=seconds)
    return Completed(name=INCOMPLETE if bad else "Completed", message=line, data=result)


def _wait_for(
    portion: Portion, begun: list[PrefectFuture[StageResult]], executor: Executor, progress: show.Progress
) -> int:
    """Wait until a portion's clips are made; return how many were worked on."""
    made = 0
    for future in as_completed(begun):
        try:
            result = future.result()
        except AraflowError:
            raise
        except Exception as error:
            raise executor.explain(error) from error
        made += result.made
        if not executor.counts_clips:
            progress.advance(sum(result.counts.values()))
    portion.close()
    return made


def _experiment(name: str, spec: BuildSpec, *, built: bool) -> Any:  # noqa: ANN401 - an Experiment
    """Read the experiment that follows the build, before any work starts; but ``quick`` follows from what is built."""
    if not name:
        return None
    from araflow.recognition.quick import settle

    if name == settle.NAME and not built:
        return None
    from flows import train_eval

    return train_eval.read(name, (), {"manifest": spec.out})


def run(
    resolved: ResolvedBuild, config: str, overrides: Sequence[str], meter: telling.Meter, *, strict: bool = False
) -> StageResult:
    """Run the flow here and now, under the name ``build-<name>``.

    Args:
        resolved: What ``config`` and ``overrides`` say.
        config: See the flow's argument.
        overrides: See the flow's argument.
        meter: Shows how far it is.
        strict: See the flow's argument.

    Raises:
        AraflowError: The run failed.
    """
    spec, recipe = resolved.spec, resolved.recipe
    return run_to_end(
        build.with_options(name=f"build-{spec.name}"),
        StageResult,
        (spec.dataset.name, recipe.backend, recipe.algorithm),
        resolved,
        meter,
        config=config,
        overrides=masked_all(list(overrides)),
        accept_licence=resolved.accept_licence,
        strict=strict,
    )
