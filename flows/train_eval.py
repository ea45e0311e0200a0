"""The training flow: per protocol train → evaluate → export → engine → bench, then all of them side by side."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any, cast

from prefect import State, flow, runtime, task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture
from prefect.states import Completed
from prefect.utilities.annotations import quote

from araflow.core import telling
from araflow.core.addresses import masked_all
from araflow.core.screen import as_markdown, visible
from araflow.deploy import finished, products
from araflow.deploy.products import Product
from araflow.recognition import experiment
from araflow.recognition import results as outcome
from araflow.recognition.evaluation.answers import Evaluation
from araflow.recognition.experiment import SPLIT, Experiment, Prepared
from araflow.recognition.results import Result
from araflow.recognition.spec import ExperimentSpec
from araflow.recognition.training import run as running
from araflow.recognition.training import timing
from araflow.recognition.training.run import Trained
from flows import show
from flows.arguments import Argument, Arguments
from flows.executors import limits
from flows.here import resolved_by_command, run_to_end
from flows.states import without_traceback

log = logging.getLogger("araflow.flows")

ARGUMENTS = Arguments(
    ExperimentSpec,
    Argument("manifest", "manifest", "A manifest, or a build's output folder; empty: as configured."),
    Argument("architecture", "network.architecture", "Network; see araflow models."),
    Argument("modality", "network.modality", "What it sees."),
    Argument("epochs", "training.epochs", "Passes over the training clips; 0: as configured."),
    Argument("batch_size", "training.batch_size", "Windows per step and device; 0: as configured."),
    Argument("lr", "training.optimizer.lr", "Learning rate; 0: as configured."),
    Argument("seed", "training.seed", "Seed of weights, order, windows and augmentation; -1: as configured."),
    Argument("accelerator", "training.accelerator", "Device."),
    Argument("protocols", "protocols", "Train under each; none: as configured."),
    Argument("mode", "evaluation.mode", "How a test clip is scored."),
    Argument("out", "out", "Folder of the run; empty: as configured."),
)
"""The flow's own arguments that are settings."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Resolved:
    """What a command has read and prepared already; without ``prepared``, what a run has read."""

    experiment: Experiment
    prepared: list[Prepared] | None = None


def read(spec: str, overrides: Sequence[str], given: Mapping[str, Any]) -> Experiment:
    """Read the experiment; the flow's own arguments stand above ``overrides``, which stand above the file.

    Args:
        spec: See the flow's argument.
        overrides: See the flow's argument.
        given: The flow's arguments that are settings, by name.

    Raises:
        SpecError: A setting is wrong.
    """
    own = [f"{key}={value}" for key, value in ARGUMENTS.given(given).items()]
    return experiment.read(spec, [*overrides, *own])


def _run_name() -> str:
    """Say experiment and what is trained; before these are known, what was asked for."""
    resolved = resolved_by_command(_Resolved)
    given = runtime.flow_run.parameters
    return ARGUMENTS.asked(str(given["spec"]), given) if resolved is None else visible(resolved.experiment.title)


@task(name="train", task_run_name="train{name}", cache_policy=NO_CACHE)
@without_traceback
def train(name: str, prepared: Prepared) -> Trained:
    """Train, or go on where an earlier run ended."""
    with limits.slot("gpu") if running.accelerator_of(prepared.spec) == "gpu" else contextlib.nullcontext():
        trained = running.train(prepared)
    show.picture(prepared.out / "curves.png", f"curves{name}", "Loss, accuracy and learning rate by epoch.")
    return trained


@task(name="evaluate", task_run_name="evaluate{name}", cache_policy=NO_CACHE)
@without_traceback
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
@without_traceback
def export(name: str, prepared: Prepared, trained: Trained) -> Product:
    """Write the recogniser as an ONNX file."""
    return _said(products.export(prepared, trained.checkpoint))


@task(name="engine", task_run_name="engine{name}", cache_policy=NO_CACHE)
@without_traceback
def engine(name: str, prepared: Prepared, exported: Product) -> Product:
    """Build a TensorRT engine, where TensorRT and a GPU are."""
    return _said(products.engine(prepared, exported))


@task(name="bench", task_run_name="bench{name}", cache_policy=NO_CACHE)
@without_traceback
def bench(name: str, prepared: Prepared, exported: Product, built: Product) -> Product:
    """Time the engine, or else the ONNX file."""
    return _said(products.bench(prepared, exported, built))


def _said(made: Product) -> Product:
    log.info("%s", made.line, extra=telling.DETAIL)
    if not made.skipped:
        return made
    # Prefect turns a returned state into its result.
    return cast(Product, Completed(name="Skipped", message=made.line, data=made))


@flow(name="train-eval", flow_run_name=_run_name)
@ARGUMENTS.after("overrides")
@without_traceback
def train_eval(  # noqa: D417
    spec: str,
    overrides: list[str] = [],  # noqa: B006
    **given: Any,  # noqa: ANN401 - settings, each of its own type
) -> State[dict[str, Result]]:
    """Train a recogniser from a manifest, and evaluate it.

    Args:
        spec: Experiment: a YAML file (ours or NVIDIA TAO's), or a shipped name; quick: chosen for the manifest.
        overrides: Any other settings, each dotted.key=value.
    """
    resolved = resolved_by_command(_Resolved)
    if resolved is None:
        resolved = _Resolved(read(spec, overrides, given))
        show.name_run(resolved.experiment.title)
    line, results = staged(resolved.experiment, resolved.prepared)
    return Completed(message=line, data=results)


def _suffix(key: str) -> str:
    """Tell the tasks of an experiment's protocols apart."""
    return "" if key == SPLIT else f"-{key}"


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
        key = found.key_of(own)
        name = _suffix(key)
        for line in timing.opening(own):
            log.info("%s", line)
        for note in own.notes:
            log.warning("%s", note)
        # Called and not submitted: on the main thread Ctrl-C ends a training. A task that is called hands back its
        # failure as a state.
        trained = train(name, quote(own), return_state=True, wait_for=after).result()
        done = evaluate(name, quote(own), trained, return_state=True).result()
        results[key] = Result(own, trained, done)
    for key, result in results.items():  # now that all is trained: what fails here costs nothing of it
        name = _suffix(key)
        quoted = quote(result.prepared)
        exported = export(name, quoted, result.trained, return_state=True).result()
        built = engine(name, quoted, exported, return_state=True).result()
        timed = bench(name, quoted, exported, built, return_state=True).result()
        results[key] = dataclasses.replace(result, deployed=(exported, built, timed))
    finished.record(results)
    if len(results) > 1:
        table = outcome.side_by_side(results)
        show.markdown(table, "protocols", "The same network under each split.")
    line = outcome.last_line(found.spec, results, time.monotonic() - start)
    log.info("%s", line, extra=telling.DETAIL)
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
    labels, resolved = (network.architecture, network.modality), _Resolved(found, prepared)
    kept = masked_all(list(overrides))
    results: dict[str, Result] = run_to_end(train_eval, dict, labels, resolved, spec=file, overrides=kept)
    return results
