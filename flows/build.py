"""The build flow: fetch → select → extract (a task per shard) → manifest → audit."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from prefect import State, flow, runtime
from prefect.futures import PrefectFuture, as_completed
from prefect.states import Completed
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.utilities.annotations import quote
from pydantic import Field

from araflow import optical, spec_file, summary
from araflow import spec as specs
from araflow.build import settle
from araflow.clip import Outcome
from araflow.errors import AraflowError
from araflow.pool import WorkerPool
from araflow.portions import Portions
from araflow.spec import BuildSpec
from araflow.stages import shards
from araflow.store import Store
from flows.embedded import run_to_end
from flows.tasks import StageResult, audit, extract, fetch, fetch_part, log, manifest, plainly, select

_SHARDS_AT_ONCE = 2  # the next shard hashes its sources while the last clips of this one are still decoding
_SETTING_OF = {
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
"""The flow's own arguments that are settings."""


def resolve(arguments: dict[str, Any]) -> BuildSpec:
    """Read the configuration; the flow's own arguments stand above ``overrides``, which stand above the file.

    Args:
        arguments: The flow's arguments by name.

    Raises:
        SpecError: A setting is wrong.
    """
    tree = spec_file.load(arguments["config"], arguments["overrides"]).model_dump()
    for name, setting in _SETTING_OF.items():
        if arguments.get(name) is not None:
            *groups, key = setting.split(".")
            branch = tree
            for group in groups:
                branch = branch[group]
            branch[key] = arguments[name]
    return spec_file.parse(tree, f"flow arguments over {arguments['config']}")


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
    task_runner=ThreadPoolTaskRunner(max_workers=_SHARDS_AT_ONCE),  # type: ignore[arg-type] # Prefect's variance
)
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
    return _build(locals())


@plainly  # not on the flow itself: Prefect reads a flow's types in the module that its function comes from
def _build(arguments: dict[str, Any]) -> State[StageResult]:
    spec = resolve(arguments)
    recipe, why = settle(spec, accept_licence=arguments["accept_licence"])
    log.info("optical flow: %s", why)
    start, made = time.monotonic(), 0
    # quote: Prefect would look into every clip for futures.
    with Store(Path(spec.out)).locked(), WorkerPool(spec.run.workers) as pool:
        # Here and not on a thread: a download or an unpacking can then be interrupted. A task that is called hands back
        # its failure as a state.
        files = fetch(spec, return_state=True).result()
        selected = select.submit(spec, files)
        portions = Portions(spec, files, selected.result(), recipe, Store(Path(spec.out)))
        extracted: list[PrefectFuture[StageResult]] = []
        for portion in portions:
            before: list[Any] = [selected]
            if portion.name:
                before.append(fetch_part(portion.name, quote(portion), return_state=True))
                before[-1].result()
            cut = shards(portion.clips, spec.run.shard_size)
            begun = [
                extract.submit(
                    len(extracted) + number,
                    len(extracted) + len(cut),
                    quote(shard),
                    spec,
                    recipe,
                    quote(pool),
                    return_state=False,
                    wait_for=before,
                )
                for number, shard in enumerate(cut)
            ]
            extracted += begun
            try:
                for future in as_completed(begun):
                    made += future.result().made
            except BaseException:
                pool.close()  # the other shards end at once, instead of each running into the same trouble
                raise
            portion.close()
        written = manifest.submit(
            spec, quote(portions.labelled()), recipe, quote(files), return_state=False, wait_for=extracted
        )
        audited = audit.submit(quote(written.result()), return_state=False, wait_for=[written]).result()
    seconds = time.monotonic() - start
    line = summary.last_line(written.result(), made, seconds)
    log.info("%s", line)
    if arguments["strict"] and set(audited.counts) - {Outcome.DONE, Outcome.FILTERED}:
        raise AraflowError(f"strict: {line}")
    result = dataclasses.replace(audited, stage="build", made=made, seconds=seconds)
    return Completed(message=line, data=result)


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
