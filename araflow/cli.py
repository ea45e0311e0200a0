"""The command line. Thin: each command imports what it needs when it runs, so that ``--help`` answers at once."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from araflow import __version__, json_log
from araflow.cli_deepstream import deepstream, triton
from araflow.cli_engine import bench_engine, engine
from araflow.cli_export import export
from araflow.cli_fetch import fetch
from araflow.cli_flow_quality import flow_quality
from araflow.cli_models import models
from araflow.cli_operate import clean, retry, status
from araflow.cli_predict import features, predict
from araflow.cli_serve import run, serve, up
from araflow.cli_train import evaluate, train_eval
from araflow.cli_unpack import unpack
from araflow.console import finish, progress, say_error
from araflow.errors import AraflowError, OutputError

if TYPE_CHECKING:
    from araflow.clip import ClipRecord

_EXIT_STATUS = (
    "Exit status: 0 all done; 1 failed, or a setting or source is wrong; 2 wrong options; 3 finished with clips "
    "quarantined or failed; 130 interrupted."
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON on standard output instead of a table.")


class _Group(click.Group):
    """Shows commands in the order of a user's work, and turns araflow's own errors into one message."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401
        try:
            return super().invoke(ctx)
        except AraflowError as error:
            say_error(f"error: {error}")
            sys.exit(1)
        except KeyboardInterrupt:
            say_error("interrupted: what is done is kept; the same command finishes it")
            sys.exit(130)


@click.group(cls=_Group, epilog=_EXIT_STATUS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="araflow")
@click.option(
    "--log-json",
    is_flag=True,
    envvar=json_log.VARIABLE,
    help=f"Log lines as JSON, one object per line on standard error, and no bars; or set {json_log.VARIABLE}=1.",
)
@click.pass_context
def main(ctx: click.Context, log_json: bool) -> None:
    """From public action-recognition videos to training data you can trust.

    \b
    Try it without any data (the sample is drawn, not footage):
      araflow build sample
    HMDB5 from the internet (asks first), or from a folder of HMDB51 that you have:
      araflow fetch hmdb51 --only walk,ride_bike,run,fall_floor,push
      araflow plan hmdb5 dataset.source=hmdb51/ dataset.splits=splits/
      araflow build hmdb5 dataset.source=hmdb51/ dataset.splits=splits/
    Optical flow of your own videos:
      araflow flow my_video.mp4 --out flow/
    A recogniser, its figures, and what it says of a video:
      araflow train-eval --spec sample_flow
      araflow predict runs/sample_flow/last.safetensors my_video.mp4
    How far a build is, and what failed:
      araflow status data/hmdb5
      araflow retry data/hmdb5

    araflow tells nobody that it is used, and Prefect's telemetry is off in all that it starts.
    """
    if log_json:
        ctx.with_resource(json_log.switched_on())


@main.command(epilog=_EXIT_STATUS)
@click.argument("config")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--strict", is_flag=True, help="Fail (exit status 1) if any clip is quarantined or failed.")
@click.option("--accept-licence", is_flag=True, help="Accept the dataset's licence, so that it may be downloaded.")
@click.option("--dry-run", is_flag=True, help="Show the plan and write nothing (the same as araflow plan).")
@_JSON
@click.pass_context
def build(
    ctx: click.Context,
    config: str,
    overrides: tuple[str, ...],
    strict: bool,
    accept_licence: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Make a dataset, as a Prefect flow; run it again to finish or update it.

    CONFIG is a YAML file or the name of a shipped one (hmdb5, hmdb51, ucf101, kinetics400,
    kinetics600, kinetics700_2020, folder, sample). Settings are overridden by KEY=VALUE.

    \b
    araflow build hmdb5 dataset.source=hmdb51/ dataset.splits=splits/ out=data/hmdb5
    araflow build hmdb5 dataset.source=hmdb51/ split.protocol=group optical.algorithm=tvl1
    """
    if dry_run:
        ctx.invoke(plan, config=config, overrides=overrides, as_json=as_json)
        return
    from araflow import spec_file
    from araflow.build import settle

    spec = spec_file.load(config, overrides)
    settle(spec, accept_licence=accept_licence)  # a wrong setting fails now, not after a server has been started
    from flows import settings

    settings.apply()
    from flows import build as building

    result = building.run(spec, config, overrides, accept_licence=accept_licence, strict=strict)
    finish(spec, made=result.made, seconds=result.seconds, as_json=as_json)


@main.command(epilog=_EXIT_STATUS)
@click.argument("source", required=False, type=click.Path(path_type=Path))
@click.option("--out", help="Output folder.  [default: as configured; required with SOURCE]")
@click.option("--backend", help="auto, or a backend by name (see --list).")
@click.option("--algorithm", help="auto, or an algorithm of the backend (see --list).")
@click.option("--preset", help="fastest, fast, balanced or accurate.")
@click.option("--quantizer", help="bound (fixed ±bound) or max_radius (NVIDIA's per-frame scale).")
@click.option("--bound", help="Largest storable |u|, |v| in pixels per frame.")
@click.option("--max-frames", help="Stop each clip after this many frames.")
@click.option("--workers", help="Decoding processes.  [default: one per usable core]")
@click.option("--config", default="hmdb5", show_default=True, help="Configuration that the other settings come from.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Any other setting; may be repeated.")
@click.option("--accept-licence", is_flag=True, help="Accept the dataset's licence, so that it may be downloaded.")
@click.option("--strict", is_flag=True, help="Fail (exit status 1) if any clip is quarantined or failed.")
@click.option("--list", "show_backends", is_flag=True, help="List backends, whether they can run here, and presets.")
@_JSON
def flow(
    source: Path | None,
    config: str,
    overrides: tuple[str, ...],
    accept_licence: bool,
    strict: bool,
    show_backends: bool,
    as_json: bool,
    **given: str | None,
) -> None:
    """Compute optical flow: RGB frames, u and v images and a manifest.

    SOURCE is a video, a folder of videos, a folder of frames, or a manifest; without it, the dataset of the
    configuration. Runs without Prefect.

    \b
    araflow flow clip.mp4 --out flow/
    araflow flow videos/ --out more_flow/ --preset accurate --quantizer max_radius
    """
    if show_backends:
        _list_backends(as_json)
        return
    from araflow import build as building
    from araflow import spec_file

    if source is not None and given["out"] is None and not any(text.startswith("out=") for text in overrides):
        raise click.UsageError("--out is required with SOURCE")
    if source is not None and (idle := [text for text in overrides if text.startswith(("dataset.", "split."))]):
        raise click.UsageError(f"--set {idle[0]}: clips of SOURCE have no configured dataset and no split")
    paths = {"out": "out", "max_frames": "rgb.max_frames", "workers": "run.workers"}
    flat = [f"{paths.get(name, f'optical.{name}')}={value}" for name, value in given.items() if value is not None]
    spec = spec_file.load(config, [*overrides, *flat])
    start, made = time.monotonic(), 0
    with progress() as (on_start, advance):

        def count(record: ClipRecord, worked_on: bool) -> None:
            nonlocal made
            made += worked_on
            advance(record)

        building.build(spec, accept_licence=accept_licence, source=source, on_start=on_start, on_record=count)
    finish(spec, made=made, seconds=time.monotonic() - start, as_json=as_json, strict=strict)


@main.command()
@click.argument("config")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@_JSON
def plan(config: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Show what a build would make: clips, splits, leakage, and hours and gigabytes measured on a few clips.

    Writes nothing and downloads nothing. With only split files at hand it still tells the counts.

    \b
    araflow plan hmdb5 dataset.splits=splits/
    """
    from araflow import plan as planning
    from araflow import spec_file
    from araflow.tables import print_plan

    result = planning.plan(spec_file.load(config, overrides))
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(result), indent=2))
    else:
        print_plan(result)


@main.group(cls=_Group)
def manifest() -> None:
    """Show, validate or compare manifests."""


class _ManifestPath(click.Path):
    """A path, or an address such as ``s3://bucket/folder``."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401
        if "://" not in str(value):
            return super().convert(value, param, ctx)
        from araflow.store import open_path

        return open_path(str(value))


_MANIFEST = click.argument("path", type=_ManifestPath(path_type=Path))


@manifest.command()
@_MANIFEST
@click.option("--clips", is_flag=True, help="One line per clip instead of one per class.")
@_JSON
def show(path: Path, clips: bool, as_json: bool) -> None:
    """Show the clips of a manifest by class and outcome. PATH is a manifest or an output folder."""
    from araflow import summary
    from araflow.manifest import Manifest
    from araflow.tables import print_clips, print_summary

    read = Manifest.read(path)
    if as_json:
        content = {"metadata": read.metadata, "classes": summary.by_class(read)} | (
            {"clips": read.rows()} if clips else {}
        )
        click.echo(json.dumps(content, indent=2))
    elif clips:
        print_clips(read)
    else:
        print_summary(read)


@manifest.command()
@_MANIFEST
@click.option("--quick", is_flag=True, help="Check names and bytes only; decode nothing.")
@_JSON
def validate(path: Path, quick: bool, as_json: bool) -> None:
    """Check the files against the rows; exit status 1 with the differences if they do not match."""
    from araflow import audit
    from araflow.manifest import Manifest

    read = Manifest.read(path)
    with progress() as (on_start, advance):
        on_start(len(read))
        problems = audit.validate(read, decode=not quick, on_clip=lambda key: advance(None))
        problems += [f"{path}: a clip folder without a finished row" for path in audit.strays(read)]
    if as_json:
        click.echo(json.dumps({"clips": len(read), "problems": problems}, indent=2))
    else:
        for problem in problems:
            click.echo(problem)
        remedy = "; building it again makes clips anew whose files are missing or not whole" if problems else ""
        click.echo(f"{len(read)} rows, {len(problems)} differences{remedy}")
    sys.exit(1 if problems else 0)


@manifest.command()
@click.argument("first", type=_ManifestPath(path_type=Path))
@click.argument("second", type=_ManifestPath(path_type=Path))
@_JSON
def diff(first: Path, second: Path, as_json: bool) -> None:
    """Compare two manifests clip by clip; exit status 1 if they differ."""
    from araflow.manifest import Manifest, differences

    lines = differences(Manifest.read(first), Manifest.read(second))
    if as_json:
        click.echo(json.dumps({"differences": lines}, indent=2))
    else:
        for line in lines:
            click.echo(line)
        click.echo(f"{len(lines)} differences")
    sys.exit(1 if lines else 0)


@main.command()
@click.option(
    "--vpi-capture",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="On a Jetson: write what its VPI accepts to FILE, for araflow's tests to replay.",
)
@_JSON
def doctor(as_json: bool, vpi_capture: Path | None) -> None:
    """Say what this machine has: each backend and tool, there or not, why, and how to get it."""
    from araflow import doctor as examining

    if vpi_capture is not None:
        from araflow.optical import _vpi_capture

        text = json.dumps(_vpi_capture.capture(), indent=2) + "\n"
        try:
            vpi_capture.write_text(text, encoding="utf-8")
        except OSError as error:
            raise OutputError(f"{vpi_capture}: cannot be written: {error.strerror or error}") from error
        click.echo(f"written: {vpi_capture}; please send it to araflow")
        return
    from araflow.tables import print_findings

    found = examining.examine()
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(finding) for finding in found], indent=2))
    else:
        print_findings(found)


def _list_backends(as_json: bool) -> None:
    from araflow import doctor as examining
    from araflow import optical
    from araflow.tables import print_findings

    found = examining.backends()
    algorithms = {finding.name: optical.load(finding.name).ALGORITHMS for finding in found}
    if as_json:
        backends = [{**dataclasses.asdict(f), "algorithms": algorithms[f.name]} for f in found]
        content = {"backends": backends, "algorithms": optical.algorithms(), "presets": optical.PRESETS}
        click.echo(json.dumps(content, indent=2))
        return
    print_findings(found)
    for name, own in algorithms.items():
        click.echo(f"algorithms of {name}: {', '.join(own)}")
    click.echo(f"presets: {', '.join(optical.PRESETS)}")


main.add_command(status)
main.add_command(retry)
main.add_command(clean)
main.add_command(up)
main.add_command(serve)
main.add_command(run)
main.add_command(fetch)
main.add_command(unpack)
main.add_command(flow_quality)
main.add_command(train_eval)
main.add_command(evaluate)
main.add_command(predict)
main.add_command(features)
main.add_command(models)
main.add_command(export)
main.add_command(engine)
main.add_command(bench_engine)
main.add_command(deepstream)
main.add_command(triton)
