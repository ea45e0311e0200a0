"""``araflow predict`` and ``araflow features``: what a recogniser says of videos, and what it sees in them."""

from __future__ import annotations

import dataclasses
import functools
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from araflow.cli.console import INCOMPLETE
from araflow.cli.options import DEVICE, FLOW_BACKEND, JSON, OTHER_FLOW, ROTATION, json_option
from araflow.core import written
from araflow.core.errors import AraflowError
from araflow.core.screen import echo, echo_json

if TYPE_CHECKING:
    from araflow.core.clip import ClipRecord
    from araflow.recognition.prediction.features import Features
    from araflow.recognition.prediction.predict import Prediction
    from araflow.recognition.prediction.runners import Device
    from araflow.recognition.spec import EvaluationMode

_EXIT_STATUS = (
    "Exit status: 0 all done; 1 failed, or a setting or file is wrong; 2 wrong options; 3 finished, but some videos "
    "could not be used; 130 interrupted."
)
_CHECKPOINT = click.argument("checkpoint", type=click.Path(path_type=Path))
_MODES = click.Choice(["center", "conv", "all"])
_SEGMENTS = click.option("--segments", type=click.IntRange(1), default=10, show_default=True, help="Windows of conv.")


@click.command(epilog=_EXIT_STATUS)
@_CHECKPOINT
@click.argument("videos", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="VIDEO...")
@click.option("--top", type=click.IntRange(1), default=5, show_default=True, help="Classes to name.")
@click.option("--window", type=click.IntRange(1), metavar="FRAMES", help="Slide a window of so many frames.")
@click.option(
    "--stride", type=click.IntRange(1), metavar="FRAMES", help="From one window to the next.  [default: no overlap]"
)
@click.option("--mode", type=_MODES, help="Windows that are averaged over a whole video.  [default: center]")
@_SEGMENTS
@FLOW_BACKEND
@ROTATION
@DEVICE
@click.option(
    "--against",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Another recogniser, which must name the same first class.",
)
@JSON
@click.option(
    "--parquet", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write the rows to FILE."
)
def predict(
    checkpoint: Path,
    videos: tuple[Path, ...],
    top: int,
    window: int | None,
    stride: int | None,
    mode: EvaluationMode | None,
    segments: int,
    backend: str | None,
    rotation: str,
    device: Device,
    against: Path | None,
    as_json: bool,
    parquet: Path | None,
) -> None:
    """Name the action in videos, straight from the files; optical flow is computed on the way.

    CHECKPOINT is a .safetensors, .onnx or .engine file; what it needs to know lies inside.
    VIDEO is a video, a folder of frames, a folder with videos somewhere below, or a CSV list. A recogniser knows its
    own classes only, and names one of these for a video of anything else, too.

    \b
    araflow predict best.safetensors clip.mp4
    araflow predict best.safetensors videos/ --mode conv --json
    araflow predict best.safetensors long.mp4 --window 32 --stride 8 --top 1 --parquet actions.parquet
    araflow predict model.onnx videos/ --against best.safetensors
    """
    if window is None and stride is not None:
        raise click.UsageError("--stride is for sliding windows; give --window, too")
    if window is not None and mode is not None:
        raise click.UsageError("--mode is for whole videos; leave it out, or leave --window out")
    from araflow.cli.console import progress
    from araflow.deploy.runners import open_runner
    from araflow.recognition.prediction import predict as predicting
    from araflow.recognition.prediction.video_flow import flow_maker

    start = time.monotonic()
    if parquet is not None:
        written.check([parquet])
    runner, other = open_runner(checkpoint, device), None if against is None else open_runner(against, device)
    clips = predicting.list_videos(videos)
    rows: list[dict[str, Any]] = []
    failed = same = 0
    with progress() as (on_start, advance):
        predictions = functools.partial(
            predicting.predict, top=top, window=window, stride=stride, mode=mode or "center", segments=segments
        )
        upright = rotation == "apply"
        flow = flow_maker(runner.spec, backend)
        other_flow = None if other is None else flow_maker(other.spec, backend)
        on_start(len(clips))

        def work(video: Path) -> tuple[list[Prediction], int]:
            """Return what the recogniser says, and in how many the other one says the same."""
            found = predictions(runner, video, flow=flow, upright=upright)
            there = [] if other is None else predictions(other, video, flow=other_flow, upright=upright)
            return found, sum(one.labels[0] == two.labels[0] for one, two in zip(found, there, strict=False))

        for clip, answer, reason in predicting.attempted(clips, work):
            found = None if answer is None else answer[0]
            same += 0 if answer is None else answer[1]
            name = str(clip.source or clip.name)
            advance(_record(name, reason))
            failed += found is None
            rows += (
                [{"video": name, "reason": reason}]
                if found is None
                else [{**one.to_json(), "reason": None} for one in found]
            )
    if parquet is not None:
        _write_table(parquet, rows)
    if as_json:
        content: dict[str, Any] = {"checkpoint": str(checkpoint), "predictions": rows}
        if warnings := [*(flow.warnings if flow else ()), *(other_flow.warnings if other_flow else ())]:
            content["warnings"] = warnings
        if against is not None:
            content |= {"against": str(against), "same": same}
        echo_json(content)
    else:
        _print(rows)
        if parquet is not None:
            echo(f"predictions: {parquet}")
        count = len(rows) - failed
        echo(
            f"{len(clips) - failed} of {len(clips)} videos, {count} predictions in {time.monotonic() - start:.1f} s"
            + ("" if against is None else f"; same first class as {against} in {same} of {count}")
        )
    if against is not None and same < len(rows) - failed:
        raise AraflowError(f"{checkpoint} and {against} differ in {len(rows) - failed - same} of {len(rows) - failed}")
    sys.exit(INCOMPLETE if failed else 0)


@click.command(epilog=_EXIT_STATUS)
@_CHECKPOINT
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder for the files.")
@click.option("--split", help="Of a manifest, only these clips: train, val, test.  [default: all]")
@click.option("--mode", type=_MODES, default="center", show_default=True, help="Windows that are averaged.")
@_SEGMENTS
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
    mode: EvaluationMode,
    segments: int,
    backend: str | None,
    rotation: str,
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
    from araflow.store.layout import MANIFEST

    built = source.suffix == ".parquet" or (source / MANIFEST).is_file()
    if built and backend is not None:
        raise click.UsageError("--backend is for videos; flow of a manifest is read from its files")
    if built and rotation != "apply":
        raise click.UsageError("--rotation is for videos; frames of a manifest are read as they are")
    if not built and split is not None:
        raise click.UsageError("--split is for manifests; videos have no splits")
    if not built and allow_other_flow:
        raise click.UsageError("--allow-other-flow is for manifests; flow of videos is computed: see --backend")
    start = time.monotonic()
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
                upright=rotation == "apply",
                on_clip=lambda key, reason: advance(_record(key, reason)),
            )
    found = dataclasses.replace(found, warnings=warnings)
    files = found.write(out)
    if as_json:
        echo_json(_summary(found, files))
    else:
        echo(f"features: {files[0]}\npicture:  {files[1]}")
        bad = f", {len(found.failed)} could not be used" if found.failed else ""
        echo(
            f"{len(found.keys)} clips{bad}, {found.vectors.shape[1]} features each, in {time.monotonic() - start:.1f} s"
        )
    sys.exit(INCOMPLETE if found.failed else 0)


def _record(key: str, reason: str) -> ClipRecord | None:
    """What the progress display is told of a video that could not be used."""
    from araflow.core.clip import ClipRecord, Outcome

    return ClipRecord(key, Outcome.QUARANTINED, reason) if reason else None


def _print(rows: list[dict[str, Any]]) -> None:
    """Print a row per prediction: frames from the first to the last, seconds, and a column per class named."""
    from araflow.core.table import Table

    ranks = [str(rank) for rank in range(1, 1 + max(len(row.get("labels", ("",))) for row in rows))]
    shown = []
    for row in rows:
        line = dict.fromkeys(("video", "frames", "seconds", *ranks), "") | {"video": row["video"]}
        if row["reason"]:
            line["1"] = row["reason"]
        else:
            line["frames"] = f"{row['start_frame']}–{row['end_frame'] - 1}"
            if row["start_seconds"] is not None:
                line["seconds"] = f"{row['start_seconds']:.1f}–{row['end_seconds']:.1f}"
            pairs = zip(ranks, row["labels"], row["probabilities"], strict=False)
            line |= {rank: f"{label} {100 * share:.1f} %" for rank, label, share in pairs}
        shown.append(line)
    Table.of(shown).print()


def _write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    from araflow.core import files
    from araflow.recognition.prediction.predict import table

    written.write({path: files.parquet(table(rows))})


def _summary(found: Features, files: list[Path]) -> dict[str, Any]:
    return {
        "features": str(files[0]),
        "picture": str(files[1]),
        "clips": len(found.keys),
        "size": int(found.vectors.shape[1]),
        "failed": found.failed,
        **({"warnings": list(found.warnings)} if found.warnings else {}),
    }
