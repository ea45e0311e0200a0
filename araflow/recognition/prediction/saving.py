"""What a recogniser says of videos as files: a table, subtitles, or the film with its labels in the picture."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from araflow.core import files, written
from araflow.core.errors import SpecError
from araflow.core.screen import visible
from araflow.media import mp4, video
from araflow.media.video import RgbFrame
from araflow.recognition.prediction._lettering import Lettering
from araflow.recognition.prediction.predict import Prediction, table

TABLES = (".csv", ".parquet")
FILMS = (".srt", ".mp4")
"""Of one video, and of moments in it rather than of the whole."""
_FPS = 25.0
"""Of a film whose source states no frame rate, such as a folder of frames."""


def check(paths: Sequence[Path]) -> None:
    """Make sure, before any work, that files may be written and are of a kind that can be.

    Raises:
        SpecError: Another ending.
        OutputError: Something else is there.
    """
    for path in paths:
        if path.suffix.lower() not in (*TABLES, *FILMS):
            raise SpecError(f"{path}: files may end in {', '.join((*TABLES, *FILMS))}")
    written.check(paths)


def write(path: Path, rows: Sequence[Mapping[str, Any]], found: Sequence[Prediction], *, upright: bool = True) -> None:
    """Write what was found, in the format that the file's ending names.

    Args:
        path: One of those that ``check`` takes.
        rows: All predictions and failures; see ``predict.table``.
        found: Of ``FILMS``: the predictions of one video file or folder of frames, in order; at least one.
        upright: As of ``video.read``.

    Raises:
        SpecError: Subtitles are asked for of what states no frame rate.
        OutputError: It cannot be written.
        UnavailableError: What writes it is not here.
    """
    kind = path.suffix.lower()
    if kind == ".mp4":
        _film(path, found, upright)
        return
    made: dict[str, Callable[[], bytes]] = {
        ".csv": lambda: as_csv(rows).encode(),
        ".parquet": lambda: files.parquet(table([dict(row) for row in rows])),
        ".srt": lambda: subtitles(found).encode(),
    }
    written.write({path: made[kind]()})


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows with a header, as RFC 4180 has it; beside the first class, ``label``, is ``label_2`` and so on."""
    most = max((len(row.get("labels") or ()) for row in rows), default=1)
    ranks = ["", *(f"_{rank}" for rank in range(2, most + 1))]
    plain = ("video", "start_frame", "end_frame", "start_seconds", "end_seconds", "windows")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow([*plain, *(f"{name}{rank}" for rank in ranks for name in ("label", "probability")), "reason"])
    for row in rows:
        pairs = list(zip(row.get("labels") or (), row.get("probabilities") or (), strict=True))
        cells = [cell for pair in [*pairs, *[("", "")] * (len(ranks) - len(pairs))] for cell in pair]
        writer.writerow([*(row.get(name) for name in plain), *cells, row.get("reason")])
    return text.getvalue()


def turns(found: Sequence[Prediction]) -> list[int]:
    """Return the frame from which on each prediction is the nearest: halfway between two windows' middles.

    Args:
        found: Of windows in order.
    """
    middles = [(one.start_frame + one.end_frame) / 2 for one in found]
    return [found[0].start_frame, *(round(sum(pair) / 2) for pair in itertools.pairwise(middles))]


def subtitles(found: Sequence[Prediction]) -> str:
    """Return predictions as a SubRip file: each shown while it is the nearest.

    Raises:
        SpecError: The video states no frame rate.
    """
    starts = [*turns(found), found[-1].end_frame]
    if found[0].start_seconds is None or not found[-1].end_seconds:
        raise SpecError(f"{found[0].video}: states no frame rate, which subtitles need")
    fps = found[-1].end_frame / found[-1].end_seconds
    parts = [
        f"{number}\n{_clock(start / fps)} --> {_clock(end / fps)}\n{said(one)}\n"
        for number, (one, start, end) in enumerate(zip(found, starts, starts[1:], strict=False), start=1)
    ]
    return "\n".join(parts)


def said(one: Prediction) -> str:
    """Return a prediction's first class and how sure it is, as in ``walk 83 %``."""
    return f"{visible(one.labels[0])} {100 * one.probabilities[0]:.0f} %"


@contextlib.contextmanager
def labelled(path: Path, fps: float | None, labels: Sequence[str]) -> Iterator[Callable[[RgbFrame, str], None]]:
    """Write a film with a line of text in each of its pictures; whole or not at all, and without sound.

    Args:
        path: The file.
        fps: Frames per second; ``None``: 25.
        labels: The classes that the lines name.

    Yields:
        A function that takes the next frame and its line.

    Raises:
        OutputError: It cannot be written.
        UnavailableError: A name has letters beyond ASCII, and matplotlib, which draws them, is not installed.
    """
    lettering = Lettering(labels)
    with mp4.film(path, fps or _FPS) as add:
        yield lambda frame, text: add(lettering.over(frame, text))


def _film(path: Path, found: Sequence[Prediction], upright: bool) -> None:
    info, frames = video.read(Path(found[0].video), upright=upright)
    starts = turns(found)
    labels = [one.labels[0] for one in found]
    current = 0
    seconds = found[0].end_seconds
    # A recogniser that takes an even rate counts frames by that one.
    taken = found[0].end_frame / seconds / info.fps if seconds and info.fps else 1.0
    with contextlib.closing(frames), labelled(path, info.fps, labels) as add:
        for place, frame in enumerate(frames):
            while current + 1 < len(found) and starts[current + 1] <= place * taken:
                current += 1
            add(frame, said(found[current]))


def _clock(seconds: float) -> str:
    milliseconds = round(1000 * seconds)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02},{rest % 1000:03}"
