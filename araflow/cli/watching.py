"""``araflow predict`` on a camera or a stream: an answer per window, as it comes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from araflow.cli.console import logged
from araflow.core.addresses import masked
from araflow.core.screen import echo, echo_json
from araflow.core.words import counted

if TYPE_CHECKING:
    from araflow.media.video import Frames
    from araflow.recognition.prediction.predict import Prediction
    from araflow.recognition.prediction.runners import Runner
    from araflow.recognition.prediction.video_flow import FlowMaker


def watch(
    runner: Runner,
    source: str,
    flow: FlowMaker | None,
    *,
    window: int,
    stride: int,
    top: int,
    save: Sequence[Path],
    as_json: bool,
) -> None:
    """Say what a recogniser says of a stream; Ctrl-C ends it, and what is to be saved is then written.

    Args:
        runner: The recogniser.
        source: What ``live.is_live`` takes.
        flow: What ``flow_maker`` returned.
        window: Frames.
        stride: Frames.
        top: Classes to name.
        save: Files for ``saving``; in the picture stands what was said last.
        as_json: An object per line instead of text.
    """
    from araflow.media import live
    from araflow.recognition.prediction import saving
    from araflow.recognition.prediction.predict import watched

    start, count, last = time.monotonic(), 0, ""
    found: list[Prediction] = []
    tables = [path for path in save if path.suffix.lower() != ".mp4"]
    with logged(), contextlib.ExitStack() as stack:
        info, frames = live.read(source)
        films = [
            stack.enter_context(saving.labelled(path, info.fps, runner.spec.labels))
            for path in save
            if path not in tables
        ]

        def shown() -> Frames:
            for frame in frames:
                for add in films:
                    add(frame, last)
                yield frame

        name = masked(source)
        with contextlib.suppress(KeyboardInterrupt), contextlib.closing(frames):
            for one in watched(runner, name, info, shown(), top=top, window=window, stride=stride, flow=flow):
                count += 1
                last = saving.said(one)
                found += [one] if tables else []  # a camera may run for weeks
                if as_json:
                    echo_json(one.to_json(), indent=None)
                else:
                    echo(_line(one))
    rows: list[dict[str, Any]] = [{**one.to_json(), "reason": None} for one in found]
    for path in tables:
        if found or path.suffix.lower() in saving.TABLES:
            saving.write(path, rows, found)
    if not as_json:
        for path in save:
            echo(f"saved: {path}")
        said = f"{counted(count, 'prediction')} in {time.monotonic() - start:.1f} s"
        echo(f"{source}: {said}; windows of {window} frames, one every {stride}")


def _line(one: Prediction) -> str:
    when = (
        f"frame {one.start_frame}" if one.start_seconds is None else f"{one.start_seconds:7.1f}–{one.end_seconds:.1f} s"
    )
    pairs = zip(one.labels, one.probabilities, strict=True)
    return "  ".join([when, *(f"{label} {100 * share:.1f} %" for label, share in pairs)])
