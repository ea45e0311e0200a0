"""``araflow train``: from videos, or a manifest, to a recogniser, in one command."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from araflow.cli import running
from araflow.cli.console import INCOMPLETE, elapsed
from araflow.cli.options import EXIT_STATUS, NO_PREFECT, LocalPath, json_option
from araflow.core.errors import SpecError, did_you_mean
from araflow.core.screen import echo, echo_json

if TYPE_CHECKING:
    from araflow.core.spec import BuildSpec
    from araflow.recognition.experiment import Experiment, Prepared
    from araflow.recognition.results import Result

_TEST_FRACTION = "split.test_fraction=0.25"
"""Of clips that say nothing of a split: from one's own few videos, a tenth would be too few to tell anything by."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Asked:
    """What the command was asked for.

    Attributes:
        manifest: The dataset to train on.
        out: Folder of the run.
        build: What makes the dataset; ``None`` where it is there.
        build_told: Its settings, as they were given.
        told: Those of the training.
    """

    manifest: Path
    out: Path
    build: BuildSpec | None
    build_told: list[str]
    told: list[str]


@click.command(epilog=EXIT_STATUS)
@click.argument("source", metavar="VIDEOS|MANIFEST", type=LocalPath(path_type=Path))
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--out", type=LocalPath(path_type=Path), help="Folder for all that is made.  [default: runs/NAME]")
@click.option(
    "--modality", type=click.Choice(["flow", "rgb", "joint"]), help="What the recogniser sees.  [default: flow]"
)
@click.option("--epochs", type=click.IntRange(1), help="Passes over the training clips.  [default: chosen]")
@click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing.")
@NO_PREFECT
@json_option("tables")
def train(
    source: Path,
    overrides: tuple[str, ...],
    out: Path | None,
    modality: str | None,
    epochs: int | None,
    dry_run: bool,
    no_prefect: bool,
    as_json: bool,
) -> None:
    """Make a recogniser from your own videos: dataset, training, figures, ONNX file.

    VIDEOS is a folder (class/clip.mp4) or a CSV list, of which a dataset is made in OUT/data; MANIFEST is one that was
    made. What is not set is chosen from the clips and this machine, and shown with the reasons. KEY=VALUE is a setting
    of the build or of the training. Run it again to finish, or to go on after an interruption.

    \b
    araflow train videos/
    araflow train videos/ --modality rgb --epochs 20 --out runs/rgb
    araflow train data/hmdb5 --dry-run
    araflow train videos/ rgb.short_side=256 network.flow.frames=16
    """
    from araflow.recognition import require

    require.packages("torch", "lightning", "safetensors", "matplotlib")
    options = {"network.modality": modality, "training.epochs": epochs}
    given = [f"{key}={value}" for key, value in options.items() if value is not None]
    asked = _asked(source, out, (*overrides, *given))
    if dry_run:
        _show(asked, as_json)
        return
    found, results = _all(asked, prefect=not no_prefect)
    outcomes = _outcomes(asked.manifest)
    _tell(asked, found, results, elapsed(), outcomes, as_json)
    sys.exit(INCOMPLETE if outcomes["quarantined"] + outcomes["failed"] else 0)


def _asked(source: Path, out: Path | None, overrides: Sequence[str]) -> _Asked:
    """Tell settings of the build from those of the training, and check what can be checked at once."""
    from araflow.core import spec_file
    from araflow.core.spec import BuildSpec
    from araflow.recognition.quick import settle
    from araflow.recognition.spec import ExperimentSpec
    from araflow.store.layout import is_manifest

    is_made = is_manifest(source)
    out = out or Path("runs") / settle.name_of(source.parent if source.is_file() else source)
    ours, theirs = set(ExperimentSpec.model_fields), set(BuildSpec.model_fields)
    told: dict[bool, list[str]] = {True: [], False: []}
    for text in overrides:
        key = text.partition("=")[0].partition(".")[0].strip()
        if key in ("out", "manifest", "name"):
            raise SpecError(f"{key}: say --out, and name videos or a manifest first: araflow train VIDEOS --out FOLDER")
        if key not in ours | theirs:
            raise SpecError(f"{text.partition('=')[0]}: unknown key{did_you_mean(key, sorted(ours | theirs))}")
        of_build = key in theirs if not is_made else key not in ours
        if of_build and is_made:
            raise SpecError(f"{text}: is a setting of a build, and {source} is made already: give the videos")
        told[of_build].append(text)
    manifest = source if is_made else out / "data"
    training = [f"name={settle.name_of(out)}", f"manifest={manifest}", f"out={out}", *told[False]]
    # What is wrong with the training is said before the dataset is made.
    spec_file.validate(spec_file.override({}, training, ExperimentSpec), ExperimentSpec, "train")
    if is_made:
        return _Asked(manifest, out, None, [], training)
    build = [_TEST_FRACTION, *told[True], f"dataset.source={source}", f"out={manifest}"]
    return _Asked(manifest, out, spec_file.load("folder", build), build, training)


def _all(asked: _Asked, *, prefect: bool) -> tuple[Experiment, dict[str, Result]]:
    """Make the dataset, train, evaluate and export, in the history of one server; none where nothing is to do."""
    from araflow.build import stages
    from araflow.build.resolved import resolve

    resolved = None if asked.build is None else stages.look(resolve(asked.build))
    kept = prefect
    with contextlib.ExitStack() as stack:
        if resolved is not None:
            if prefect and not running.has_nothing_to_do(resolved):
                kept = stack.enter_context(running.one_server())
            running.make(resolved, "folder", asked.build_told, prefect=kept)
        found, prepared = _prepared(asked)  # what cannot work fails before a server is started for it
        return found, running.train(found, prepared, "quick", asked.told, prefect=kept)


def _prepared(asked: _Asked) -> tuple[Experiment, list[Prepared]]:
    from araflow.recognition import experiment
    from araflow.recognition.training import rehearsal, run

    found = experiment.read("quick", asked.told)
    prepared = experiment.prepare_all(found)
    for one in prepared:
        if run.is_of_other_clips(one):
            raise SpecError(
                f"{asked.out}: holds a recogniser of other clips than {asked.manifest} has now; train another: "
                f"araflow train {asked.manifest} --out ANOTHER"
            )
        rehearsal.rehearse(one)
    return found, prepared


def _show(asked: _Asked, as_json: bool) -> None:
    """Show what would be done."""
    from araflow.build import plan as planning
    from araflow.cli.tables import print_plan
    from araflow.recognition import results
    from araflow.store.layout import MANIFEST

    content: dict[str, Any] = {"build": None, "plan": None}
    if asked.build is not None:
        plan = planning.plan(asked.build)
        content["build"] = dataclasses.asdict(plan)
        if not as_json:
            print_plan(plan)
    if asked.build is None or (asked.manifest / MANIFEST).is_file():
        _, prepared = _prepared(asked)
        content["plan"] = [results.plan(one) for one in prepared]
        for one in () if as_json else prepared:
            results.print_plan(one)
    elif not as_json:
        echo(f"dataset: {asked.manifest}; then a recogniser, whose settings follow from its clips: {asked.out}")
    if as_json:
        echo_json(content)


def _outcomes(manifest: Path) -> Counter[str]:
    from araflow.store.manifest import Manifest

    return Manifest.read(manifest, ("outcome",)).outcomes()


def _tell(
    asked: _Asked,
    found: Experiment,
    made: dict[str, Result],
    seconds: float,
    outcomes: Counter[str],
    as_json: bool,
) -> None:
    """Say what was made, how good it is, and what can be done with it."""
    from araflow.recognition import results

    if as_json:
        shown = {name: one.to_json() for name, one in made.items()}
        echo_json({"manifest": str(asked.manifest), "outcomes": dict(outcomes), "results": shown})
        return
    results.print_results(made)
    counts = ", ".join(f"{number:,} {name}" for name, number in sorted(outcomes.items()))
    echo(f"dataset:    {asked.manifest} ({counts})")
    for one in made.values():
        echo(f"confusion:  {one.prepared.out / 'evaluation' / 'confusion.png'}")
        echo(f"try it:     araflow predict {one.trained.checkpoint} VIDEO")
    echo(results.last_line(found.spec, made, seconds))
