"""The drawn sample: an HMDB51 look-alike made by our own code, as files. It is drawn, not footage.

Names, folders and split lists follow HMDB51's grammar to the byte, and the clips are encoded as most of HMDB51 is
(MPEG-4 part 2 with B-frames in AVI), so the whole pipeline can run on them without a download.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import av

from araflow.datasets.drawing import CLASSES, Shot, plan_shot, random_of, render
from araflow.errors import SpecError

TITLES = {
    "walk": ("Drawn_Harbour_Morning", "Drawn_Hide_&_Seek", "-_Drawn_Short_-_Pilot", "Drawn_Old_Town"),
    "ride_bike": ("Drawn_#1_Courier", "Drawn_Harbour_Morning", "Drawn_Summer_Tour", "Drawn_Green_Valley"),
    "run": ("Drawn_Run!_(Part_2)", "Drawn_Chase_at_Dusk", "Drawn_Old_Town", "Drawn_Last_Bus"),
    "fall_floor": ("Drawn_Slippery!", "Drawn_The_Gym", "Drawn_Winter_(1962)", "Drawn_Last_Bus"),
    "push": ("Drawn_Moving_Day", "Drawn_Warehouse_7", "Drawn_The_Gym", "Drawn_Push_&_Pull"),
}
"""Source titles per class. Some serve two classes and some have odd characters: HMDB51 has both."""

BIT_RATE = {"bad": 450_000, "med": 700_000, "goo": 1_000_000}
"""Bits per second per quality at 320x240 and 30 fps; HMDB51's average is about 800 000."""


def draw_sample(
    folder: Path,
    *,
    clips_per_class: int = 8,
    sources_per_class: int = 4,
    width: int = 320,
    height: int = 240,
    seed: int = 0,
    seconds: tuple[float, float] = (1.0, 3.0),
    fps: int = 30,
    classes: Sequence[str] = CLASSES,
    on_clip: Callable[[Path], None] | None = None,
) -> None:
    """Draw an HMDB51 look-alike: ``folder/videos/<class>/*.avi`` and ``folder/splits/<class>_test_split<k>.txt``.

    The same arguments give the same bytes on the same machine. A clip that is already there is kept, so an
    interrupted call can be repeated.

    Args:
        folder: Where to write; made if absent.
        clips_per_class: Clips of each class.
        sources_per_class: Titles that the clips of a class are spread over.
        width: Frame width in pixels.
        height: Frame height in pixels.
        seed: Another seed draws other clips.
        seconds: Shortest and longest clip, in seconds.
        fps: Frames per second.
        classes: Which of ``CLASSES`` to draw.
        on_clip: Called with the path of each clip once it is there, drawn now or kept.

    Raises:
        SpecError: An argument is out of range.
    """
    for name, value, least in (
        ("clips_per_class", clips_per_class, 1),
        ("sources_per_class", sources_per_class, 1),
        ("width", width, 64),
        ("height", height, 64),
        ("fps", fps, 1),
    ):
        if value < least:
            raise SpecError(f"{name} is {value}; the drawn sample needs at least {least}")
    if not 0 < seconds[0] <= seconds[1]:
        raise SpecError(f"seconds is {seconds}; give the shortest and the longest clip, both above 0")
    if unknown := sorted(set(classes) - set(CLASSES)):
        raise SpecError(f"classes has {unknown}; the drawn sample knows {list(CLASSES)}")

    splits = folder / "splits"
    splits.mkdir(parents=True, exist_ok=True)
    for label in classes:
        videos = folder / "videos" / label
        videos.mkdir(parents=True, exist_ok=True)
        titles = [title_of(label, number) for number in range(min(sources_per_class, clips_per_class))]
        names: list[list[str]] = []  # per title, its clips in order
        for source, title in enumerate(titles):  # title by title, so that its background is painted once
            names.append([])
            for number in range(source, clips_per_class, sources_per_class):
                shot = plan_shot(label, title, number, seed=seed, width=width, height=height, fps=fps, seconds=seconds)
                names[-1].append(f"{title}_{label}_{shot.attributes}_{number // sources_per_class}.avi")
                path = videos / names[-1][-1]
                if not path.exists():
                    encode(shot, path)
                if on_clip is not None:
                    on_clip(path)
        for fold in (1, 2, 3):
            text = split_text(names, fold, order=random_of(seed, label, "split").permutation(len(titles)).tolist())
            _replace(splits / f"{label}_test_split{fold}.txt", text.encode())


def title_of(label: str, source: int) -> str:
    """Return the title of source ``source`` (from 0) of a class; there is no end of them."""
    titles = TITLES[label]
    return titles[source] if source < len(titles) else f"Drawn_Reel_{CLASSES.index(label) + 1}{source:03d}"


def split_text(names: Sequence[Sequence[str]], fold: int, *, order: Sequence[int]) -> str:
    """Return one split list in HMDB51's format: every clip with 0 (unused), 1 (train) or 2 (test).

    About 30 % of the titles test, all clips of a title fall on one side, and the folds test different titles as far as
    there are enough of them. From 8 clips on, about a fifth is unused, but never a title's first clip.

    Args:
        names: File names, per title.
        fold: 1, 2 or 3.
        order: Order in which the titles take their turn at testing.
    """
    count = len(names)
    held_out = round(0.3 * count) or int(count > 1)
    testing = {order[((fold - 1) * held_out + turn) % count] for turn in range(held_out)}
    spare = sum(map(len, names)) >= 8
    lines = []
    for source, clips in enumerate(names):
        for index, name in enumerate(clips):
            unused = spare and index > 0 and (source + index + fold) % 5 == 0
            lines.append(f"{name} {0 if unused else 2 if source in testing else 1} \n")
    return "".join(sorted(lines, key=str.encode))


def encode(shot: Shot, path: Path) -> None:
    """Draw a clip and write it as MPEG-4 part 2 in AVI; the file appears under its name only when whole."""
    partial = _partial(path)
    try:
        # Bit-exact: no library versions or dates in the file. One thread: the slices would differ with their number.
        with av.open(str(partial), "w", format="avi", options={"fflags": "+bitexact"}) as container:
            stream = container.add_stream("mpeg4", rate=shot.fps, options={"flags": "+bitexact"})
            stream.width, stream.height, stream.pix_fmt = shot.width, shot.height, "yuv420p"
            stream.bit_rate = int(BIT_RATE[shot.quality] * shot.width * shot.height / (320 * 240) * shot.fps / 30)
            stream.codec_context.thread_count = 1
            stream.codec_context.max_b_frames = 1
            stream.codec_context.codec_tag = "DX50"
            for image in render(shot):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _replace(path: Path, content: bytes) -> None:
    partial = _partial(path)
    partial.write_bytes(content)
    partial.replace(path)


def _partial(path: Path) -> Path:
    """Return a temporary name beside ``path`` that no other process uses and no ``*.avi`` pattern finds."""
    return path.with_name(f".{path.name}.{os.getpid()}.partial")
