"""The script most people write for this job, as a yardstick: OpenCV alone, one step after the other.

Frames are read with ``cv2.VideoCapture`` and written as PNG; the PNG files are read back for the optical flow, which
NumPy scales to 8 bits and ``cv2.imwrite`` stores as JPEG. OpenCV's threads are left at their default, and nothing is
checked. It makes the same frames as araflow.

Examples:
    python -m benchmarks.naive videos/ out/ --algorithm dis-fast
    python -m benchmarks.naive videos/ out/ --algorithm rgb --max-frames 16
"""

from __future__ import annotations

import argparse
import multiprocessing
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

BOUND = 20.0
"""Pixels per frame that become 0 and 255."""


def flow_function(algorithm: str) -> Callable[[Any, Any], Any]:
    """Return what computes the flow of two gray frames, with OpenCV's own presets and defaults."""
    if algorithm.startswith("dis-"):
        presets = {"dis-fast": cv2.DISOPTICAL_FLOW_PRESET_FAST, "dis-balanced": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM}
        dis = cv2.DISOpticalFlow.create(presets[algorithm])
        return lambda a, b: dis.calc(a, b, None)
    if algorithm == "farneback":
        return lambda a, b: cv2.calcOpticalFlowFarneback(a, b, None, 0.5, 3, 15, 3, 5, 1.2, 0)
    tvl1 = cv2.optflow.DualTVL1OpticalFlow.create()
    return lambda a, b: tvl1.calc(a, b, None)


def folder_of(video: Path, out: Path) -> Path:
    """Make the folders of a clip."""
    folder = out / video.parent.name / video.stem
    for kind in ("rgb", "u", "v"):
        (folder / kind).mkdir(parents=True)
    return folder


def make_clip(video: Path, out: Path, algorithm: str, max_frames: int | None) -> None:
    """Make one clip's frames and flow."""
    folder = folder_of(video, out)
    capture = cv2.VideoCapture(str(video))
    count = 0
    while max_frames is None or count < max_frames:
        ok, image = capture.read()
        if not ok:
            break
        cv2.imwrite(str(folder / "rgb" / f"{count:04d}.png"), image)
        count += 1
    capture.release()
    if algorithm != "rgb":
        make_flow(folder, count, algorithm)


def make_flow(folder: Path, count: int, algorithm: str) -> None:
    """Make one clip's u and v images from its frames."""
    flow_of = flow_function(algorithm)
    previous = None
    for index in range(count):
        image = cv2.imread(str(folder / "rgb" / f"{index:04d}.png"))
        gray = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        if previous is not None:
            flow = flow_of(previous, gray)
            scaled = np.clip(np.round((flow + BOUND) * (255.0 / (2.0 * BOUND))), 0, 255).astype(np.uint8)
            for kind, plane in (("u", scaled[..., 0]), ("v", scaled[..., 1])):
                cv2.imwrite(str(folder / kind / f"{index - 1:04d}.jpg"), plane, [cv2.IMWRITE_JPEG_QUALITY, 95])
        previous = gray


def arguments(text: str | None) -> argparse.Namespace:
    """Read the command line that the scripts have in common; ``clips`` are the videos, sorted."""
    what, _, examples = (text or "").partition("Example")
    parser = argparse.ArgumentParser(
        description=what, epilog="Example" + examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("videos", type=Path, help="folder of class/clip.ext")
    parser.add_argument("out", type=Path, help="folder to write into; must not exist")
    parser.add_argument(
        "--algorithm", choices=("rgb", "dis-fast", "dis-balanced", "farneback", "tvl1"), default="dis-fast"
    )
    parser.add_argument("--max-frames", type=int, help="frames to take of each clip (default: all)")
    parser.add_argument("--workers", type=int, default=2, help="processes (default: 2)")
    given = parser.parse_args()
    given.clips = sorted(path for path in given.videos.glob("*/*") if path.is_file())
    return given


def main() -> None:
    given = arguments(__doc__)
    work = partial(make_clip, out=given.out, algorithm=given.algorithm, max_frames=given.max_frames)
    with multiprocessing.Pool(given.workers) as pool:
        for _ in pool.imap_unordered(work, given.clips):
            pass
        pool.close()
        pool.join()


if __name__ == "__main__":
    main()
