"""ffmpeg's command for the frames, then a script for the flow, as a yardstick.

First ``ffmpeg clip.avi rgb/%04d.png`` for every clip, two at a time, each with its own defaults; then two Python
processes read the PNG files and do as the second half of ``naive.py`` does. Needs the ``ffmpeg`` command.

Example:
    python -m benchmarks.ffmpeg_script videos/ out/ --algorithm dis-fast
"""

from __future__ import annotations

import multiprocessing
import shutil
import subprocess
from functools import partial
from multiprocessing.pool import ThreadPool
from pathlib import Path

from benchmarks.naive import arguments, folder_of, make_flow


def unavailable() -> str | None:
    """Say why it cannot run here, or ``None``."""
    return None if shutil.which("ffmpeg") else "no ffmpeg command here"


def extract(video: Path, out: Path, max_frames: int | None) -> None:
    """Write one clip's frames."""
    folder = folder_of(video, out)
    # Without passthrough, frames are dropped and doubled to make the rate even: another clip than everybody else's.
    command = ["ffmpeg", "-nostdin", "-loglevel", "error", "-i", str(video), "-fps_mode", "passthrough"]
    if max_frames is not None:
        command += ["-frames:v", str(max_frames)]
    subprocess.run([*command, "-start_number", "0", str(folder / "rgb" / "%04d.png")], check=True)


def flow(video: Path, out: Path, algorithm: str) -> None:
    """Write one clip's u and v images from its frames."""
    folder = out / video.parent.name / video.stem
    make_flow(folder, sum(1 for _ in (folder / "rgb").iterdir()), algorithm)


def main() -> None:
    given = arguments(__doc__)
    with ThreadPool(given.workers) as threads:
        threads.map(partial(extract, out=given.out, max_frames=given.max_frames), given.clips, chunksize=1)
    if given.algorithm == "rgb":
        return
    with multiprocessing.Pool(given.workers) as pool:
        for _ in pool.imap_unordered(partial(flow, out=given.out, algorithm=given.algorithm), given.clips):
            pass
        pool.close()
        pool.join()


if __name__ == "__main__":
    main()
