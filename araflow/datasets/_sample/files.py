"""The sample as files: names, folders and split lists follow HMDB51's grammar to the byte.

The clips are encoded as most of HMDB51 is (MPEG-4 part 2 with B-frames in AVI), so that everything which reads HMDB51
can be tried without a download.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import av

from araflow.core.files import draft
from araflow.datasets._sample.look import random_of
from araflow.datasets._sample.shots import FPS, Shot, plan_shot, render

CLASSES = ("walk", "ride_bike", "run", "fall_floor", "push")
"""Those of HMDB5."""
# Source titles per class. Some serve two classes and some have odd characters: HMDB51 has both.
TITLES = {
    "walk": ("Drawn_Harbour_Morning", "Drawn_Hide_&_Seek", "-_Drawn_Short_-_Pilot", "Drawn_Old_Town"),
    "ride_bike": ("Drawn_#1_Courier", "Drawn_Harbour_Morning", "Drawn_Summer_Tour", "Drawn_Green_Valley"),
    "run": ("Drawn_Run!_(Part_2)", "Drawn_Chase_at_Dusk", "Drawn_Old_Town", "Drawn_Last_Bus"),
    "fall_floor": ("Drawn_Slippery!", "Drawn_The_Gym", "Drawn_Winter_(1962)", "Drawn_Last_Bus"),
    "push": ("Drawn_Moving_Day", "Drawn_Warehouse_7", "Drawn_The_Gym", "Drawn_Push_&_Pull"),
}
# Bits per second per quality at 320x240; HMDB51's average is about 800 000.
BIT_RATE = {"bad": 450_000, "med": 700_000, "goo": 1_000_000}


def draw_sample(
    folder: Path,
    *,
    clips_per_class: int = 8,
    sources_per_class: int = 4,
    width: int = 320,
    height: int = 240,
    seed: int = 0,
    seconds: tuple[float, float] = (1.0, 3.0),
    classes: Sequence[str] = CLASSES,
) -> None:
    """Draw an HMDB51 look-alike: ``folder/videos/<class>/*.avi`` and ``folder/splits/<class>_test_split<k>.txt``.

    The same arguments give the same bytes on the same machine. A clip that is already there is kept, so an
    interrupted call can be repeated; take another folder for other arguments.

    Args:
        folder: Where to write; made if absent.
        clips_per_class: Clips of each class.
        sources_per_class: Titles that the clips of a class are spread over.
        width: Frame width in pixels, at least 64.
        height: Frame height in pixels, at least 64.
        seed: Another seed draws other clips.
        seconds: Shortest and longest clip, in seconds.
        classes: Which classes to draw.
    """
    splits = folder / "splits"
    splits.mkdir(parents=True, exist_ok=True)
    for label in classes:
        videos = folder / "videos" / label
        videos.mkdir(parents=True, exist_ok=True)
        names: list[list[str]] = []  # per title, its clips in order
        for source in range(min(sources_per_class, clips_per_class)):  # title by title: its backdrop is painted once
            title = title_of(label, source)
            names.append([])
            for number in range(source, clips_per_class, sources_per_class):
                shot = plan_shot(label, title, number, seed=seed, width=width, height=height, seconds=seconds)
                names[-1].append(f"{title}_{label}_{shot.attributes}_{number // sources_per_class}.avi")
                path = videos / names[-1][-1]
                if not path.exists():
                    with draft(path) as partial:
                        encode(shot, partial)
        order = random_of(seed, label, "split").permutation(len(names)).tolist()
        for fold in (1, 2, 3):
            with draft(splits / f"{label}_test_split{fold}.txt") as partial:
                partial.write_bytes(split_text(names, fold, order=order).encode())


def title_of(label: str, source: int) -> str:
    """Return the title of source ``source`` (from 0) of a class; there is no end of them.

    Beyond the named ones each title serves all classes, so that its look says nothing about the action.
    """
    titles = TITLES[label]
    return titles[source] if source < len(titles) else f"Drawn_Reel_{source:03d}"


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
    """Draw a clip and write it as MPEG-4 part 2 in AVI."""
    # Bit-exact: no library versions or dates in the file. One thread: the slices would differ with their number.
    with av.open(str(path), "w", format="avi", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("mpeg4", rate=FPS, options={"flags": "+bitexact"})
        stream.width, stream.height, stream.pix_fmt = shot.width, shot.height, "yuv420p"
        stream.bit_rate = int(BIT_RATE[shot.quality] * shot.width * shot.height / (320 * 240))
        stream.codec_context.thread_count = 1
        stream.codec_context.max_b_frames = 1
        stream.codec_context.codec_tag = "DX50"
        for image in render(shot):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
