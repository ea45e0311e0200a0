"""The training flow: per protocol train → evaluate → export → engine → bench, then all of them side by side."""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import logging
import time
from collections.abc import Sequence
from typing import Annotated, Any, cast

from prefect import State, flow, runtime, task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture
from prefect.states import Completed
from prefect.utilities.annotations import quote
from pydantic import Field

from araflow.core import spec as specs
from araflow.core.errors import AraflowError
from araflow.core.table import as_markdown
from araflow.deploy import products
from araflow.deploy.products import Product
from araflow.recognition import experiment
from araflow.recognition import results as outcome
from araflow.recognition.evaluation.answers import Evaluation
from araflow.recognition.experiment import Experiment, Prepared
from araflow.recognition.results import Result
from araflow.recognition.training import run as running
from araflow.recognition.training.run import Trained
from flows import arguments, show
from flows.executors import limits
from flows.server.embedded import run_to_end
from flows.tasks import plainly

log = logging.getLogger("araflow.flows")

_SETTING_OF = {
    "manifest": "manifest",
    "architecture": "network.architecture",
    "modality": "network.modality",
    "epochs": "training.epochs",
    "batch_size": "training.batch_size",
    "lr": "training.optimizer.lr",
    "accelerator": "training.accelerator",
    "mode": "evaluation.mode",
    "out": "out",
}
"""The flow's own arguments that are settings."""
_read: dict[str, Experiment] = {}
"""By flow run, what its arguments say: read for the run's name, and handed on to the run."""
_handed: contextvars.ContextVar[tuple[Experiment, list[Prepared]] | None]
_handed = contextvars.ContextVar("experiment that the command has read and prepared already", default=None)


def resolve(given: dict[str, Any]) -> Experiment:
    """Read the experiment; the flow's own arguments stand above ``overrides``, which stand above the file.

    Args:
        given: The flow's arguments by name.

    Raises:
        SpecError: A setting is wrong.
    """
    own = [f"{key}={given[name]}" for name, key in _SETTING_OF.items() if arguments.given(given.get(name))]
    if given.get("seed", -1) >= 0:
        own.append(f"training.seed={given['seed']}")
    if given.get("protocols"):
        own.append(f"protocols={list(given['protocols'])}")
    return experiment.read(given["spec"], [*given["overrides"], *own])


def _run_name() -> str:
    """Say experiment and what is trained, as in ``sample_flow-arn_2d-flow``; looks at no data and writes nothing."""
    try:
        found = _read[str(runtime.flow_run.id)] = resolve(runtime.flow_run.parameters)
    except AraflowError:
        return "refused"  # the flow itself says why
    return found.title


@task(name="train", task_run_name="train{name}", cache_policy=NO_CACHE)
@plainly
def train(name: str, prepared: Prepared) -> Trained:
    """Train, or go on where an earlier run ended."""
    with limits.slot("gpu") if running.accelerator_of(prepared.spec) == "gpu" else contextlib.nullcontext():
        trained = running.train(prepared)
    show.picture(prepared.out / "curves.png", f"curves{name}", "Loss, accuracy and learning rate by epoch.")
    return trained


@task(name="evaluate", task_run_name="evaluate{name}", cache_policy=NO_CACHE)
@plainly
def evaluate(name: str, prepared: Prepared, trained: Trained) -> Evaluation:
    """Score the test clips, and publish the figures."""
    done = outcome.evaluate(prepared, trained.checkpoint)
    folder = prepared.out / "evaluation"
    summary = (folder / "summary.md").read_text(encoding="utf-8")
    text = f"Figures of {as_markdown(str(trained.checkpoint))}"
    show.markdown(summary, f"metrics{name}", text)
    show.picture(folder / "confusion.png", f"confusion{name}", "Confusion matrix: true classes down, predicted across.")
    return done


@task(name="export", task_run_name="export{name}", cache_policy=NO_CACHE)
@plainly
def export(name: str, prepared: Prepared, trained: Trained) -> Product:
    """Write the recogniser as an ONNX file."""
    return _said(products.export(prepared, trained.checkpoint))


@task(name="engine", task_run_name="engine{name}", cache_policy=NO_CACHE)
@plainly
def engine(name: str, prepared: Prepared, exported: Product) -> Product:
    """Build a TensorRT engine, where TensorRT and a GPU are."""
    return _said(products.engine(prepared, exported))


@task(name="bench", task_run_name="bench{name}", cache_policy=NO_CACHE)
@plainly
def bench(name: str, prepared: Prepared, exported: Product, built: Product) -> Product:
    """Time the engine, or else the ONNX file."""
    return _said(products.bench(prepared, exported, built))


def _said(made: Product) -> Product:
    log.info("%s", made.line)
    if not made.skipped:
        return made
    # Prefect turns a returned state into its result.
    return cast(Product, Completed(name="Skipped", message=made.line, data=made))


@flow(name="train-eval", flow_run_name=_run_name)
def train_eval(
    spec: str,
    overrides: list[str] = [],  # noqa: B006
    manifest: str = "",
    architecture: arguments.Architecture = "configured",
    modality: arguments.Modality = "configured",
    epochs: Annotated[int, Field(ge=0)] = 0,
    batch_size: Annotated[int, Field(ge=0)] = 0,
    lr: Annotated[float, Field(ge=0)] = 0.0,
    seed: Annotated[int, Field(ge=-1)] = -1,
    accelerator: arguments.Accelerator = "configured",
    protocols: list[specs.Protocol] = [],  # noqa: B006
    mode: arguments.Mode = "configured",
    out: str = "",
) -> State[dict[str, Result]]:
    """Train a recogniser from a manifest, and evaluate it.

    Args:
        spec: Experiment: a YAML file (ours or NVIDIA TAO's), or a shipped name.
        overrides: Any other settings, each dotted.key=value.
        manifest: A manifest, or a build's output folder; empty: as configured.
        architecture: Network; see araflow models.
        modality: What it sees.
        epochs: Passes over the training clips; 0: as configured.
        batch_size: Windows per step and device; 0: as configured.
        lr: Learning rate; 0: as configured.
        seed: Seed of weights, order, windows and augmentation; -1: as configured.
        accelerator: Device.
        protocols: Train under each; none: as configured.
        mode: How a test clip is scored.
        out: Folder of the run; empty: as configured.
    """
    return _train_eval(locals())


@plainly  # not on the flow itself: Prefect reads a flow's types in the module that its function comes from
def _train_eval(given: dict[str, Any]) -> State[dict[str, Result]]:
    handed = _handed.get()
    if handed is not None:
        line, results = staged(*handed)
    else:
        named = _read.pop(str(runtime.flow_run.id), None)
        line, results = staged(named or resolve(given))
    return Completed(message=line, data=results)


def staged(
    found: Experiment, prepared: Sequence[Prepared] | None = None, after: Sequence[PrefectFuture[Any]] = ()
) -> tuple[str, dict[str, Result]]:
    """Run the stages of a training in the flow run that calls.

    Args:
        found: The experiment.
        prepared: The same with its clips, per protocol; ``None``: they are looked at now.
        after: What made the manifest, for the graph.

    Returns:
        The last line, and a result per protocol.

    Raises:
        AraflowError: A stage failed.
    """
    start = time.monotonic()
    results: dict[str, Result] = {}
    for own in prepared or experiment.prepare_all(found):
        name = f"-{own.spec.split.protocol}" if found.spec.protocols and own.spec.split else ""
        for note in own.notes:
            log.warning("%s", note)
        # Called and not submitted: on the main thread Ctrl-C ends a training. A task that is called hands back its
        # failure as a state.
        trained = train(name, quote(own), return_state=True, wait_for=after).result()
        done = evaluate(name, quote(own), trained, return_state=True).result()
        results[name.removeprefix("-") or "split"] = Result(own, trained, done)
    for key, result in results.items():  # now that all is trained: what fails here costs nothing of it
        name = "" if key == "split" else f"-{key}"
        quoted = quote(result.prepared)
        exported = export(name, quoted, result.trained, return_state=True).result()
        built = engine(name, quoted, exported, return_state=True).result()
        timed = bench(name, quoted, exported, built, return_state=True).result()
        results[key] = dataclasses.replace(result, deployed=(exported, built, timed))
    if len(results) > 1:
        table = outcome.side_by_side(results)
        show.markdown(table, "protocols", "The same network under each split.")
    line = outcome.last_line(found.spec, results, time.monotonic() - start)
    log.info("%s", line)
    return line, results


def run(found: Experiment, prepared: list[Prepared], file: str, overrides: Sequence[str]) -> dict[str, Result]:
    """Run the flow here and now.

    Args:
        found: What ``file`` and ``overrides`` say.
        prepared: The same with its clips, per protocol.
        file: See the flow's argument ``spec``.
        overrides: See the flow's argument.

    Raises:
        AraflowError: The run failed.
    """
    network = found.spec.network
    named = train_eval.with_options(flow_run_name=found.title)
    token = _handed.set((found, prepared))
    try:
        results: dict[str, Result] = run_to_end(
            named, dict, (network.architecture, network.modality), spec=file, overrides=list(overrides)
        )
    finally:
        _handed.reset(token)
    return results
