"""Shows what ``benchmarks.compare`` measured."""

from __future__ import annotations

import datetime
import platform
from collections.abc import Iterator, Mapping
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


def show(results: Mapping[str, Result], clips: str, output: Path) -> None:
    """Print the tables, the machine and what is compared with what."""
    console = Console()
    console.width = max(console.width, 112)
    table = Table(title="CPU seconds per 1,000 frames, two processes")
    for heading in ("", "frames", "naive", "araflow", "kernels", "naive\n/ araflow", "kernels\n/ araflow"):
        table.add_column(heading, justify="right" if heading else "left")
    for heading in ("naive\n/ araflow\nstarts apart", "kernels\n/ araflow\nstarts apart"):
        table.add_column(heading, justify="right")
    for name, result in results.items():
        ratios = [_ratios(result, with_start=with_start) for with_start in (True, False)]
        table.add_row(
            TITLES[name],
            f"{result.frames:,}",
            *(f"{value:.2f}" for value in (result.per_1000("naive"), result.per_1000("single_pass"), result.floor)),
            *(text for ratio in ratios for text in (f"{ratio[0]:.2f}", f"{ratio[1]:.0%}")),
        )
    console.print(table)

    table = Table(title="araflow's kernels alone, CPU milliseconds per frame")
    names = list(dict.fromkeys(name for result in results.values() for name in result.kernels))
    for heading in ("", *names):
        table.add_column(heading, justify="right" if heading else "left")
    for name, result in results.items():
        times = {kernel: f"{median(values):.3f}" for kernel, values in result.kernels.items()}
        table.add_row(TITLES[name], *(times.get(kernel, "") for kernel in names))
    console.print(table)
    for line in _notes(results, clips, output):
        console.print(line, soft_wrap=True, highlight=False)


def _ratios(result: Result, *, with_start: bool) -> tuple[float, float]:
    """Naive over araflow, and the kernels' sum over araflow."""
    ours = result.per_1000("single_pass", with_start=with_start)
    return result.per_1000("naive", with_start=with_start) / ours, result.floor / ours


def _notes(results: Mapping[str, Result], clips: str, output: Path) -> Iterator[str]:
    starts = next(iter(reversed(results.values()))).start_s
    yield f"Starting processes: naive {starts['naive']:.2f}, araflow {starts['single_pass']:.2f} CPU seconds a run."
    for result in results.values():
        if result.png:
            ours, theirs = (png_writers(result)[name] for name in ("ours", "cv2"))
            yield (
                f"PNG writer, per decoded frame: araflow {ours['ms']:.2f} ms and {ours['bytes']:,.0f} bytes, "
                f"cv2.imencode {theirs['ms']:.2f} ms and {theirs['bytes']:,.0f} bytes: "
                f"{ours['ms'] / theirs['ms']:.2f} of the time, {ours['bytes'] / theirs['bytes']:.2f} of the bytes."
            )
    if "rgb" in results:
        yield "* araflow always makes flow as well; this row is its decoder, PNG writer and store on its own processes."
    yield f"Machine: {machine()}. Clips: {clips}. Output in {output}."
    yield (
        "Compared: naive = VideoCapture, imwrite PNG, imread, flow, NumPy scaling, imwrite JPEG, "
        "multiprocessing.Pool(2); araflow = araflow.build.build, run.workers=2, without Prefect; kernels = what "
        "araflow itself calls to decode, encode, compute and write, each alone on one thread, frames in memory."
    )


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


def as_json(results: Mapping[str, Result], clips: str) -> dict[str, Any]:
    """Everything measured, and what the tables show of it."""
    rows = {}
    for name, result in results.items():
        rows[name] = {
            "clips": result.clips,
            "frames": result.frames,
            "start_cpu_s": result.start_s,
            "cpu_s": dict(result.cpu_s),
            "kernels_ms_per_frame": dict(result.kernels),
            "naive_cpu_s_per_1000": result.per_1000("naive"),
            "araflow_cpu_s_per_1000": result.per_1000("single_pass"),
            "kernels_cpu_s_per_1000": result.floor,
        }
        for suffix, with_start in (("", True), ("_starts_apart", False)):
            ratios = _ratios(result, with_start=with_start)
            rows[name][f"naive_over_araflow{suffix}"], rows[name][f"kernels_over_araflow{suffix}"] = ratios
        if result.png:
            rows[name]["png_writer"] = png_writers(result)
    date = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {"date": date, "machine": machine(), "clips": clips, "rows": rows}
