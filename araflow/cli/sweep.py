"""``araflow sweep``: one experiment under many settings and seeds."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import click

from araflow.cli import running
from araflow.cli.console import elapsed
from araflow.cli.options import NO_PREFECT, json_option
from araflow.core.errors import SpecError
from araflow.core.screen import echo, echo_json
from araflow.core.words import counted

if TYPE_CHECKING:
    from araflow.recognition.experiment import Experiment, Prepared
    from araflow.recognition.results import Result

_NO_EXPORT = ("deploy.export=false", "deploy.engine=false")
_NOTE = "the best of several settings looks better on its test clips than it is: choose by val clips"


@click.command()
@click.option("--spec", "file", required=True, metavar="FILE", help="Experiment: a YAML file, or a shipped name.")
@click.argument("overrides", nargs=-1, required=True, metavar="KEY=VALUE,VALUE...")
@click.option("--dry-run", is_flag=True, help="Show which runs there would be, and train nothing.")
@NO_PREFECT
@json_option("tables")
def sweep(file: str, overrides: tuple[str, ...], dry_run: bool, no_prefect: bool, as_json: bool) -> None:
    """Train and evaluate under each combination of several values, such as seeds, and show mean and spread.

    Each run has a folder of its own below the experiment's `out`; the same command goes on where it was interrupted.
    Nothing is exported unless deploy.export=true is among the settings.

    \b
    araflow sweep --spec sample_flow training.seed=0,1,2
    araflow sweep --spec mine.yaml training.optimizer.lr=0.01,0.001 training.seed=0,1,2
    araflow compare runs/sample_flow
    """
    from araflow.recognition import experiment, require
    from araflow.recognition import sweep as sweeping
    from araflow.recognition.training import rehearsal

    require.packages("torch", "lightning", "safetensors", "matplotlib")
    points, single = sweeping.points(overrides)
    given = {text.partition("=")[0] for text in single}
    single += [text for text in _NO_EXPORT if text.partition("=")[0] not in given]
    out = Path(experiment.read(file, single).spec.out)
    runs: list[tuple[tuple[str, ...], Experiment, list[Prepared]]] = []
    for point in points:  # what cannot work fails now, not after the first trainings
        own = (*single, *point.overrides, f"out={out / point.name}")
        read = experiment.read(file, own)
        if read.spec.protocols:
            raise SpecError("sweep: protocols are a sweep of their own: give split.protocol=official,group instead")
        runs.append((own, read, experiment.prepare_all(read)))
        rehearsal.rehearse(runs[-1][2][0])
    if dry_run:
        _show_plan(out, [point.name for point in points], as_json)
        return

    found: list[Result] = []
    with contextlib.ExitStack() as stack:
        kept = not no_prefect and stack.enter_context(running.one_server())
        for own, read, prepared in runs:
            found += running.train(read, prepared, file, own, prefect=kept).values()
    done = sweeping.Sweep(points, found)
    if as_json:
        echo_json(done.to_json())
        return
    done.table().print()
    if len(done.groups()) > 1:
        echo(_NOTE)
    new = sum(result.trained.new_epochs for result in found)
    echo(
        f"{out}: {counted(len(found), 'run')}, {counted(new, 'epoch')} trained now, {elapsed():.1f} s; "
        f"araflow compare {out}"
    )


def _show_plan(out: Path, names: list[str], as_json: bool) -> None:
    if as_json:
        echo_json({"out": str(out), "runs": names})
        return
    for name in names:
        echo(str(out / name))
    echo(counted(len(names), "run"))
