"""The floor: what araflow's own kernels cost, each alone, on one thread, with its input in memory.

Their sum is what a single pass would take if opening files, starting processes, keeping records and Python itself cost
nothing. Prints CPU milliseconds per frame as JSON, and the PNG writer beside OpenCV's.

Example:
    python -m benchmarks.kernels videos/ scratch/ --algorithm dis-fast
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from time import process_time
from typing import Any

import cv2
import numpy as np

from araflow import optical
from araflow.build.pool import keep_freed_memory
from araflow.media import png, quantize, video
from benchmarks.single_pass import SETTINGS

BOUND, JPEG = 20.0, (cv2.IMWRITE_JPEG_QUALITY, 95)  # the defaults of araflow's specification


class Stopwatch:
    """CPU seconds per kernel. Results are dropped while the clock runs, so that a kernel finds its memory warm."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def drain(self, name: str, work: Iterable[Any]) -> None:
        """Time an iterator that does the work as it goes."""
        start = process_time()
        deque(work, maxlen=0)
        self.seconds[name] += process_time() - start

    def map(self, name: str, function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
        """Time a function on every item; then, off the clock, return its results."""
        items = list(items)
        self.drain(name, map(function, items))
        return [function(item) for item in items]

    def copies(self, name: str, arrays: Iterator[Any]) -> list[Any]:
        """Time an iterator of arrays and return copies of them: for what takes too long to be done twice."""
        kept = []
        while True:
            start = process_time()
            array = next(arrays, None)
            self.seconds[name] += process_time() - start
            if array is None:
                return kept
            kept.append(array.copy())


def measure(videos: list[Path], scratch: Path, algorithm: str, max_frames: int | None) -> dict[str, Any]:
    """Time every kernel of the pass on every frame.

    Returns:
        ``frames``; ``kernels``: CPU milliseconds per frame by name; and, for ``rgb``, ``png``: milliseconds and bytes
        per frame of araflow's and of OpenCV's encoder.
    """
    cv2.setNumThreads(1)
    keep_freed_memory()  # as in a worker process
    watch, frames = Stopwatch(), 0
    sizes = dict.fromkeys(("ours", "cv2"), 0)
    for source in videos:
        watch.drain("decode", islice(video.read(source)[1], max_frames))
        rgb = [frame.copy() for frame in islice(video.read(source)[1], max_frames)]
        frames += len(rgb)
        pngs = watch.map("png", png.PngEncoder(rgb[0].shape[0], rgb[0].shape[1]).encode, rgb)
        _time_writing(watch, "png files", pngs, scratch)
        if algorithm != "rgb":
            _time_writing(watch, "jpeg files", _flow_kernels(watch, rgb, algorithm), scratch)
            continue
        bgr = [cv2.cvtColor(frame, cv2.COLOR_RGB2BGR) for frame in rgb]
        theirs = watch.map("cv2 png", lambda image: cv2.imencode(".png", image)[1], bgr)
        sizes["ours"] += sum(map(len, pngs))
        sizes["cv2"] += sum(map(len, theirs))
        for frame, ours in zip(rgb, pngs, strict=True):
            if not np.array_equal(cv2.imdecode(np.frombuffer(ours, np.uint8), cv2.IMREAD_COLOR_RGB), frame):
                raise SystemExit(f"{source}: a PNG does not decode to the frame it was made of")

    kernels = {name: seconds / frames * 1000 for name, seconds in watch.seconds.items()}
    writers = {"ours": kernels["png"], "cv2": kernels.pop("cv2 png", 0.0)}
    written = {name: {"ms": writers[name], "bytes": sizes[name] / frames} for name in writers}
    return {"frames": frames, "kernels": kernels, "png": written if algorithm == "rgb" else None}


def _flow_kernels(watch: Stopwatch, rgb: list[Any], algorithm: str) -> list[bytes]:
    """Gray, optical flow, quantising and JPEG; returns the JPEG files' bytes."""
    grays = watch.map("gray", lambda frame: cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), rgb)
    settings = SETTINGS[algorithm]
    compute = optical.load(settings["backend"]).compute
    how = settings["algorithm"], settings.get("preset", "balanced")
    next(iter(compute(grays[:2], *how)))  # what is loaded or compiled first is a start, not a kernel
    flows = watch.copies("flow", compute(grays, *how))
    planes = watch.map("quantise", lambda flow: quantize.quantize(flow, "bound", BOUND)[:2], flows)
    images = [plane for pair in planes for plane in pair]
    return watch.map("jpeg", lambda image: cv2.imencode(".jpg", image, JPEG)[1].tobytes(), images)


def _time_writing(watch: Stopwatch, name: str, files: list[bytes], scratch: Path) -> None:
    scratch.mkdir()

    def write(index: int) -> None:
        descriptor = os.open(f"{scratch}/{index:05d}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        os.write(descriptor, files[index])
        os.close(descriptor)

    watch.drain(name, map(write, range(len(files))))
    shutil.rmtree(scratch)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.partition("Example:")[0],
        epilog="Example:" + __doc__.partition("Example:")[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("videos", type=Path, help="folder of class/clip.ext")
    parser.add_argument("scratch", type=Path, help="folder to write into and remove again; must not exist")
    parser.add_argument("--algorithm", choices=("rgb", *SETTINGS), default="dis-fast")
    parser.add_argument("--max-frames", type=int, help="frames to take of each clip (default: all)")
    arguments = parser.parse_args()
    videos = sorted(path for path in arguments.videos.glob("*/*") if path.is_file())
    print(json.dumps(measure(videos, arguments.scratch, arguments.algorithm, arguments.max_frames)))


if __name__ == "__main__":
    main()
