"""One build of many small clips by this checkout and by another one, by turns: what a change costs in time and memory.

``python -m benchmarks.versions OTHER``; OTHER is made by ``git worktree add --detach OTHER COMMIT``. Clips have 64x64
pixels and a few frames, so that most of the time is spent around them. Each build is a process of its own, with worker
processes of its own; then it is asked again, and finds nothing to do.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.orchestration import CONFIG, SHARD_SIZE, copy_drawn

KINDS = ("a build", "nothing to do")


@dataclass(frozen=True)
class Spent:
    """What a build took.

    Attributes:
        cpu: CPU seconds of its process and its workers.
        peak: Resident memory of the largest of them, in MB.
    """

    cpu: float
    peak: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path, help="folder of another checkout")
    parser.add_argument("--clips", type=int, default=5000, help="how many (default: 5000)")
    parser.add_argument("--rounds", type=int, default=3, help="builds of each (default: 3)")
    arguments = parser.parse_args()
    checkouts = {"this": Path(__file__).parents[1], "other": arguments.other.resolve()}
    spent: dict[tuple[str, str], list[Spent]] = {(name, kind): [] for name in checkouts for kind in KINDS}
    with tempfile.TemporaryDirectory(prefix="araflow-bench-") as folder:
        source = copy_drawn(Path(folder), arguments.clips)
        for number in range(arguments.rounds):
            order = list(checkouts) if number % 2 else list(reversed(checkouts))
            for name in order:
                out, config = Path(folder) / name, Path(folder) / f"{name}.yaml"
                text = CONFIG.format(source=source, protocol="random", shard_size=SHARD_SIZE, out=out)
                config.write_text(text, encoding="utf-8")
                for kind in KINDS:
                    spent[name, kind].append(build(checkouts[name], config))
                    print(f"round {number + 1}, {name}, {kind}: {spent[name, kind][-1]}", file=sys.stderr)
                shutil.rmtree(out)
    print(f"{arguments.clips:,} clips, medians of {arguments.rounds} rounds\n")
    print("| | CPU s | other | ratio | peak MB | other | ratio |\n|---|--:|--:|--:|--:|--:|--:|")
    for kind in KINDS:
        cells = [kind]
        for quantity in ("cpu", "peak"):
            here, there = (
                statistics.median(getattr(one, quantity) for one in spent[name, kind]) for name in ("this", "other")
            )
            cells += [f"{here:.1f}", f"{there:.1f}", f"{here / there:.2f}"]
        print(f"| {' | '.join(cells)} |")


def build(checkout: Path, config: Path) -> Spent:
    """Build once, by the code of a checkout."""
    command = [sys.executable, "-m", "benchmarks.one_build", "plain", "real", str(config)]
    environment = os.environ | {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, cwd=checkout, env=environment, stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{checkout}: the build ended with {process.returncode}")
    return Spent(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000)


if __name__ == "__main__":
    main()
