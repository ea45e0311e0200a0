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
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from time import process_time
from typing import Any

import cv2
import numpy as np

from araflow import optical, png, quantize, video
from benchmarks.single_pass import SETTINGS

BOUND, JPEG = 20.0, (cv2.IMWRITE_JPEG_QUALITY, 95)
RGB_KERNELS = ("decode", "png", "png files")
"""The kernels that a pass without optical flow runs."""


class Stopwatch:
    """CPU seconds per kernel. Only the kernel's own calls are timed; what it returns is copied outside of them.

    The copies are kept and the originals freed, so that a kernel finds its memory warm, as it does in the pass.
    """

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def pull(self, name: str, results: Iterator[Any], most: int | None = None) -> list[Any]:
        """Time a generator; return copies of what it yields, at most ``most``."""
        kept: list[Any] = []
        while most is None or len(kept) < most:
            start = process_time()
            result = next(results, None)
            self.seconds[name] += process_time() - start
            if result is None:
                break
            kept.append(_copy(result))
        return kept

    def map(self, name: str, function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
        """Time a function on every item; return copies of its results."""
        kept = []
        for item in items:
            start = process_time()
            result = function(item)
            self.seconds[name] += process_time() - start
            kept.append(_copy(result))
        return kept


def measure(videos: list[Path], scratch: Path, algorithm: str, max_frames: int | None) -> dict[str, Any]:
    """Time every kernel of the pass on every frame.

    Returns:
        ``frames``; ``kernels``: CPU milliseconds per frame by name; and ``png``: milliseconds and bytes per frame of
        araflow's and of OpenCV's encoder.
    """
    cv2.setNumThreads(1)
    watch, frames = Stopwatch(), 0
    sizes = dict.fromkeys(("ours", "cv2"), 0)
    for source in videos:
        rgb = watch.pull("decode", video.read(source)[1], max_frames)
        frames += len(rgb)
        encoder = png.PngEncoder(rgb[0].shape[0], rgb[0].shape[1])
        pngs = watch.map("png", encoder.encode, rgb)
        jpegs = [] if algorithm == "rgb" else _flow_kernels(watch, rgb, algorithm)
        for name, files in (("png files", pngs), ("jpeg files", jpegs)):
            _time_writing(watch, name, files, scratch)

        bgr = [cv2.cvtColor(frame, cv2.COLOR_RGB2BGR) for frame in rgb]
        theirs = watch.map("cv2 png", lambda image: cv2.imencode(".png", image)[1], bgr)
        sizes["ours"] += sum(map(len, pngs))
        sizes["cv2"] += sum(map(len, theirs))
        for frame, ours in zip(rgb, pngs, strict=True):
            if not np.array_equal(cv2.imdecode(np.frombuffer(ours, np.uint8), cv2.IMREAD_COLOR_RGB), frame):
                raise SystemExit(f"{source}: a PNG does not decode to the frame it was made of")

    kernels = {name: seconds / frames * 1000 for name, seconds in watch.seconds.items()}
    writers = {"ours": kernels["png"], "cv2": kernels.pop("cv2 png")}
    return {
        "frames": frames,
        "kernels": kernels,
        "png": {name: {"ms": writers[name], "bytes": sizes[name] / frames} for name in writers},
    }


def _flow_kernels(watch: Stopwatch, rgb: list[Any], algorithm: str) -> list[bytes]:
    """Gray, optical flow, quantising and JPEG; returns the JPEG files' bytes."""
    grays = watch.map("gray", lambda frame: cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), rgb)
    settings = SETTINGS[algorithm]
    compute = optical.load("opencv").compute
    flows = watch.pull("flow", iter(compute(grays, settings["algorithm"], settings.get("preset", "fast"))))
    planes = watch.map("quantise", lambda flow: quantize.quantize(flow, "bound", BOUND)[:2], flows)
    images = [plane for pair in planes for plane in pair]
    return watch.map("jpeg", lambda image: cv2.imencode(".jpg", image, JPEG)[1].tobytes(), images)


def _time_writing(watch: Stopwatch, name: str, files: list[bytes], scratch: Path) -> None:
    scratch.mkdir()

    def write(numbered: tuple[int, bytes]) -> None:
        descriptor = os.open(f"{scratch}/{numbered[0]:05d}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        os.write(descriptor, numbered[1])
        os.close(descriptor)

    watch.map(name, write, enumerate(files))
    shutil.rmtree(scratch)


def _copy(result: Any) -> Any:  # noqa: ANN401 - whatever a kernel returns
    if isinstance(result, np.ndarray):
        return result.copy()
    if isinstance(result, tuple):
        return tuple(_copy(item) for item in result)
    return bytes(memoryview(result)) if isinstance(result, bytes) else result


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
