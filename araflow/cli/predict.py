"""``araflow predict``: what a recogniser says of videos."""

from __future__ import annotations

import functools
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from araflow.cli.console import INCOMPLETE
from araflow.cli.looking import CHECKPOINT, EXIT_STATUS, MODE, SEGMENTS, as_record
from araflow.cli.options import DEVICE, FLOW_BACKEND, JSON, ROTATION
from araflow.cli.watching import watch
from araflow.core import files, written
from araflow.core.addresses import local
from araflow.core.errors import AraflowError, SpecError
from araflow.core.screen import echo, echo_json
from araflow.core.words import counted

if TYPE_CHECKING:
    from araflow.recognition.prediction.predict import Prediction
    from araflow.recognition.prediction.runners import Device
    from araflow.recognition.spec import EvaluationMode, ModelSpec


@click.command(epilog=EXIT_STATUS)
@CHECKPOINT
@click.argument("videos", nargs=-1, required=True, type=click.Path(), metavar="VIDEO...")
@click.option("--top", type=click.IntRange(1), default=5, show_default=True, help="Classes to name.")
@click.option("--window", type=click.IntRange(1), metavar="FRAMES", help="Slide a window of so many frames.")
@click.option(
    "--stride", type=click.IntRange(1), metavar="FRAMES", help="From one window to the next.  [default: no overlap]"
)
@MODE
@SEGMENTS
@FLOW_BACKEND
@ROTATION
@DEVICE
@click.option(
    "--against",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Another recogniser, which must name the same first class.",
)
@click.option(
    "--save",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write what is found: .csv, .parquet, .srt (subtitles) or .mp4 (the video with labels); may be repeated.",
)
@JSON
@click.option("--parquet", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", hidden=True)
def predict(
    checkpoint: Path,
    videos: tuple[str, ...],
    top: int,
    window: int | None,
    stride: int | None,
    mode: EvaluationMode | None,
    segments: int | None,
    backend: str | None,
    rotation: str | None,
    device: Device,
    against: Path | None,
    save: tuple[Path, ...],
    as_json: bool,
    parquet: Path | None,
) -> None:
    """Name the action in videos, straight from the files; optical flow is computed on the way.

    CHECKPOINT is a .safetensors, .onnx or .engine file; what it needs to know lies inside.
    VIDEO is a video, a folder of frames, a folder with videos somewhere below, or a CSV list; or one camera (0) or
    stream (http://, rtsp:// …), which is watched until it ends, or Ctrl-C. A recogniser knows its own classes only, and
    names one of these for a video of anything else, too.

    Of a whole video it says one thing, by the windows that it was evaluated by; with --window, or for subtitles and
    labels in the video, what it says of each moment.

    \b
    araflow predict best.safetensors clip.mp4
    araflow predict best.safetensors videos/ --mode conv --json
    araflow predict best.safetensors long.mp4 --window 32 --stride 8 --save actions.csv
    araflow predict best.safetensors long.mp4 --save labelled.mp4 --save labels.srt
    araflow predict model.onnx videos/ --against best.safetensors
    araflow predict best.safetensors 0 --top 1
    """
    if window is None and stride is not None:
        raise click.UsageError("--stride is for sliding windows; give --window, too")
    if window is not None and (mode is not None or segments is not None):
        raise click.UsageError("--mode and --segments are for whole videos; leave them out, or leave --window out")
    from araflow.media import live

    watching = any(map(live.is_live, videos))
    if watching and (len(videos) > 1 or mode or segments or against or parquet):
        raise click.UsageError("a camera or stream is watched alone, by sliding windows: without --mode or --against")
    from araflow.cli.console import progress
    from araflow.deploy.runners import open_runner
    from araflow.recognition.prediction import predict as predicting
    from araflow.recognition.prediction import saving
    from araflow.recognition.prediction.video_flow import flow_maker

    start = time.monotonic()
    saving.check(save)
    written.check([] if parquet is None else [parquet])
    runner, other = open_runner(checkpoint, device), None if against is None else open_runner(against, device)
    if watching:
        size, step = (window, stride or window) if window else predicting.moments(runner.spec)
        watch(
            runner,
            videos[0],
            flow_maker(runner.spec, backend),
            window=size,
            stride=step,
            top=top,
            save=save,
            as_json=as_json,
        )
        return
    clips = predicting.list_videos([Path(local(video)) for video in videos])
    films = [path for path in save if path.suffix.lower() in saving.FILMS]
    if films and len(clips) != 1:
        raise SpecError(f"{films[0]}: shows one video, and there are {len(clips):,}; name one, or save a .csv")
    if films and window is None and mode is None:
        window, stride = predicting.moments(runner.spec)
    rows: list[dict[str, Any]] = []
    said: list[Prediction] = []
    failed = same = 0
    with progress() as (on_start, advance):
        predictions = functools.partial(
            predicting.predict, top=top, window=window, stride=stride, mode=mode, segments=segments
        )
        upright = runner.spec.frames.upright if rotation is None else rotation == "apply"
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
            advance(as_record(name, reason))
            failed += found is None
            said += found or []
            rows += (
                [{"video": name, "reason": reason}]
                if found is None
                else [{**one.to_json(), "reason": None} for one in found]
            )
    for path in save:
        if said or path not in films:
            saving.write(path, rows, said, upright=upright)
    if parquet is not None:
        written.write({parquet: files.parquet(predicting.table(rows))})
    if as_json:
        looked = {} if window else {"views": runner.spec.looking(mode, segments).model_dump()}
        content: dict[str, Any] = {"checkpoint": str(checkpoint), **looked, "predictions": rows}
        if warnings := [*(flow.warnings if flow else ()), *(other_flow.warnings if other_flow else ())]:
            content["warnings"] = warnings
        if against is not None:
            content |= {"against": str(against), "same": same}
        echo_json(content)
    else:
        _print(rows)
        for path in (*save, *([parquet] if parquet else [])):
            echo(f"saved: {path}" if said or path not in films else f"not saved, since there is nothing: {path}")
        count = len(rows) - failed
        echo(
            f"{len(clips) - failed} of {counted(len(clips), 'video')}, {counted(count, 'prediction')} in "
            f"{time.monotonic() - start:.1f} s; "
            + (f"windows of {window} frames" if window else _looked(runner.spec, mode, segments))
            + (f", one every {stride}" if window and stride else "")
            + ("" if against is None else f"; same first class as {against} in {same} of {count}")
        )
    if against is not None and same < len(rows) - failed:
        raise AraflowError(f"{checkpoint} and {against} differ in {len(rows) - failed - same} of {len(rows) - failed}")
    sys.exit(INCOMPLETE if failed else 0)


def _looked(spec: ModelSpec, mode: EvaluationMode | None, segments: int | None) -> str:
    """Say by which windows whole videos were looked at, and whose choice that was."""
    told = spec.looking(mode, segments).told()
    if mode is not None:
        return told
    return f"{told}, {'as in its evaluation' if spec.views else 'since it does not say how it was evaluated'}"


def _print(rows: list[dict[str, Any]]) -> None:
    """Print a row per prediction: frames from the first to the last, seconds, and a column per class named."""
    from araflow.core.table import Table

    ranks = [str(rank) for rank in range(1, 1 + max(len(row.get("labels", ("",))) for row in rows))]
    videos = {row["video"] for row in rows}
    alone = len({Path(video).name for video in videos}) == len(videos)  # then a file's name says which one it is
    shown = []
    for row in rows:
        name = Path(row["video"]).name if alone else row["video"]
        line = dict.fromkeys(("video", "frames", "seconds", *ranks), "") | {"video": name}
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
