"""TV-L1: araflow's ``numba`` backend beside OpenCV's ``DualTVL1OpticalFlow``, pair by pair.

Contenders take turns on one thread; CPU time counts, the median of the rounds. Pairs are those that ``flow_pairs``
generates, and with ``--pairs`` a folder in Middlebury's naming, resized to 320x240. Printed per pair: OpenCV's
milliseconds and mean end-point error, and for each preset how many times as fast it is and its error; for the one with
OpenCV's settings also the mean difference of the two fields' components, in pixels.

Where OpenCV does not converge (fast motion, which its five levels do not reach), neither the difference nor the ratio
says much; such pairs are marked with a star: OpenCV's error is over a pixel.

Example:
    python -m benchmarks.tvl1 --pairs middlebury/
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from statistics import fmean, median
from time import process_time
from typing import Any

import cv2
import numpy as np

from araflow import optical
from araflow.optical.quality.measure import errors
from araflow.optical.quality.pairs import HEIGHT, WIDTH, Pair, generated, middlebury

OPENCVS = "balanced"
"""The preset with OpenCV's settings."""


def resized(pair: Pair) -> Pair:
    """Return a pair at 320x240, with its flow scaled; a pixel of it is known where the nearest one is."""
    height, width = pair.first.shape
    first, second = (
        cv2.resize(frame, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA) for frame in (pair.first, pair.second)
    )
    flow = cv2.resize(pair.flow, (WIDTH, HEIGHT), interpolation=cv2.INTER_NEAREST)
    valid = cv2.resize(pair.valid.astype(np.uint8), (WIDTH, HEIGHT), interpolation=cv2.INTER_NEAREST) > 0
    return Pair(pair.name, pair.kind, first, second, flow * np.float32((WIDTH / width, HEIGHT / height)), valid)


def measure(pairs: list[Pair], rounds: int) -> list[dict[str, Any]]:
    """Time and compare every contender on every pair.

    Returns:
        Per pair: ``pair``, ``ms`` and ``epe`` by contender, ``difference`` from OpenCV at its settings.
    """
    cv2.setNumThreads(1)
    theirs = cv2.optflow.DualTVL1OpticalFlow.create()
    ours = optical.load("numba").compute
    contenders: dict[str, Callable[[Pair], Any]] = {"opencv": lambda pair: theirs.calc(pair.first, pair.second, None)}
    for preset in optical.PRESETS:
        contenders[preset] = lambda pair, preset=preset: next(iter(ours((pair.first, pair.second), "tvl1", preset)))
    contenders["fast"](pairs[0])  # compiles
    rows = []
    for pair in pairs:
        seconds: dict[str, list[float]] = {name: [] for name in contenders}
        fields = {}
        for _ in range(rounds):
            for name, run in contenders.items():
                start = process_time()
                fields[name] = run(pair)
                seconds[name].append(process_time() - start)
        rows.append(
            {
                "pair": pair.name,
                "ms": {name: 1000 * median(values) for name, values in seconds.items()},
                "epe": {name: errors(field, pair.flow, pair.valid).epe for name, field in fields.items()},
                "difference": float(np.abs(fields[OPENCVS] - fields["opencv"]).mean()),
            }
        )
    return rows


def show(rows: list[dict[str, Any]]) -> None:
    """Print the table and what it comes to."""
    print(
        f"{'pair':14}{'opencv ms':>10} {'epe':>6}" + "".join(f"{name:>10} {'epe':>6}" for name in optical.PRESETS),
        end="",
    )
    print(f"  difference at {OPENCVS}")
    for row in rows:
        ms, epe = row["ms"], row["epe"]
        mark = "*" if epe["opencv"] > 1 else ""
        print(f"{row['pair'] + mark:14}{ms['opencv']:10.0f} {epe['opencv']:6.3f}", end="")
        print("".join(f"{ms['opencv'] / ms[name]:9.1f}x {epe[name]:6.3f}" for name in optical.PRESETS), end="")
        print(f"  {row['difference']:.5f}")
    print("\nmedian ms, ratio and mean error over all pairs:")
    for name in ("opencv", *optical.PRESETS):
        ratio = median(row["ms"]["opencv"] / row["ms"][name] for row in rows)
        spent = median(row["ms"][name] for row in rows)
        print(f"{name:10} {spent:7.1f} ms {ratio:6.1f}x  epe {fmean(row['epe'][name] for row in rows):.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.partition("Example:")[0],
        epilog="Example:" + __doc__.partition("Example:")[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--pairs", type=Path, help="folder of pairs in Middlebury's naming")
    parser.add_argument("--seed", type=int, default=0, help="of the generated pairs")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    found = optical.load("numba").available()
    if not found.present:
        parser.exit(1, f"{found.detail}\n")
    pairs = [resized(pair) for pair in middlebury(arguments.pairs)] if arguments.pairs else []
    rows = measure(pairs + generated(arguments.seed), arguments.rounds)
    if arguments.json:
        print(json.dumps(rows, indent=2))
    else:
        show(rows)
        print(f"{found.detail}, OpenCV {cv2.__version__}; CPU time, median of {arguments.rounds} rounds, one thread")


if __name__ == "__main__":
    main()
