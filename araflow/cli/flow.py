"""``araflow flow``: the pipeline without Prefect, also for videos that belong to no dataset."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from araflow.cli import running
from araflow.cli.options import EXIT_STATUS, JSON, VERIFY, LocalPath, shipped
from araflow.core.screen import echo, echo_json


@click.command(epilog=EXIT_STATUS)
@click.argument("source", required=False, type=LocalPath(path_type=Path))
@click.option("--out", help="Output folder.  [default: as configured; required with SOURCE]")
@click.option("--backend", help="auto, or a backend by name (see --list).")
@click.option("--algorithm", help="auto, or an algorithm of the backend (see --list).")
@click.option("--preset", help="fastest, fast, balanced or accurate.")
@click.option("--quantizer", help="bound (fixed ±bound) or max_radius (NVIDIA's per-frame scale).")
@click.option("--bound", help="Largest storable |u|, |v| in pixels per frame.")
@click.option("--also", help="Also store flow as flo, npy16, npy32 or film; several by commas.")
@click.option("--max-frames", help="Stop each clip after this many frames.")
@click.option("--workers", help="Decoding processes.  [default: one per usable core]")
@click.option(
    "--config",
    default="hmdb5",
    show_default=True,
    shell_complete=shipped("configs"),
    help="Configuration that the other settings come from.",
)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Any other setting; may be repeated.")
@click.option("--accept-licence", is_flag=True, help="Accept the dataset's licence, so that it may be downloaded.")
@click.option("--strict", is_flag=True, help="Fail (exit status 1) if any clip is quarantined or failed.")
@VERIFY
@click.option("--list", "show_backends", is_flag=True, help="List backends, whether they can run here, and presets.")
@JSON
def flow(
    source: Path | None,
    config: str,
    overrides: tuple[str, ...],
    accept_licence: bool,
    strict: bool,
    verify: bool,
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
    araflow flow videos/ --out raw_flow/ --also flo,film
    """
    if show_backends:
        _list_backends(as_json)
        return
    from araflow.build.resolved import resolve
    from araflow.core import spec_file

    if source is not None and given["out"] is None and not any(text.startswith("out=") for text in overrides):
        raise click.UsageError("--out is required with SOURCE")
    if source is not None and (idle := [text for text in overrides if text.startswith(("dataset.", "split."))]):
        raise click.UsageError(f"--set {idle[0]}: clips of SOURCE have no configured dataset and no split")
    paths = {"out": "out", "max_frames": "rgb.max_frames", "workers": "run.workers"}
    if given["also"] is not None:
        given["also"] = f"[{given['also']}]"
    flat = [f"{paths.get(name, f'optical.{name}')}={value}" for name, value in given.items() if value is not None]
    flat += ["run.verify=true"] * verify
    resolved = resolve(spec_file.load(config, [*overrides, *flat]), accept_licence=accept_licence, source=source)
    running.carry_out(resolved, as_json=as_json, strict=strict)


def _list_backends(as_json: bool) -> None:
    from araflow import optical
    from araflow.cli import doctor as examining

    found = examining.backends()
    algorithms = {finding.name: optical.load(finding.name).ALGORITHMS for finding in found}
    if as_json:
        backends = [{**dataclasses.asdict(f), "algorithms": algorithms[f.name]} for f in found]
        content = {"backends": backends, "algorithms": optical.algorithms(), "presets": optical.PRESETS}
        echo_json(content)
        return
    examining.print_findings(found)
    for name, own in algorithms.items():
        echo(f"algorithms of {name}: {', '.join(own)}")
    echo(f"presets: {', '.join(optical.PRESETS)}")
