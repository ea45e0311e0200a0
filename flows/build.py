"""The build flow: fetch → select → extract (a task per shard) → manifest → audit, and on to a training if asked."""

from __future__ import annotations

import collections
import dataclasses
import logging
import time
from collections.abc import Sequence
from typing import Annotated, Any

from prefect import State, flow, runtime
from prefect.futures import PrefectFuture, as_completed
from prefect.states import Completed
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.utilities.annotations import quote
from pydantic import Field

from araflow import optical
from araflow.build.portions import Portion, Portions
from araflow.build.run import settle
from araflow.core import spec_file
from araflow.core.clip import Outcome
from araflow.core.errors import AraflowError
from araflow.core.spec import BuildSpec
from araflow.store import summary
from araflow.store.address import open_store
from flows import arguments, executors, show
from flows.server.embedded import run_to_end
from flows.tasks import StageResult, audit, fetch, fetch_part, manifest, plainly, select

log = logging.getLogger("araflow.flows")
_SETTING_OF = {
    "dataset": "dataset.name",
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
    "engine": "run.engine",
    "dask_address": "run.dask_address",
    "out": "out",
}
"""The flow's own arguments that are settings."""


def resolve(given: dict[str, Any]) -> BuildSpec:
    """Read the configuration; the flow's own arguments stand above ``overrides``, which stand above the file.

    Args:
        given: The flow's arguments by name.

    Raises:
        SpecError: A setting is wrong.
    """
    path = spec_file.find_config(given["config"])
    tree = spec_file.override(spec_file.read(path), given["overrides"], BuildSpec)
    for name, setting in _SETTING_OF.items():
        if arguments.given(given.get(name)):
            *groups, key = setting.split(".")
            branch = tree
            for group in groups:
                branch = branch.setdefault(group, {})
            branch[key] = given[name]
    return spec_file.parse(tree, f"{path} with the flow's arguments")


def _run_name() -> str:
    """Say dataset, backend and algorithm, as in ``hmdb5-opencv-dis-balanced``."""
    try:
        spec = resolve(runtime.flow_run.parameters)
        recipe = settle(spec, accept_licence=True)[0]
    except AraflowError:
        return "refused"  # the flow itself says why
    return "-".join([spec.name, recipe.backend, recipe.algorithm, *([recipe.preset] if recipe.preset else [])])


@flow(
    name="build",
    flow_run_name=_run_name,
    task_runner=ThreadPoolTaskRunner(max_workers=2),  # type: ignore[arg-type] # Prefect's variance
)
def build(
    config: str = "hmdb5",
    overrides: list[str] = [],  # noqa: B006
    dataset: arguments.Dataset = "configured",
    classes: list[str] = [],  # noqa: B006
    source: str = "",
    splits: str = "",
    protocol: arguments.Protocol = "configured",
    fold: Annotated[int, Field(ge=0, le=3)] = 0,
    backend: arguments.Backend = "configured",
    algorithm: arguments.Algorithm = "configured",
    preset: arguments.Preset = "configured",
    quantizer: arguments.Quantizer = "configured",
    bound: Annotated[float, Field(ge=0, le=4096)] = 0.0,
    workers: Annotated[int, Field(ge=0)] = 0,
    shard_size: Annotated[int, Field(ge=0)] = 0,
    on_error: arguments.OnError = "configured",
    engine: arguments.Engine = "configured",
    dask_address: str = "",
    out: str = "",
    strict: bool = False,
    accept_licence: bool = False,
    train: str = "",
) -> State[StageResult]:
    """Turn a dataset's videos into RGB frames, optical flow and a manifest.

    Args:
        config: Configuration: a YAML file, or a shipped name such as hmdb5.
        overrides: Any other settings, each dotted.key=value.
        dataset: Dataset; sample needs no data at all.
        classes: Classes to take; none: as configured.
        source: Folder, archive or address of the videos; empty: as configured.
        splits: Folder, archive or address of the split files.
        protocol: How clips are split.
        fold: Official fold, 1 to 3; 0: as configured.
        backend: What computes optical flow.
        algorithm: Optical-flow algorithm.
        preset: Speed against error.
        quantizer: How flow becomes 8-bit.
        bound: Largest storable |u|, |v| in pixels per frame; 0: as configured.
        workers: Decoding processes; 0: as configured, or one per core.
        shard_size: Clips per task; 0: as configured.
        on_error: What a bad clip means.
        engine: Where clips are made.
        dask_address: Dask scheduler, such as tcp://head:8786, for engine dask.
        out: Output: a folder, or an address such as s3://bucket/name.
        strict: Any clip that is not done fails the run.
        accept_licence: I accept the dataset's licence; download it.
        train: Experiment to train on the manifest, in this run: a file, or a shipped name.
    """
    return _build(locals())


@plainly  # not on the flow itself: Prefect reads a flow's types in the module that its function comes from
def _build(given: dict[str, Any]) -> State[StageResult]:
    spec = resolve(given)
    recipe, why = settle(spec, accept_licence=given["accept_licence"])
    executors.check(spec)
    experiment = _experiment(given["train"], spec)
    log.info("optical flow: %s", why)
    start, made = time.monotonic(), 0
    with open_store(spec.out).locked() as store:
        # Here and not on a thread: a download or an unpacking can then be interrupted. A task that is called hands back
        # its failure as a state.
        files = fetch(spec, quote(store), return_state=True).result()
        selected = select.submit(
            spec, files, quote(store), recipe.fingerprint, given["accept_licence"], return_state=False
        )
        selection = selected.result()
        show.size(len(selection.clips))
        progress = show.Progress(len(selection.clips))
        portions = Portions(spec, files, selection, recipe, store)
        extracted: list[PrefectFuture[StageResult]] = []
        # quote: Prefect would look into every clip for futures.
        with executors.start(spec, recipe, store, progress.advance) as engine:
            under_way: collections.deque[tuple[Portion, list[PrefectFuture[StageResult]]]] = collections.deque()
            for portion in portions:
                before: list[PrefectFuture[Any]] = [selected]
                if portion.name:
                    before.append(fetch_part.submit(portion.name, quote(portion), return_state=False))
                    before[-1].result()
                under_way.append((portion, engine.extract(portion.clips, before)))
                extracted += under_way[-1][1]
                if len(under_way) >= spec.run.parts_at_once:
                    made += _settle(*under_way.popleft(), engine, progress)
            while under_way:
                made += _settle(*under_way.popleft(), engine, progress)
        written = manifest.submit(
            spec, quote(portions.labelled()), recipe, quote(files), quote(store), return_state=False, wait_for=extracted
        )
        audited = audit.submit(quote(written.result()), return_state=False, wait_for=[written])
        checked = audited.result()
    seconds = time.monotonic() - start
    line = summary.last_line(written.result(), made, seconds)
    log.info("%s", line)
    if given["strict"] and set(checked.counts) - {Outcome.DONE, Outcome.FILTERED}:
        raise AraflowError(f"strict: {line}")
    if experiment is not None:
        from flows import train_eval

        line += "; " + train_eval.staged(experiment, after=[audited])[0]
    return Completed(message=line, data=dataclasses.replace(checked, stage="build", made=made, seconds=seconds))


def _settle(
    portion: Portion, begun: list[PrefectFuture[StageResult]], engine: executors.Engine, progress: show.Progress
) -> int:
    """Wait until a portion's clips are made; return how many were worked on."""
    made = 0
    for future in as_completed(begun):
        try:
            result = future.result()
        except AraflowError:
            raise
        except Exception as error:
            raise engine.explain(error) from error
        made += result.made
        if not engine.counts_clips:
            progress.advance(sum(result.counts.values()))
    portion.close()
    return made


def _experiment(name: str, spec: BuildSpec) -> Any:  # noqa: ANN401 - an ExperimentSpec, whose module is not imported
    """Read the experiment that follows the build, before any work starts."""
    if not name:
        return None
    from flows import train_eval

    return train_eval.resolve({"spec": name, "overrides": [], "manifest": spec.out})


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
    choice = optical.choose(spec.optical.backend, spec.optical.algorithm)
    return run_to_end(
        named,
        StageResult,
        (spec.dataset.name, choice.backend, choice.algorithm),
        config=config,
        overrides=list(overrides),
        accept_licence=accept_licence,
        strict=strict,
    )
