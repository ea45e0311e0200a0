"""Shows what ``benchmarks.compare`` measured."""

from __future__ import annotations

import datetime
import platform
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from araflow.core.processes import usable_cores
from araflow.core.table import Table, figures, names
from benchmarks.results import Result

TITLES = {
    "rgb": "RGB only *",
    "dis-fast": "DIS fast",
    "dis-balanced": "DIS balanced",
    "farneback": "Farneback",
    "tvl1": "TV-L1",
}


CONTENDERS = {"naive": "naive", "ffmpeg_script": "ffmpeg", "recipe_steps": "recipe", "single_pass": "araflow"}


def show(results: Mapping[str, Result], clips: str, output: Path, absent: Mapping[str, str]) -> None:
    """Print the tables, the machine and what is compared with what."""
    ratios = [f"{title} / araflow" for title in (*CONTENDERS.values(), "kernels") if title != "araflow"]
    columns = (*names(""), *figures("frames", *CONTENDERS.values(), "kernels", *ratios))
    rows: list[tuple[str, ...]] = []
    for name, result in results.items():
        spent = {who: result.per_1000(who) if who in result.cpu_s else None for who in CONTENDERS}
        ours = result.per_1000("single_pass")
        rows.append(
            (
                TITLES[name],
                f"{result.frames:,}",
                *("" if value is None else f"{value:.2f}" for value in (*spent.values(), result.floor)),
                *(
                    "" if value is None else f"{value / ours:.2f}"
                    for who, value in spent.items()
                    if who != "single_pass"
                ),
                f"{result.floor / ours:.0%}",
            )
        )
    Table(columns, rows, title="CPU seconds per 1,000 frames, two processes").print()

    columns = (*names(""), *figures("naive", "araflow", "kernels", "naive / araflow", "kernels / araflow"))
    rows = []
    for name, result in results.items():
        naive, ours = (result.per_1000(who, with_start=False) for who in ("naive", "single_pass"))
        numbers = (f"{value:.2f}" for value in (naive, ours, result.floor, naive / ours))
        rows.append((TITLES[name], *numbers, f"{result.floor / ours:.0%}"))
    Table(columns, rows, title="The same with the starts apart").print()

    kernels = list(dict.fromkeys(name for result in results.values() for name in result.kernels))
    rows = []
    for name, result in results.items():
        times = {kernel: f"{median(values):.3f}" for kernel, values in result.kernels.items()}
        rows.append((TITLES[name], *(times.get(kernel, "") for kernel in kernels)))
    title = "araflow's kernels alone, CPU milliseconds per frame"
    Table((*names(""), *figures(*kernels)), rows, title=title).print()
    for line in _notes(results, clips, output, absent):
        print(line)


def _notes(results: Mapping[str, Result], clips: str, output: Path, absent: Mapping[str, str]) -> Iterator[str]:
    starts = ", ".join(
        f"{TITLES[name]} {result.start_s['naive']:.2f} and {result.start_s['single_pass']:.2f}"
        for name, result in results.items()
    )
    yield f"Starting processes, CPU seconds a run, naive and araflow: {starts}."
    for name, why in absent.items():
        yield f"{CONTENDERS[name]} was skipped: {why}."
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
        "multiprocessing.Pool(2); ffmpeg = its command for the frames, two at a time, then as naive; recipe = the "
        "steps of NVIDIA's recipe, flow by OpenCV instead of a GPU's engine, three processes a clip, two clips at a "
        "time; araflow = araflow.build.build, run.workers=2, without Prefect; kernels = what araflow itself calls to "
        "decode, encode, compute and write, each alone on one thread, frames in memory. The others' flow is OpenCV's "
        "FAST for DIS fast and its MEDIUM for DIS balanced; araflow's TV-L1 is that of its numba backend."
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
            "cpu_s_per_1000": {title: result.per_1000(who) for who, title in CONTENDERS.items() if who in result.cpu_s},
            "kernels_cpu_s_per_1000": result.floor,
        }
        for suffix, with_start in (("", True), ("_starts_apart", False)):
            ours = result.per_1000("single_pass", with_start=with_start)
            rows[name][f"naive_over_araflow{suffix}"] = result.per_1000("naive", with_start=with_start) / ours
            rows[name][f"kernels_over_araflow{suffix}"] = result.floor / ours
        if result.png:
            rows[name]["png_writer"] = png_writers(result)
    date = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {"date": date, "machine": machine(), "clips": clips, "rows": rows}
