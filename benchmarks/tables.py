"""Shows what ``benchmarks.compare`` measured."""

from __future__ import annotations

import datetime
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from araflow.pool import usable_cores

if TYPE_CHECKING:
    from benchmarks.compare import Result

TITLES = {
    "rgb": "RGB only *",
    "dis-fast": "DIS fast",
    "dis-balanced": "DIS balanced",
    "farneback": "Farneback",
    "tvl1": "TV-L1",
}


def show(results: Mapping[str, Result], start: Mapping[str, float], clips: str, folder: str) -> None:
    """Print the tables, the machine and what is compared with what."""
    console = Console()
    table = Table(title="CPU seconds per 1,000 frames, two processes, starts included")
    for heading in ("", "clips", "frames", "naive", "araflow", "naive / araflow", "kernels", "kernels / araflow"):
        table.add_column(heading, justify="right" if heading else "left")
    table.add_column("… starts apart", justify="right")
    for name, result in results.items():
        naive, ours = result.per_1000("naive"), result.per_1000("single_pass")
        table.add_row(
            TITLES[name],
            str(result.clips),
            f"{result.frames:,}",
            f"{naive:.2f}",
            f"{ours:.2f}",
            f"{naive / ours:.2f}",
            f"{result.floor:.2f}",
            f"{result.floor / ours:.0%}",
            f"{result.floor / steady(result, start):.0%}",
        )
    console.print(table)

    table = Table(title="Kernels alone, CPU milliseconds per frame")
    names = list(dict.fromkeys(name for result in results.values() for name in result.kernels))
    for heading in ("", *names):
        table.add_column(heading, justify="right" if heading else "left")
    for name, result in results.items():
        times = {kernel: f"{median(values):.3f}" for kernel, values in result.kernels.items()}
        table.add_row(TITLES[name], *(times.get(kernel, "") for kernel in names))
    console.print(table)

    writer = png_writers(next(iter(results.values())))
    console.print(
        f"PNG writer, per decoded frame: araflow {writer['ours']['ms']:.2f} ms and {writer['ours']['bytes']:,.0f} bytes, "
        f"cv2.imencode {writer['cv2']['ms']:.2f} ms and {writer['cv2']['bytes']:,.0f} bytes: "
        f"{writer['ours']['ms'] / writer['cv2']['ms']:.2f} of the time, "
        f"{writer['ours']['bytes'] / writer['cv2']['bytes']:.2f} of the bytes.",
        soft_wrap=True,
        highlight=False,
    )
    for line in (
        f"Process starts alone: naive {start['naive']:.2f}, araflow {start['single_pass']:.2f} CPU seconds a run.",
        f"Machine: {machine()}. Clips: {clips}. Output in {Path(folder).parent}.",
        "naive: VideoCapture, imwrite PNG, imread, flow, NumPy scaling, imwrite JPEG, multiprocessing.Pool(2). araflow: "
        "araflow.build.build with run.workers=2, without Prefect. kernels: decode, PNG, gray, flow, quantising, JPEG and "
        "file writes of araflow, each alone in memory on one thread. * araflow always makes flow: its decoder, PNG writer "
        "and store on its pool.",
    ):
        console.print(line, soft_wrap=True, highlight=False)


def steady(result: Result, start: Mapping[str, float]) -> float:
    """araflow's CPU seconds per 1,000 frames without process starts."""
    return result.per_1000("single_pass") - start["single_pass"] / result.frames * 1000


def png_writers(result: Result) -> dict[str, dict[str, float]]:
    """Median milliseconds and bytes per frame of both PNG encoders."""
    return {
        name: {unit: median(measured[name][unit] for measured in result.png) for unit in ("ms", "bytes")}
        for name in ("ours", "cv2")
    }


def machine() -> str:
    """Name the processor, its usable cores and the versions that matter."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line.partition(":")[2] for line in info.read_text().splitlines() if line.startswith("model name")]
        model = (names or [model])[0].strip()
    packages = ("opencv-contrib-python-headless", "av", "numpy", "isal")
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    return f"{model}, {usable_cores()} cores, Python {platform.python_version()}, {versions}"


def as_json(results: Mapping[str, Result], start: Mapping[str, float], clips: str) -> dict[str, Any]:
    """Everything measured, and what the tables show of it."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "clips": clips,
        "start_cpu_s": dict(start),
        "rows": {
            name: {
                "clips": result.clips,
                "frames": result.frames,
                "cpu_s": dict(result.cpu_s),
                "kernels_ms_per_frame": dict(result.kernels),
                "png_writer": png_writers(result),
                "naive_cpu_s_per_1000": result.per_1000("naive"),
                "araflow_cpu_s_per_1000": result.per_1000("single_pass"),
                "kernels_cpu_s_per_1000": result.floor,
                "naive_over_araflow": result.per_1000("naive") / result.per_1000("single_pass"),
                "kernels_over_araflow": result.floor / result.per_1000("single_pass"),
                "kernels_over_araflow_starts_apart": result.floor / steady(result, start),
            }
            for name, result in results.items()
        },
    }
