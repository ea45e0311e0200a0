"""Compare araflow's single pass with what people do otherwise, and with the sum of its own kernels.

The measure is CPU seconds (user and system, all processes) per 1,000 frames: unlike the wall clock it depends little on
what else the machine does. The contenders take turns, the medians count, and the output goes to memory (/dev/shm) where
there is such a folder, so that no disk is measured. Clips are drawn by araflow's sample dataset, in HMDB51's size and
codec, unless --videos names real ones.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks import ffmpeg_script, tables
from benchmarks.results import START_FRAMES, WORKERS, Result

EXAMPLES = """Examples:
  python -m benchmarks.compare                                  # a quarter of an hour
  python -m benchmarks.compare --clips 20 --rounds 1 --algorithms dis-fast
  python -m benchmarks.compare --videos hmdb51/ --clips 300 --json hmdb51.json
"""
PEERS = ("naive", "ffmpeg_script", "recipe_steps")
OURS = "single_pass"


@dataclass(frozen=True)
class Row:
    """One algorithm's size: slow ones run on fewer clips.

    Attributes:
        share: Of ``--clips``.
        max_frames: Frames taken of each clip; ``None`` takes all.
        most_rounds: At most this many rounds.
        peers: What araflow is compared with.
    """

    share: float
    max_frames: int | None = None
    most_rounds: int | None = None
    peers: tuple[str, ...] = PEERS


ROWS = {
    "rgb": Row(1.0),
    "dis-fast": Row(1.0),
    "dis-balanced": Row(0.3),
    "farneback": Row(0.1),
    # All three peers spend 99 % of it in the same OpenCV function, which takes over a second a frame.
    "tvl1": Row(0.1, max_frames=24, most_rounds=1, peers=("naive",)),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=80, help="clips of the largest row (default: 80)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds; medians count (default: 3)")
    parser.add_argument(
        "--algorithms", nargs="+", choices=ROWS, default=list(ROWS), metavar="NAME", help=", ".join(ROWS)
    )
    parser.add_argument("--videos", type=Path, help="folder class/clip.ext of your own videos (default: drawn clips)")
    parser.add_argument("--out", type=Path, help="folder to work in, emptied afterwards (default: /dev/shm, else temp)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every measurement to FILE")
    arguments = parser.parse_args()
    if arguments.clips < 1 or arguments.rounds < 1:
        parser.error("--clips and --rounds must be at least 1")

    parent = arguments.out or (Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else None)
    with tempfile.TemporaryDirectory(prefix="araflow-bench-", dir=parent) as folder:
        bench = Bench(Path(folder), arguments.rounds)
        if bench.absent:
            print("; ".join(f"{name} is skipped: {why}" for name, why in bench.absent.items()), file=sys.stderr)
        clips = find_clips(arguments.videos) if arguments.videos else draw_clips(bench.folder, arguments.clips)
        results = {name: bench.run(name, clips, arguments.clips) for name in arguments.algorithms}
    said = (
        f"videos of {arguments.videos}"
        if arguments.videos
        else "drawn clips (sample dataset, no footage), 320x240 MPEG-4"
    )
    tables.show(results, said, parent or Path(tempfile.gettempdir()), bench.absent)
    if arguments.json:
        arguments.json.write_text(json.dumps(tables.as_json(results, said), indent=2) + "\n", encoding="utf-8")


def draw_clips(folder: Path, count: int) -> list[Path]:
    """Draw at least ``count`` clips, spread evenly over the sample's five classes."""
    from araflow.datasets._sample import draw_sample

    print(f"drawing {count} clips ...", file=sys.stderr)
    draw_sample(folder / "drawn", clips_per_class=-(-count // 5))
    return find_clips(folder / "drawn" / "videos")


def find_clips(folder: Path) -> list[Path]:
    from araflow.media.source_files import VIDEO_SUFFIXES

    clips = sorted(path for path in folder.glob("*/*") if path.suffix.lower() in VIDEO_SUFFIXES)
    if not clips:
        raise SystemExit(f"{folder}: no videos in class folders (class/clip.ext)")
    return clips


class Bench:
    """Runs contenders as subprocesses and counts their CPU time.

    Args:
        folder: Empty folder to work in.
        rounds: How often each contender runs.

    Attributes:
        absent: Contenders that cannot run here, and why.
    """

    def __init__(self, folder: Path, rounds: int) -> None:
        self.folder, self.rounds = folder, rounds
        why = ffmpeg_script.unavailable()
        self.absent = {} if why is None else {"ffmpeg_script": why}
        self._starts: dict[str, dict[str, float]] = {}
        # An ordinary installation has its modules compiled; some test machines forbid that and would pay at each start.
        self._env = {**os.environ, "PYTHONPYCACHEPREFIX": str(folder / "pycache")}
        self._env.pop("PYTHONDONTWRITEBYTECODE", None)

    def run(self, algorithm: str, clips: list[Path], count: int) -> Result:
        """Measure one algorithm on at most its share of ``count`` clips."""
        row = ROWS[algorithm]
        wanted = min(max(round(count * row.share), WORKERS), len(clips))
        videos, few = self._choose(clips, wanted), self._choose(clips, max(wanted // 4, WORKERS))
        result = Result(wanted, self._start_up(clips, algorithm))
        for number in range(min(self.rounds, row.most_rounds or self.rounds)):
            print(f"{algorithm}, {wanted} clips, round {number + 1} ...", file=sys.stderr)
            made = {}
            for contender in (*(peer for peer in row.peers if peer not in self.absent), OURS):
                spent, made[contender] = self._contend(contender, videos, algorithm, row.max_frames)
                result.cpu_s[contender].append(spent)
            if len(set(made.values())) > 1:
                raise SystemExit(f"{algorithm}: not the same number of frames, and of u and v images: {made}")
            result.frames = made[OURS][0]
            # A quarter of the clips is enough for times per frame, and saves minutes.
            measured = json.loads(self._spend("kernels", few, self.folder / "kernels", algorithm, row.max_frames)[1])
            for kernel, milliseconds in measured["kernels"].items():
                result.kernels[kernel].append(milliseconds)
            if measured["png"]:
                result.png.append(measured["png"])
        return result

    def _start_up(self, clips: list[Path], algorithm: str) -> dict[str, float]:
        """Return the CPU seconds of a run that has next to nothing to do: two frames of two clips."""
        kind = algorithm if algorithm in ("rgb", "tvl1") else "dis-fast"  # OpenCV's cost nothing to start
        if kind not in self._starts:
            videos, times = self._choose(clips, WORKERS), defaultdict(list)
            for number in range(self.rounds + 2):
                for contender in ("naive", OURS):
                    spent, _ = self._contend(contender, videos, kind, START_FRAMES)
                    if number >= 2:  # the first two compile modules and warm the file cache
                        times[contender].append(spent)
            self._starts[kind] = {contender: median(spent) for contender, spent in times.items()}
        return self._starts[kind]

    def _choose(self, clips: list[Path], count: int) -> Path:
        """Return a folder with ``count`` of the clips, picked evenly."""
        videos = self.folder / f"videos-{count}"
        for index in range(min(count, len(clips))):
            source = clips[index * len(clips) // min(count, len(clips))]
            target = videos / source.parent.name / source.name
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)
        return videos

    def _contend(
        self, contender: str, videos: Path, algorithm: str, max_frames: int | None
    ) -> tuple[float, tuple[int, int, int]]:
        """Run a contender; return its CPU seconds and how many frames, u and v images it wrote."""
        out = self.folder / "out"
        spent, _ = self._spend(contender, videos, out, algorithm, max_frames)
        rgb, u, v = (
            sum(1 for _ in out.rglob(f"{kind}/*.{suffix}"))
            for kind, suffix in (("rgb", "png"), ("u", "jpg"), ("v", "jpg"))
        )
        shutil.rmtree(out)
        return spent, (rgb, u, v)

    def _spend(self, module: str, videos: Path, out: Path, algorithm: str, max_frames: int | None) -> tuple[float, str]:
        command = [sys.executable, "-m", f"benchmarks.{module}", str(videos), str(out), "--algorithm", algorithm]
        if max_frames is not None:
            command += ["--max-frames", str(max_frames)]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        run = subprocess.run(command, env=self._env, stdout=subprocess.PIPE, text=True, check=False)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if run.returncode:
            raise SystemExit(f"{' '.join(command)}: ended with {run.returncode}")
        return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, run.stdout


if __name__ == "__main__":
    main()
