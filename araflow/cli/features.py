"""``araflow features``: what a recogniser's classifier sees of clips and videos."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from araflow.cli.console import INCOMPLETE, elapsed
from araflow.cli.looking import CHECKPOINT, EXIT_STATUS, MODE, SEGMENTS, as_record
from araflow.cli.options import DEVICE, FLOW_BACKEND, OTHER_FLOW, ROTATION, json_option
from araflow.core import written
from araflow.core.screen import echo, echo_json
from araflow.core.words import counted

if TYPE_CHECKING:
    from araflow.recognition.prediction.features import Features
    from araflow.recognition.prediction.runners import Device
    from araflow.recognition.spec import EvaluationMode


@click.command(epilog=EXIT_STATUS)
@CHECKPOINT
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder for the files.")
@click.option("--split", help="Of a manifest, only these clips: train, val, test.  [default: all]")
@MODE
@SEGMENTS
@FLOW_BACKEND
@ROTATION
@DEVICE
@OTHER_FLOW
@json_option("text")
def features(
    checkpoint: Path,
    source: Path,
    out: Path,
    split: str | None,
    mode: EvaluationMode | None,
    segments: int | None,
    backend: str | None,
    rotation: str | None,
    device: Device,
    allow_other_flow: bool,
    as_json: bool,
) -> None:
    """Write what the classifier sees of each clip: a vector per clip, and a picture of all in the plane.

    SOURCE is a manifest or a build's folder, whose files are read; or videos, as araflow predict takes them.

    Writes features.parquet (key, label, split, embedding) and features.png (the two directions along which the vectors
    vary most).

    \b
    araflow features best.safetensors data/hmdb5 --split test --out features/
    araflow features best.safetensors videos/ --out features/
    """
    from araflow.cli.console import progress
    from araflow.recognition import require

    require.packages("matplotlib")
    from araflow.deploy.runners import open_runner
    from araflow.recognition.prediction import features as seeing
    from araflow.recognition.prediction import predict as predicting
    from araflow.recognition.prediction.video_flow import flow_maker
    from araflow.store.layout import is_manifest

    built = is_manifest(source)
    if built and backend is not None:
        raise click.UsageError("--backend is for videos; flow of a manifest is read from its files")
    if built and rotation is not None:
        raise click.UsageError("--rotation is for videos; frames of a manifest are read as they are")
    if not built and split is not None:
        raise click.UsageError("--split is for manifests; videos have no splits")
    if not built and allow_other_flow:
        raise click.UsageError("--allow-other-flow is for manifests; flow of videos is computed: see --backend")
    warnings: tuple[str, ...] = ()
    written.check([out / seeing.TABLE, out / seeing.PICTURE], out)
    runner = open_runner(checkpoint, device)
    with progress() as (on_start, advance):
        if built:
            from araflow.recognition import same_flow
            from araflow.store.manifest import Manifest

            manifest = Manifest.read(source)
            warnings = same_flow.hold(checkpoint, runner.spec, manifest, source, allow=allow_other_flow)
            found = seeing.of_manifest(
                runner,
                manifest,
                None if split == "all" else split,
                mode=mode,
                segments=segments,
                on_start=on_start,
                on_clip=lambda: advance(None),
            )
        else:
            flow = flow_maker(runner.spec, backend)
            warnings = flow.warnings if flow else ()
            clips = predicting.list_videos([source])
            on_start(len(clips))
            found = seeing.of_videos(
                runner,
                clips,
                mode=mode,
                segments=segments,
                flow=flow,
                upright=None if rotation is None else rotation == "apply",
                on_clip=lambda key, reason: advance(as_record(key, reason)),
            )
    found = dataclasses.replace(found, warnings=warnings)
    files = found.write(out)
    if as_json:
        echo_json(_summary(found, files))
    else:
        echo(f"features: {files[0]}\npicture:  {files[1]}")
        bad = f", {len(found.failed)} could not be used" if found.failed else ""
        echo(f"{counted(len(found.keys), 'clip')}{bad}, {found.vectors.shape[1]} features each, {elapsed():.1f} s")
    sys.exit(INCOMPLETE if found.failed else 0)


def _summary(found: Features, files: list[Path]) -> dict[str, Any]:
    return {
        "features": str(files[0]),
        "picture": str(files[1]),
        "clips": len(found.keys),
        "size": int(found.vectors.shape[1]),
        "failed": found.failed,
        **({"warnings": list(found.warnings)} if found.warnings else {}),
    }
