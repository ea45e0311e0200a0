"""Reading frames back: araflow's PNG reader beside ``cv2.imread``.

Decoded frames are written once by araflow and once by ``cv2.imwrite`` (its defaults), then read in turns, on one
thread, by CPU time. The clips are drawn by the sample dataset: HMDB51's size, rate and codec, no footage. ``--videos``
takes your own. Every frame that is read must equal the decoded one.

Example:
    python -m benchmarks.png_reader --output /dev/shm
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

import cv2
import numpy as np

from araflow.datasets._sample import draw_sample
from araflow.media import png, video
from araflow.media.png_reader import read_png

FRAMES_OF_A_CLIP = 40


def measure(videos: list[Path], folder: Path, rounds: int) -> dict[str, Any]:
    """Write frames into ``folder`` and time reading them.

    Returns:
        ``frames``; ``ms``: median CPU milliseconds per frame by reader and writer; ``ratios`` of OpenCV's to araflow's.
    """
    cv2.setNumThreads(1)
    ours, theirs = [], []
    for clip, source in enumerate(videos):
        encoder = None
        for index, rgb in enumerate(islice(video.read(source)[1], FRAMES_OF_A_CLIP)):
            encoder = encoder or png.PngEncoder(*rgb.shape[:2])
            ours.append(folder / f"{clip}_{index}_araflow.png")
            theirs.append(folder / f"{clip}_{index}_cv2.png")
            ours[-1].write_bytes(encoder.encode(rgb))
            cv2.imwrite(str(theirs[-1]), rgb[..., ::-1])
            for path in (ours[-1], theirs[-1]):
                if not np.array_equal(read_png(path), rgb):
                    raise SystemExit(f"{source}: frame {index} does not come back from {path}")

    readers: dict[str, tuple[Callable[[Any], Any], list[Any]]] = {
        "araflow's reader, araflow's files": (read_png, ours),
        "cv2.imread, araflow's files": (cv2.imread, list(map(str, ours))),
        "cv2.imread, cv2's files": (cv2.imread, list(map(str, theirs))),
        "araflow's reader, cv2's files": (read_png, theirs),
    }
    seconds: dict[str, list[float]] = {name: [] for name in readers}
    for _ in range(rounds):
        for name, (read, paths) in readers.items():
            start = process_time()
            for path in paths:
                read(path)
            seconds[name].append((process_time() - start) / len(paths))
    times = {name: median(values) * 1000 for name, values in seconds.items()}
    best = times["araflow's reader, araflow's files"]
    ratios = {name: value / best for name, value in times.items() if name.startswith("cv2")}
    return {"frames": len(ours), "ms": times, "ratios": ratios}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.partition("Example:")[0],
        epilog="Example:" + __doc__.partition("Example:")[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--videos", type=Path, help="folder of videos (default: drawn clips)")
    parser.add_argument("--output", type=Path, help="folder for the frames, removed again (default: a temporary one)")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.output) as name:
        folder = Path(name)
        if arguments.videos is None:
            draw_sample(folder / "drawn", clips_per_class=1, seconds=(1.5, 1.5))
        videos = sorted(p for p in (arguments.videos or folder / "drawn" / "videos").rglob("*") if p.is_file())
        result = measure(videos, folder, arguments.rounds)
    if arguments.json:
        print(json.dumps(result, indent=2))
        return
    for reader, milliseconds in result["ms"].items():
        ratio = f"  {result['ratios'][reader]:.2f} times araflow's" if reader in result["ratios"] else ""
        print(f"{reader:36} {milliseconds:.3f} ms{ratio}")
    print(f"{result['frames']} frames, CPU time, median of {arguments.rounds} rounds, one thread")


if __name__ == "__main__":
    main()
