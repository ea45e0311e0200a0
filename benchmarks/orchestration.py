"""What orchestration costs: the same build through the Prefect flow and a real server, and without Prefect.

Each run is a process of its own; each flow has a fresh Prefect server on SQLite, with the settings of
``flows/server/settings.py``. The cost of orchestration is the CPU time of the flow's process and of the server, less
that of the plain build's process; worker processes, which do the same work for both, are counted apart.

``--clips`` makes small drawn clips, so that little of the time is work. ``--simulate`` does no work: a list names so
many videos, and the making of a shard is replaced by records that say at once that the videos are absent; they are kept
in memory. All else is the real thing: list, splits, note, task runs, progress, manifest, audit, artifacts.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks import served
from benchmarks.one_build import Spent

EXAMPLES = """Examples:
  python -m benchmarks.orchestration                             # ten minutes
  python -m benchmarks.orchestration --clips 100 --simulate      # a minute
  python -m benchmarks.orchestration --clips --simulate 650000 --shard-size 64 --json kinetics.json
"""
SECONDS_OF_WORK = 0.3
"""Work per clip that the cost is held against: about what a clip of HMDB51 takes on one core."""
MOST_SHARE = 0.02
SHARD_SIZE = 64
STAGES = ("fetch", "select", "extract", "manifest", "audit")
_CLASSES = 700
_SECONDS_IDLE = 20.0
CONFIG = """
name: bench
dataset: {{name: folder, source: {source}}}
split: {{protocol: {protocol}}}
optical: {{backend: opencv, algorithm: dis, preset: fastest}}
run: {{workers: 2, shard_size: {shard_size}}}
out: {out}
"""


@dataclass
class Row:
    """One number of clips.

    Attributes:
        clips: How many.
        shard_size: Clips per task run.
        simulated: No work was done.
        plain: The build without Prefect.
        flow: The build through the flow.
        server_cpu: CPU seconds of the server, from before the flow until the history was whole.
        server_peak: Its largest resident memory, in MB.
        server_idle: CPU seconds of the server per second when nothing runs any more.
        database: Size of its SQLite files, in MB.
        expected: Task runs that the flow has.
        completed: Those that the history has, in state Completed.
        late: Seconds after the flow's end until the history was whole.
        stages: Wall seconds from a stage's first start to its last end, by stage.
        load: Load average of the last minute at the end.
    """

    clips: int
    shard_size: int
    simulated: bool
    plain: Spent
    flow: Spent
    server_cpu: float = 0.0
    server_peak: float = 0.0
    server_idle: float = 0.0
    database: float = 0.0
    expected: int = 0
    completed: int = 0
    late: float = 0.0
    stages: dict[str, float] = field(default_factory=dict)
    load: float = 0.0

    @property
    def cost(self) -> float:
        """CPU seconds of orchestration per clip."""
        return (self.flow.cpu + self.server_cpu - self.plain.cpu) / self.clips

    @property
    def wall_cost(self) -> float:
        """Wall seconds of orchestration per clip."""
        return (self.flow.wall - self.plain.wall) / self.clips


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, nargs="*", default=[100, 1000, 20000], metavar="N", help="small clips")
    parser.add_argument(
        "--simulate", type=int, nargs="*", default=[10000, 100000, 650000], metavar="N", help="clips without work"
    )
    parser.add_argument("--shard-size", type=int, default=512, help="run.shard_size of --simulate (default: 512)")
    parser.add_argument(
        "--pause", type=float, default=0.0, metavar="SECONDS", help="that a clip of --simulate takes (default: 0)"
    )
    parser.add_argument("--out", type=Path, help="folder to work in, emptied afterwards (default: the temporary one)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every measurement to FILE")
    arguments = parser.parse_args()
    if min([*arguments.clips, *arguments.simulate, arguments.shard_size]) < 1:
        parser.error("numbers must be at least 1")
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # so that the server ends, too
    sizes = [(clips, SHARD_SIZE, False) for clips in arguments.clips]
    sizes += [(clips, arguments.shard_size, True) for clips in arguments.simulate]
    rows = []
    for clips, shard_size, simulated in sizes:
        with tempfile.TemporaryDirectory(prefix="araflow-bench-", dir=arguments.out) as folder:
            rows.append(measure(Path(folder), clips, shard_size, simulated=simulated, pause=arguments.pause))
        print(f"{clips:,} clips: {last_line(rows[-1:])}", file=sys.stderr)
        if arguments.json:  # after each, since the next may take minutes
            arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n", encoding="utf-8")
    for title, simulated in (("Small clips", False), ("No work (simulation)", True)):
        show(title, [row for row in rows if row.simulated is simulated])
    print(last_line(rows))


def measure(folder: Path, clips: int, shard_size: int, *, simulated: bool, pause: float) -> Row:
    """Build so many clips without Prefect, then through the flow."""
    work = str(pause) if simulated else "real"
    what = f"{clips:,} {'clips without work' if simulated else 'small clips'}"
    print(f"{what}: making the source ...", file=sys.stderr)
    source = list_absent(folder, clips) if simulated else copy_drawn(folder, clips)
    protocol = "official" if simulated else "random"
    configs = {}
    for kind in ("plain", "flow"):
        configs[kind] = folder / f"{kind}.yaml"
        text = CONFIG.format(source=source, protocol=protocol, shard_size=shard_size, out=folder / kind)
        configs[kind].write_text(text, encoding="utf-8")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment = kept | {"PREFECT_HOME": str(folder / "prefect"), "OMP_NUM_THREADS": "1"}
    print(f"{what}, without Prefect ...", file=sys.stderr)
    plain = spend("plain", work, configs["plain"], environment)
    shutil.rmtree(folder / "plain")
    with served.serving(folder, environment) as (server, api, known):
        print(f"{what}, through a server ...", file=sys.stderr)
        before = served.cpu_of(server.pid)
        flow = spend("flow", work, configs["flow"], known)
        row = Row(clips, shard_size, simulated, plain, flow, expected=len(STAGES) - 1 + -(-clips // shard_size))
        start = time.monotonic()
        runs = served.history(api, row.expected)
        row.late = time.monotonic() - start
        row.completed = sum(run["state_type"] == "COMPLETED" for run in runs)
        row.stages = served.durations(runs)
        row.server_cpu = served.cpu_of(server.pid) - before
        row.server_peak = sum(served.peak(pid) for pid in served.family(server.pid))
        idle = served.cpu_of(server.pid)
        time.sleep(_SECONDS_IDLE)
        row.server_idle = (served.cpu_of(server.pid) - idle) / _SECONDS_IDLE
        row.database = sum(file.stat().st_size for file in (folder / "prefect").glob("prefect.db*")) / 1e6
        row.load = os.getloadavg()[0]
        if api.get("/health").status_code != 200:
            raise SystemExit("the server does not answer any more")
    expected = {"quarantined" if simulated else "done": clips}
    for kind, spent in (("plain", plain), ("flow", flow)):
        if {name: count for name, count in spent.counts.items() if count} != expected:
            raise SystemExit(f"{kind}: expected {expected}, got {spent.counts}")
    return row


def copy_drawn(folder: Path, clips: int) -> Path:
    """Draw five clips of 64x64 and a few frames; copy them under so many names."""
    from araflow.datasets._sample import draw_sample

    draw_sample(folder / "drawn", clips_per_class=1, sources_per_class=1, width=64, height=64, seconds=(0.13, 0.14))
    drawn = sorted((folder / "drawn" / "videos").glob("*/*.avi"))
    for number in range(clips):
        original = drawn[number % len(drawn)]
        target = folder / "videos" / original.parent.name / f"clip-{number:06d}.avi"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(original, target)
    return folder / "videos"


def list_absent(folder: Path, clips: int) -> Path:
    """List so many videos that are not there, in Kinetics' number of classes."""
    source = folder / "list.csv"
    with source.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "split"])
        for number in range(clips):
            label = f"class {number % _CLASSES:03d}"
            split = "test" if number // _CLASSES % 2 else "train"
            writer.writerow([f"{label}/clip-{number:07d}_000010_000020.mp4", label, split])
    return source


def spend(kind: str, work: str, config: Path, environment: dict[str, str]) -> Spent:
    """Build in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.one_build", kind, work, str(config)]
    log = config.with_suffix(".log")
    with log.open("wb") as file, subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=file) as run:
        try:
            said = run.communicate()[0]
        finally:
            served.kill(run)
    if run.returncode:
        raise SystemExit(f"{kind}: ended with {run.returncode}: {log.read_text(errors='replace')[-3000:]}")
    return Spent(**json.loads(said.splitlines()[-1]))


def show(title: str, rows: list[Row]) -> None:
    """Print two Markdown tables."""
    if not rows:
        return
    print(f"\n{title}: CPU s and MB by process; orchestration = (flow + server - plain) / clips\n")
    names = (
        "clips|task runs|plain: wall s|CPU s|MB|flow: wall s|CPU s|MB|workers CPU s|server CPU s|idle|MB|database MB"
    )
    print(f"|{names}|orchestration, CPU ms/clip|wall ms/clip|of 0.3 s|history late by s|load|")
    print("|" + "--:|" * 18)
    for row in rows:
        cells = [f"{row.clips:,}", f"{row.completed:,} of {row.expected:,}"]
        for spent in (row.plain, row.flow):
            cells += [f"{spent.wall:.1f}", f"{spent.cpu:.1f}", f"{spent.peak:.0f}"]
        cells += [
            f"{row.flow.workers:.1f}",
            f"{row.server_cpu:.1f}",
            f"{row.server_idle:.1%}",
            f"{row.server_peak:.0f}",
            f"{row.database:.0f}",
        ]
        cells += [f"{1e3 * row.cost:.3f}", f"{1e3 * row.wall_cost:.3f}", f"{row.cost / SECONDS_OF_WORK:.2%}"]
        print("|" + "|".join([*cells, f"{row.late:.1f}", f"{row.load:.1f}"]) + "|")
    print(f"\nWall us per clip of each stage in the flow\n\n|clips|shard size|{'|'.join(STAGES)}|\n|{'--:|' * 7}")
    for row in rows:
        cells = [f"{1e6 * row.stages.get(stage, 0.0) / row.clips:.1f}" for stage in STAGES]
        print(f"|{row.clips:,}|{row.shard_size}|{'|'.join(cells)}|")


def last_line(rows: list[Row]) -> str:
    """Say whether all is in the history, and what orchestration costs where it counts: at the largest number."""
    lost = sum(row.expected - row.completed for row in rows)
    parts = ["every task run is in the history, Completed" if not lost else f"{lost} task runs are NOT in the history"]
    for word, simulated in (("small clips", False), ("clips without work", True)):
        if own := [row for row in rows if row.simulated is simulated]:
            row = max(own, key=lambda row: row.clips)
            share = row.cost / SECONDS_OF_WORK
            verdict = "within" if share <= MOST_SHARE else "ABOVE"
            parts.append(f"orchestration of {row.clips:,} {word}: {share:.2%} of 0.3 s a clip, {verdict} 2 %")
    return "; ".join(parts)


if __name__ == "__main__":
    main()
