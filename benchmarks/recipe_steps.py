"""The steps of NVIDIA's ActionRecognitionNet recipe (``tao_toolkit_recipes``), with code of our own, as a yardstick.

For each clip, one Python process after the other, as the recipe's shell script starts them:

1. ``frames`` (its ``convert_dataset.py``): ``cv2.VideoCapture``, then ``cv2.imwrite`` of PNG files numbered from 1.
2. ``flow``: a Middlebury ``.flo`` file per pair of frames. The recipe calls NVIDIA's ``AppOFCuda``, which needs the
   optical-flow engine of a GPU; OpenCV on the CPU stands in for it here.
3. ``images`` (its ``convert_of.py``): ``.flo`` files to JPEG of quality 95, each scaled by its own fastest pixel
   (``max_radius`` in ``araflow.media.quantize``).

Then the ``.flo`` files are deleted. The recipe does four clips at a time, this does two.

Example:
    python -m benchmarks.recipe_steps videos/ out/ --algorithm dis-fast
"""

from __future__ import annotations

import shutil
import struct
import subprocess
import sys
from functools import partial
from multiprocessing.pool import ThreadPool
from pathlib import Path

import cv2
import numpy as np

from benchmarks.naive import arguments, flow_function, folder_of

_TAG = b"PIEH"


def frames(video: Path, folder: Path, max_frames: int | None) -> None:
    """Step 1."""
    capture = cv2.VideoCapture(str(video))
    number = 0
    while max_frames is None or number < max_frames:
        ok, image = capture.read()
        if not ok:
            break
        number += 1
        cv2.imwrite(str(folder / "rgb" / f"{number:06d}.png"), image)
    capture.release()


def flow(folder: Path, algorithm: str) -> None:
    """Step 2."""
    flow_of = flow_function(algorithm)
    previous = None
    for path in sorted((folder / "rgb").iterdir()):
        gray = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2GRAY)
        if previous is not None:
            field = flow_of(previous, gray)
            header = _TAG + struct.pack("<II", gray.shape[1], gray.shape[0])
            (folder / "of" / f"{path.stem}.flo").write_bytes(header + field.astype("<f4").tobytes())
        previous = gray


def images(folder: Path) -> None:
    """Step 3."""
    for number, path in enumerate(sorted((folder / "of").iterdir()), start=1):
        content = path.read_bytes()
        width, height = struct.unpack("<II", content[4:12])
        field = np.frombuffer(content, "<f4", offset=12).reshape(height, width, 2)
        radius = max(1.0, np.sqrt((field**2).sum(axis=2)).max())
        scaled = (field / radius * 127.999 + 128).astype(np.uint8)
        for kind, plane in (("u", scaled[..., 0]), ("v", scaled[..., 1])):
            cv2.imwrite(str(folder / kind / f"{number:06d}.jpg"), plane, [cv2.IMWRITE_JPEG_QUALITY, 95])


def make_clip(video: Path, out: Path, algorithm: str, max_frames: int | None) -> None:
    """Start the steps of one clip."""
    folder = folder_of(video, out)
    step = partial(subprocess.run, check=True)
    program = [sys.executable, "-m", "benchmarks.recipe_steps", "--step"]
    step([*program, "frames", str(video), str(folder), str(max_frames or 0)])
    if algorithm == "rgb":
        return
    (folder / "of").mkdir()
    step([*program, "flow", str(folder), algorithm])
    step([*program, "images", str(folder)])
    shutil.rmtree(folder / "of")


def main() -> None:
    if sys.argv[1:2] == ["--step"]:
        name, *rest = sys.argv[2:]
        if name == "frames":
            frames(Path(rest[0]), Path(rest[1]), int(rest[2]) or None)
        elif name == "flow":
            flow(Path(rest[0]), rest[1])
        else:
            images(Path(rest[0]))
        return
    given = arguments(__doc__)
    work = partial(make_clip, out=given.out, algorithm=given.algorithm, max_frames=given.max_frames)
    with ThreadPool(given.workers) as threads:
        threads.map(work, given.clips, chunksize=1)


if __name__ == "__main__":
    main()
