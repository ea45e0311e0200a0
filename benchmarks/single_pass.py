"""araflow's single pass, run the way the comparison needs it: by the library, without Prefect.

``rgb`` is the one thing that araflow itself does not offer: it always makes flow too. Its row shows the first half of
the pass by itself: araflow's decoder, PNG writer and clip store, on its own worker processes.

Examples:
    python -m benchmarks.single_pass videos/ out/ --algorithm dis-fast
    python -m benchmarks.single_pass videos/ out/ --algorithm rgb --max-frames 16
"""

# Worker processes import this file, so that everything which only the parent needs is imported where it is used.
from __future__ import annotations

import argparse
import multiprocessing.resource_tracker
from pathlib import Path
from typing import Any

SETTINGS: dict[str, dict[str, Any]] = {
    "dis-fast": {"backend": "opencv", "algorithm": "dis", "preset": "fast"},
    "dis-balanced": {"backend": "opencv", "algorithm": "dis", "preset": "balanced"},
    "farneback": {"backend": "opencv", "algorithm": "farneback"},
    "tvl1": {"backend": "numba", "algorithm": "tvl1", "preset": "balanced"},
}
"""The ``optical`` settings of each algorithm, with the backend that ``auto`` takes on a CPU; the rest is default."""


def build(videos: Path, out: Path, algorithm: str, max_frames: int | None, workers: int) -> None:
    """Build a dataset from a folder of videos: frames, flow, records, manifest and contact sheet."""
    from araflow.build.run import build
    from araflow.core import spec_file
    from araflow.report.contact_sheet import write_contact_sheet

    tree = {
        "name": "bench",
        "rgb": {"max_frames": max_frames},
        "optical": SETTINGS[algorithm],
        "run": {"workers": workers},
        "out": str(out),
    }
    manifest = build(spec_file.parse(tree), source=videos)
    write_contact_sheet(manifest)
    made = manifest.outcomes()
    if made["done"] < len(manifest):
        raise SystemExit(f"not every clip could be made: {dict(made)}")


def rgb_only(videos: Path, out: Path, max_frames: int | None, workers: int) -> None:
    """Write the frames of every video as PNG files."""
    from araflow.build.pool import WorkerPool
    from araflow.store.address import open_store
    from benchmarks import single_pass  # workers take functions by module and name, and this module is __main__

    with open_store(out).locked(), WorkerPool(workers) as pool:
        jobs = [(path, out, max_frames) for path in sorted(videos.glob("*/*")) if path.is_file()]
        for future in [pool.submit(single_pass.rgb_clip, job, 600.0) for job in jobs]:
            if not isinstance(future.result(), int):
                raise SystemExit(f"a worker process {future.result()}")


def rgb_clip(job: tuple[Path, Path, int | None]) -> int:
    """Write one video's frames; runs in a worker process, and returns how many they were."""
    from araflow.core.clip import ClipRecord, Outcome
    from araflow.media import video
    from araflow.media.png import PngEncoder
    from araflow.store.address import open_store
    from araflow.store.layout import stem

    source, out, max_frames = job
    key = f"{source.parent.name}/{source.stem}"
    store = open_store(out)
    draft = store.begin()
    info, frames = video.read(source)
    encoder, count = None, 0
    for count, rgb in enumerate(frames, start=1):
        encoder = encoder or PngEncoder(rgb.shape[0], rgb.shape[1])
        draft.write("rgb", stem("card", count - 1, info.header_frames or 0) + ".png", encoder.encode(rgb))
        if count == max_frames:
            break
    store.commit(draft, ClipRecord(key, Outcome.DONE, "complete", frames=count), keep_rgb=False)
    return count


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.partition("Examples:")[0],
        epilog="Examples:" + __doc__.partition("Examples:")[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("videos", type=Path, help="folder of class/clip.ext")
    parser.add_argument("out", type=Path, help="folder to write into")
    parser.add_argument("--algorithm", choices=("rgb", *SETTINGS), default="dis-fast")
    parser.add_argument("--max-frames", type=int, help="frames to take of each clip (default: all)")
    parser.add_argument("--workers", type=int, default=2, help="processes (default: 2)")
    arguments = parser.parse_args()
    if arguments.algorithm == "rgb":
        rgb_only(arguments.videos, arguments.out, arguments.max_frames, arguments.workers)
    else:
        build(arguments.videos, arguments.out, arguments.algorithm, arguments.max_frames, arguments.workers)
    # Python's helper process of spawned children is not waited for before 3.12, and would go uncounted.
    multiprocessing.resource_tracker._resource_tracker._stop()  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
