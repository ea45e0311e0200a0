"""``araflow train-eval`` and ``araflow evaluate``."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from araflow.cli import running, settled
from araflow.cli.console import elapsed
from araflow.cli.looking import MODE, SEGMENTS
from araflow.cli.options import NO_PREFECT, OTHER_FLOW, json_option, shipped
from araflow.cli.settled import CFG
from araflow.core.screen import echo, echo_json

if TYPE_CHECKING:
    from araflow.recognition.spec import EvaluationMode


@click.command("train-eval")
@click.option(
    "--spec",
    "file",
    default="quick",
    show_default=True,
    metavar="FILE",
    shell_complete=shipped("configs/train"),
    help="Experiment: a YAML file, or a shipped name; quick: what is not set is chosen.",
)
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--dry-run", is_flag=True, help="Show what would be trained on what, and train nothing.")
@CFG
@NO_PREFECT
@json_option("tables")
def train_eval(
    file: str, overrides: tuple[str, ...], dry_run: bool, cfg: bool, no_prefect: bool, as_json: bool
) -> None:
    """Train a recogniser from a manifest and evaluate it, as a Prefect flow.

    Without FILE, settings are chosen from the manifest's clips and this machine, and shown with the reasons. FILE is
    araflow's own experiment file, the name of a shipped one (see configs/train), or NVIDIA TAO's experiment YAML as it
    is: what became of each of its fields is shown first. Settings are overridden by KEY=VALUE. Run it again to go on
    with a training that was interrupted.

    \b
    araflow train-eval manifest=data/mine
    araflow train-eval --spec sample_flow
    araflow train-eval --spec hmdb5_arn_3d_flow manifest=data/hmdb5 training.epochs=40
    araflow train-eval --spec hmdb5_arn_2d_rgb protocols='[official, random, group]'
    araflow train-eval --spec tao_experiment.yaml manifest=data/hmdb5
    """
    from araflow.recognition import experiment, require, results, tao
    from araflow.recognition.training import rehearsal

    if cfg:
        settled.show(experiment.read(file, overrides).spec, as_json)
        return
    require.packages("torch", "lightning", "safetensors", "matplotlib")
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory())) if dry_run else None
        read = experiment.read(file, overrides)
        # What cannot work fails now, not after a server has been started.
        prepared = experiment.prepare_all(read, scratch)
        for one in prepared:
            rehearsal.rehearse(one)
        if read.fields and not as_json:
            tao.print_report(read.fields)
        if dry_run and as_json:
            plans = [results.plan(one) for one in prepared]
            echo_json({"fields": tao.to_json(read.fields), "plan": plans})
        elif dry_run:
            for one in prepared:
                results.print_plan(one)
        if dry_run:
            return
    found = running.train(read, prepared, file, overrides, prefect=not no_prefect)
    if as_json:
        content_of = {name: result.to_json() for name, result in found.items()}
        echo_json({"fields": tao.to_json(read.fields), "results": content_of})
    else:
        results.print_results(found)
        echo(results.last_line(read.spec, found, elapsed()))


@click.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--manifest", required=True, type=click.Path(path_type=Path), help="A manifest, or a build's folder.")
@click.option("--split", default="test", show_default=True, help="Which clips: train, val, test, or all.")
@click.option("--protocol", help="Split anew: official, random or group.  [default: as it was trained]")
@MODE
@SEGMENTS
@click.option("--compat", default="none", show_default=True, help="tao: count the first window twice, as TAO does.")
@click.option(
    "--fuse", type=click.Path(path_type=Path), help="Another checkpoint, whose scores are added (two-stream)."
)
@click.option("--weights", default="1,1", show_default=True, help="Weights of the two, with --fuse.")
@OTHER_FLOW
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder for metrics, predictions and the confusion matrix."
)
@json_option("tables")
def evaluate(
    checkpoint: Path,
    manifest: Path,
    split: str,
    protocol: str | None,
    mode: EvaluationMode | None,
    segments: int | None,
    compat: str,
    fuse: Path | None,
    weights: str,
    allow_other_flow: bool,
    out: Path | None,
    as_json: bool,
) -> None:
    """Evaluate a recogniser on the clips of a manifest.

    \b
    araflow evaluate runs/sample_flow/last.safetensors --manifest data/sample
    araflow evaluate flow/last.safetensors --manifest data/hmdb5 --mode conv --out figures/
    araflow evaluate rgb/last.safetensors --fuse flow/last.safetensors --weights 1,1.5 --manifest data/hmdb5
    """
    from araflow.recognition import require

    require.torch()
    from araflow.recognition import results
    from araflow.recognition.evaluation import tables as evaluation_tables
    from araflow.recognition.evaluation.write import write

    found = results.evaluate_files(
        [checkpoint, *([fuse] if fuse else [])],
        manifest,
        split=split,
        protocol=protocol,
        settings={"mode": mode, "segments": segments, "compat": compat},
        weights=_numbers(weights) if fuse else None,
        allow_other_flow=allow_other_flow,
    )
    if out is not None:
        write(found.evaluation, out, leakage=found.leakage)
    if as_json:
        echo_json(found.to_json())
        return
    evaluation_tables.print_evaluation(found.evaluation, leakage=found.leakage)
    if len(found.parts) > 1:
        evaluation_tables.fused(found.parts, found.evaluation).print()
    echo(f"windows: {'; '.join(dict.fromkeys(views.told() for views in found.views))}")


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise click.BadParameter(f"{text!r}: expected numbers with commas between, such as 1,1.5") from None
