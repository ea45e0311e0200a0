"""What comes of an experiment: evaluations, what they say side by side, and the plan before it all."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from araflow.core import spec_file
from araflow.core.errors import SpecError
from araflow.core.leakage import Leakage
from araflow.core.screen import echo
from araflow.core.spec import SplitSpec
from araflow.core.words import counted
from araflow.recognition import checkpoint as checkpoints
from araflow.recognition import experiment, same_flow
from araflow.recognition.experiment import Prepared
from araflow.recognition.spec import EvaluationSpec, ExperimentSpec, ModelSpec, Views
from araflow.recognition.training import timing
from araflow.recognition.training.run import Trained
from araflow.store.manifest import Manifest

if TYPE_CHECKING:
    from araflow.recognition.evaluation.answers import Evaluation

log = logging.getLogger("araflow")
_SIDES = ("train", "val", "test")


class Made(Protocol):
    """What is asked of what a later stage, such as an export, has made of a recogniser."""

    @property
    def name(self) -> str:
        """The stage's name."""
        ...

    @property
    def line(self) -> str:
        """A line that says what was made, or why nothing was."""
        ...

    @property
    def figures(self) -> Mapping[str, Any]:
        """The same, JSON-ready; empty where nothing was made."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """An experiment, its training and its evaluation.

    Attributes:
        prepared: The experiment.
        trained: Its training.
        evaluation: Its figures.
        deployed: What was made of the recogniser.
        stored: All of it was there, and was read back.
    """

    prepared: Prepared
    trained: Trained
    evaluation: Evaluation
    deployed: tuple[Made, ...] = ()
    stored: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return {
            "checkpoint": str(self.trained.checkpoint),
            "epochs": self.trained.epochs,
            "metrics": self.evaluation.metrics.to_json(),
            "leakage": dataclasses.asdict(self.prepared.leakage),
            "notes": self.prepared.notes,
            "deployed": {stage.name: stage.figures or {"skipped": stage.line} for stage in self.deployed},
        }


def evaluate(prepared: Prepared, checkpoint: Path) -> Evaluation:
    """Score the test clips of an experiment, and write the figures below ``<out>/evaluation``.

    The recogniser takes down by which windows that was done, where a run under other settings has said so before.

    Raises:
        SourceError: The checkpoint or a clip cannot be read.
    """
    from araflow.recognition.evaluation import evaluate as evaluation
    from araflow.recognition.evaluation.write import write

    spec = prepared.spec
    done = evaluation.evaluate(checkpoint, prepared.test, spec.evaluation, workers=spec.data.workers, split="test")
    write(done, prepared.out / "evaluation", leakage=prepared.leakage)
    known = checkpoints.read_spec(checkpoint)
    if known.views is not None and known.views != prepared.model.views:
        checkpoints.describe(checkpoint, known.model_copy(update={"views": prepared.model.views}))
    return done


@dataclasses.dataclass(frozen=True, slots=True)
class Evaluated:
    """What recognisers, or what several say together, are worth on clips of a manifest.

    Attributes:
        evaluation: Of the one recogniser, or of all fused.
        parts: Of each recogniser, by its file and what it sees.
        views: By which windows each looked at the clips.
        leakage: Of the split, in all.
    """

    evaluation: Evaluation
    parts: Mapping[str, Evaluation]
    views: tuple[Views, ...]
    leakage: Leakage

    def to_json(self) -> dict[str, Any]:
        """Return the figures JSON-ready; where there are several recognisers, those of each, too."""
        found = {**self.evaluation.to_json(), "views": [own.model_dump() for own in self.views]}
        if len(self.parts) > 1:
            found["parts"] = {name: own.to_json() for name, own in self.parts.items()}
        return found


def evaluate_files(
    files: Sequence[Path],
    manifest: Path,
    *,
    split: str = "test",
    protocol: str | None = None,
    settings: Mapping[str, Any],
    weights: Sequence[float] | None = None,
    allow_other_flow: bool = False,
) -> Evaluated:
    """Evaluate one recogniser, or several whose scores are averaged, on clips of a manifest.

    Args:
        files: Checkpoints.
        manifest: A manifest, or a build's output folder.
        split: ``train``, ``val``, ``test``, or ``all``.
        protocol: Split anew by this; ``None``: as the recognisers were trained.
        settings: Fields of ``EvaluationSpec``; of ``mode`` and ``segments`` those that are absent or ``None`` are each
            recogniser's own (``ModelSpec.looking``).
        weights: Of the checkpoints' scores; ``None``: all alike.
        allow_other_flow: Score flow of another quantiser, bound or algorithm than training's, too: the evaluation then
            has a warning.

    Raises:
        SpecError: A setting is wrong, or a checkpoint's classes or its flow are not the manifest's.
        SourceError: A checkpoint or a clip cannot be read.
    """
    from araflow.recognition.data import clips
    from araflow.recognition.evaluation import evaluate as evaluation
    from araflow.recognition.evaluation import fusion

    if split not in (*_SIDES, "all"):
        raise SpecError(f"--split: {split!r} is not allowed; allowed: {', '.join(_SIDES)}, all")
    given = {name: value for name, value in settings.items() if value is not None}
    spec_file.validate(given, EvaluationSpec, "evaluate")
    read = Manifest.read(manifest)
    models = [checkpoints.read_spec(file) for file in files]
    split_of = clips.split_of(read, _split(models, protocol))
    wanted = [
        clip for side in (_SIDES if split == "all" else (split,)) for clip in clips.clips_of(read, split_of, side)
    ]
    if not wanted:
        raise SpecError(f"--split: {manifest} has no finished clip for {split}")
    labels = experiment.labels_of(read)
    for file, model in zip(files, models, strict=True):
        if model.labels != labels:
            raise SpecError(f"{file} knows the classes {', '.join(model.labels)}; {manifest} has {', '.join(labels)}")
    # All that is refused is refused before the first is scored.
    warnings = [
        same_flow.hold(file, model, read, manifest, allow=allow_other_flow)
        for file, model in zip(files, models, strict=True)
    ]
    views = tuple(model.looking(given.get("mode"), given.get("segments")) for model in models)
    found = []
    for file, own, looking in zip(files, warnings, views, strict=True):
        checked = spec_file.validate({**given, **looking.model_dump()}, EvaluationSpec, "evaluate")
        scored = evaluation.evaluate(file, wanted, checked, split=None if split == "all" else split)
        found.append(dataclasses.replace(scored, warnings=own))
    names = [f"{file} ({model.network.modality})" for file, model in zip(files, models, strict=True)]
    fused = found[0] if len(found) == 1 else fusion.fuse_streams(found, weights)
    return Evaluated(fused, dict(zip(names, found, strict=True)), views, clips.leakage(read, split_of).total)


def _split(models: Sequence[ModelSpec], protocol: str | None) -> SplitSpec | None:
    """Return the split that the recognisers were trained under, so that test clips are none of their training clips."""
    splits = [model.split for model in models]
    if any(split != splits[0] for split in splits):
        raise SpecError("--fuse: the two were trained under different splits, so one has seen the other's test clips")
    if protocol is None or (splits[0] is not None and splits[0].protocol == protocol):
        return splits[0]
    log.warning("trained under another split than %s: clips that are tested may have been trained on", protocol)
    return spec_file.validate({"protocol": protocol}, SplitSpec, "evaluate: split")


def side_by_side(results: Mapping[str, Result]) -> str:
    """Return a Markdown table of the same experiment under several protocols."""
    from araflow.recognition.evaluation import tables

    return tables.side_by_side(_pairs(results)).markdown()


def _pairs(results: Mapping[str, Result]) -> dict[str, tuple[Evaluation, Leakage | None]]:
    return {name: (result.evaluation, result.prepared.leakage) for name, result in results.items()}


def print_results(results: Mapping[str, Result]) -> None:
    """Print each evaluation, what was made of the recogniser, and several side by side."""
    from araflow.recognition.evaluation import tables

    for result in results.values():
        tables.print_evaluation(result.evaluation, leakage=result.prepared.leakage)
        for stage in result.deployed:
            echo(stage.line)
    if len(results) > 1:
        tables.side_by_side(_pairs(results)).print()


def last_line(spec: ExperimentSpec, results: Mapping[str, Result], seconds: float) -> str:
    """Return the line that sums a run up."""
    parts = []
    for name, result in results.items():
        top1 = result.evaluation.metrics.top1
        low, high = top1.interval
        shown = f"top-1 {100 * top1.value:.1f} % ({top1.hits} of {top1.count} test clips; 95 % interval "
        shown += f"{100 * low:.0f} to {100 * high:.0f} %)"
        parts.append(f"{name}: {shown}" if len(results) > 1 else shown)
    where = ", ".join(str(result.trained.checkpoint) for result in results.values())
    return f"{spec.name}: {'; '.join(parts)}; {_epochs(results)}, {seconds:.1f} s; {where}"


def _epochs(results: Mapping[str, Result]) -> str:
    """Say how long recognisers were trained in all, and how much of it in this run, which may have gone on with one."""
    epochs = sum(result.trained.epochs for result in results.values())
    new = sum(result.trained.new_epochs for result in results.values())
    shown = counted(epochs, "epoch")
    if all(result.stored for result in results.values()):
        return f"{shown} trained before, nothing to do"
    return f"{shown} trained" if new == epochs else f"{shown} ({new} in this run)"


def plan(prepared: Prepared) -> dict[str, Any]:
    """Return what would be trained on what, JSON-ready."""
    from araflow.recognition import networks

    model: ModelSpec = prepared.model
    return {
        "spec": prepared.spec.model_dump(mode="json"),
        "labels": list(model.labels),
        "clips": {"train": len(prepared.train), "val": len(prepared.val), "test": len(prepared.test)},
        "leakage": dataclasses.asdict(prepared.leakage),
        "parameters": networks.count(networks.outline(model)),
        "notes": prepared.notes,
        "chosen": list(timing.opening(prepared)),
    }


def print_plan(prepared: Prepared) -> None:
    """Print ``plan`` for a person."""
    content = plan(prepared)
    network, counts, leaked = prepared.spec.network, content["clips"], prepared.leakage
    size = f"{content['parameters']:,} parameters"
    echo(f"{prepared.spec.name}: {network.architecture}, {network.modality}, {size}")
    for stream in prepared.model.streams:
        window = prepared.model.stream(stream)
        echo(f"  {stream}: {window.frames} frames of {window.width}x{window.height}")
    shown = ", ".join(f"{count} {side}" for side, count in counts.items())
    echo(f"  {len(content['labels'])} classes; clips: {shown}")
    echo(f"  test clips whose source, or very bytes, are also in training: {leaked.told(leaked.any_class)}")
    for line in content["chosen"]:
        echo(f"  chosen: {line}")
    for note in prepared.notes:
        echo(f"  note: {note}")
    settings = prepared.spec.training
    echo(f"  {counted(settings.epochs, 'epoch')}, {counted(settings.batch_size, 'window')} a step; into {prepared.out}")
