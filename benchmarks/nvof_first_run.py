"""What to run first on a machine with an NVIDIA GPU: is the nvof backend right, and how fast? Never run on hardware.

Each step is a process of its own, so that one that fails or crashes the driver leaves the others alone. Each prints one
line of JSON; the answers go to ``OUT/report.json``, the engine's raw vectors for a dozen pairs to ``OUT/goldens.npz``.
Takes about five minutes. GPU settings are only read. Where ``find`` shows the library in a folder alone, run it again
with LD_LIBRARY_PATH set to that folder.

Example:
    python -m benchmarks.nvof_first_run out/
"""

from __future__ import annotations

import argparse
import ctypes
import dataclasses
import datetime
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from araflow.optical.backends import nvof, opencv
from araflow.optical.backends.nvof import api, fields, presence
from araflow.optical.backends.nvof.cuda_driver import LIBRARY as CUDA
from araflow.optical.backends.nvof.cuda_driver import CudaDriver
from araflow.optical.backends.nvof.hardware import Engine, newest_version, open_flow_library
from araflow.optical.backends.nvof.session import Session, SessionSettings
from benchmarks import nvof_scenes as scenes
from benchmarks.nvml import Nvml, attempt

STEP_SECONDS = 240
SLOW, MEDIUM, FAST = api.Perf.SLOW, api.Perf.MEDIUM, api.Perf.FAST
FOLDERS = ("/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/local/nvidia/lib64", "/usr/lib/wsl/lib", "/usr/lib")
SPEED_SIZES = ((320, 240), (340, 256), (1280, 720), (1920, 1080))


def find(out: Path) -> dict[str, Any]:
    """Step 1: the libraries, by name, by ldconfig and in the driver's folders; the driver, the GPU, MIG."""
    listed = subprocess.run(["ldconfig", "-p"], capture_output=True, text=True, check=False).stdout.splitlines()
    answer: dict[str, Any] = {"capabilities": os.environ.get("NVIDIA_DRIVER_CAPABILITIES")}
    for name in (CUDA, api.LIBRARY, "libnvcuvid.so.1", "libnvidia-encode.so.1", "libnvidia-ml.so.1"):
        answer[name] = {
            "by name": attempt(lambda name=name: bool(ctypes.CDLL(name))),  # type: ignore[misc]
            "ldconfig": [line.split("=>")[-1].strip() for line in listed if name in line],
            "folders": [str(path) for folder in FOLDERS for path in Path(folder).glob(f"{name}*")],
        }
    return answer | {"nvml": attempt(lambda: Nvml().identity()), "software": nvof.software()}


def symbols(out: Path) -> dict[str, Any]:
    """Step 2: the newest version, the function table at 2.0 and 5.0, a handle."""
    CudaDriver(nvof.open_library)
    library = open_flow_library(nvof.open_library)
    tables = {}
    for version in (0x20, 0x50):
        table = (ctypes.c_void_p * 32)()  # longer than any version's
        status = library.NvOFAPICreateInstanceCuda(
            ctypes.c_uint32(version), ctypes.cast(table, ctypes.POINTER(api.FunctionTable))
        )
        tables[hex(version)] = {"status": status, "functions": sum(map(bool, table))}
    return {
        "newest": hex(newest_version(library)),
        "tables": tables,
        "available": dataclasses.asdict(presence.probe(nvof.open_library)),
    }


def caps(out: Path) -> dict[str, Any]:
    """Step 3: what the engine says it can do."""
    with Engine(nvof.open_library) as engine:
        return dataclasses.asdict(engine.caps)


def stream(settings: SessionSettings, *frames: np.ndarray) -> list[np.ndarray]:
    """Return the fields of the pairs of neighbouring frames, from a session of its own."""
    with Engine(nvof.open_library) as engine:
        return list(fields.stream(lambda: engine, frames, settings))


def one_pair(settings: SessionSettings, *frames: np.ndarray) -> np.ndarray:
    """Return the field of one pair from a session of its own."""
    return stream(settings, *frames)[0]


def planes(gray: np.ndarray, form: api.Format) -> list[np.ndarray]:
    """Lay a gray frame out in another format."""
    if form is api.Format.NV12:
        return [gray, np.full((gray.shape[0] // 2, gray.shape[1]), 128, np.uint8)]
    return [np.repeat(gray, 4, axis=1)] if form is api.Format.ABGR8 else [gray]


def raw(engine: Engine, settings: SessionSettings, width: int, *frames: list[np.ndarray]) -> np.ndarray:
    """Return the engine's vectors for frames that are laid out already."""
    with Session(engine, width, len(frames[0][0]), settings) as session:
        for slot, planes_of in enumerate(frames):
            session.upload(slot, *planes_of)
        session.execute(0)
        return session.vectors()


def meaning(out: Path) -> dict[str, Any]:
    """Step 4: sign, axes, unit and anchor at each grid and input format; which byte of ABGR8 is red."""
    answer: dict[str, Any] = {}
    inner = np.s_[40:-40, 40:-40]
    for shift in ((3, 0), (0, 5), (-7.25, 2.5)):
        frames = scenes.shifted(1, 320, 240, shift)
        for grid in api.GRIDS:
            settings = SessionSettings(SLOW, grid)
            field = attempt(lambda f=frames, s=settings: one_pair(s, *f)[inner])  # type: ignore[misc]
            answer[f"shift {shift} grid {grid}"] = field if isinstance(field, dict) else scenes.summary(field, shift)
    first, second, slope = scenes.zoomed(2, 320, 240)
    answer["zoom"] = attempt(lambda: scenes.slopes(one_pair(SessionSettings(SLOW, 1), first, second)) | slope)
    moved = scenes.shifted(1, 320, 240, (3, 0))
    with Engine(nvof.open_library) as engine:
        for form in (api.Format.GRAY8, api.Format.NV12, api.Format.ABGR8):
            settings = SessionSettings(SLOW, 1, input_format=form)
            laid = [planes(frame, form) for frame in moved]
            field = attempt(lambda s=settings, p=laid: raw(engine, s, 320, *p)[inner] / 32)  # type: ignore[misc]
            answer[form.name] = field if isinstance(field, dict) else scenes.summary(field, (3, 0))
        # Byte 0 of each pixel moves right, byte 2 down; the flow follows red, which weighs more than blue.
        coloured = scenes.two_motions(3, 320, 240)
        settings = SessionSettings(SLOW, 1, input_format=api.Format.ABGR8)
        field = attempt(lambda: raw(engine, settings, 320, *([frame] for frame in coloured))[inner] / 32)
        answer["bytes (right: byte 0 is red)"] = field if isinstance(field, dict) else scenes.summary(field, (3, 0))
    return answer


def repeatability(out: Path) -> dict[str, Any]:
    """Step 5: the same bytes again with hints off, on, and after a new session; sizes at the edges of what is legal."""
    frames = [*scenes.shifted(4, 320, 240, (5, 2)), *scenes.shifted(5, 320, 240, (-4, 1))]

    def answers(hints: bool, order: list[int]) -> list[bytes]:
        return [field.tobytes() for field in stream(SessionSettings(FAST, 1, hints), *(frames[k] for k in order))]

    off, on = answers(False, [0, 1, 0, 1]), answers(True, [0, 1, 0, 1])
    answer: dict[str, Any] = {
        "hints off, same pair twice in a session": off[0] == off[2],
        "hints on, same pair twice in a session": on[0] == on[2],
        "hints off, new session": off == answers(False, [0, 1, 0, 1]),
        "hints on, new session": on == answers(True, [0, 1, 0, 1]),
        "hints on, other frames before": on[0] == answers(True, [2, 3, 0, 1])[2],
        "first pair, hints on and off": on[0] == off[0],
    }
    with Engine(nvof.open_library) as engine:
        smallest, largest = engine.caps.smallest, engine.caps.largest
    for width, height in ((321, 241), smallest, (16, 16), (33, 35), (176, 144), largest):
        pair = scenes.shifted(6, width, height, (3, 0), fine=1)
        for name, settings in (("fast 1", SessionSettings(FAST, 1)), ("fast 4", SessionSettings(FAST, 4))):
            field = attempt(lambda p=pair, s=settings: one_pair(s, *p))  # type: ignore[misc]
            answer[f"{width}x{height} {name}"] = field if isinstance(field, dict) else scenes.summary(field, (3, 0))
    return answer


def speed(out: Path, sizes: tuple[tuple[int, int], ...] = SPEED_SIZES, seconds: float = 0.4) -> dict[str, Any]:
    """Step 6: pairs per second: uploaded, resident on the device, four sessions at once; how busy the engine is."""
    nvml, answer = attempt(Nvml), {}
    with Engine(nvof.open_library) as engine:

        def rate(settings: SessionSettings, frames: tuple[np.ndarray, ...], resident: bool) -> float:
            height, width = frames[0].shape
            with Session(engine, width, height, settings) as session:
                padded = [np.resize(frame, (session.height, session.width)) for frame in frames]
                session.upload(0, padded[0])
                session.upload(1, padded[1])
                session.execute(0)
                session.vectors()
                start, pairs = time.perf_counter(), 0
                while time.perf_counter() < start + seconds:
                    if not resident:
                        session.upload(pairs % 2, padded[pairs % 2])
                    session.execute(pairs % 2)
                    session.synchronize() if resident else session.vectors()
                    pairs += 1
                return pairs / (time.perf_counter() - start)

        def together(settings: SessionSettings, frames: tuple[np.ndarray, ...], count: int) -> float:
            rates: list[float] = []
            work = [threading.Thread(target=lambda: rates.append(rate(settings, frames, False))) for _ in range(count)]
            for thread in work:
                thread.start()
            for thread in work:
                thread.join()
            return sum(rates) if len(rates) == count else 0.0

        for width, height in sizes:
            frames = scenes.shifted(7, width, height, (3, 0), fine=1)
            for perf in (SLOW, MEDIUM, FAST):
                for grid in (1, 4):
                    settings = SessionSettings(perf, grid)
                    row: dict[str, Any] = {
                        "uploaded": attempt(lambda s=settings, f=frames: rate(s, f, False)),  # type: ignore[misc]
                        "resident": attempt(lambda s=settings, f=frames: rate(s, f, True)),  # type: ignore[misc]
                        "four sessions": attempt(lambda s=settings, f=frames: together(s, f, 4)),  # type: ignore[misc]
                    }
                    row["engine and cores busy, %"] = attempt(nvml.busy) if isinstance(nvml, Nvml) else nvml
                    answer[f"{width}x{height} {perf.name.lower()} grid {grid}"] = row
    return answer


def quality(out: Path, count: int = 12) -> dict[str, Any]:
    """Step 7: end-point error on drawn pairs with small and large motion, beside OpenCV's DIS on the same pairs."""
    answer: dict[str, Any] = {}
    for motion in ("small", "large"):
        pairs = [scenes.drawn(seed, motion) for seed in range(count)]

        def score(field_of: Callable[[np.ndarray, np.ndarray], np.ndarray], pairs: Any = pairs) -> dict[str, float]:  # noqa: ANN401
            return scenes.errors([(field_of(first, second), truth, edge) for first, second, truth, edge in pairs])

        for perf in (SLOW, MEDIUM, FAST):
            for grid in api.GRIDS:
                settings = SessionSettings(perf, grid)
                name = f"{motion} nvof {perf.name.lower()} grid {grid}"
                answer[name] = attempt(lambda s=settings: score(lambda a, b: one_pair(s, a, b)))  # type: ignore[misc]
        for preset in ("fastest", "fast", "balanced"):
            dis = lambda a, b, preset=preset: next(iter(opencv.compute([a, b], "dis", preset)))  # noqa: E731
            answer[f"{motion} dis {preset}"] = attempt(lambda dis=dis: score(dis))  # type: ignore[misc]
    return answer


def goldens(out: Path) -> dict[str, Any]:
    """Step 9: the raw vectors of a dozen pairs, for tests without a GPU to replay."""
    kept: dict[str, np.ndarray] = {}
    with Engine(nvof.open_library) as engine:
        for perf, grid in ((FAST, 4), (FAST, 1), (SLOW, 1)):
            for seed, shift in enumerate(scenes.GOLDEN_SHIFTS):
                pair = [[frame] for frame in scenes.shifted(seed, *scenes.GOLDEN_SIZE, shift)]
                settings = SessionSettings(perf, grid, temporal_hints=False)
                kept[f"{perf.name.lower()}_{grid}_{seed}"] = raw(engine, settings, scenes.GOLDEN_SIZE[0], *pair)
    told = {"software": nvof.software(), "date": datetime.date.today().isoformat(), "hints": "off", "input": "gray8"}
    np.savez_compressed(out / "goldens.npz", about=json.dumps(told), **kept)  # type: ignore[arg-type]
    return told | {"fields": len(kept), "bytes": (out / "goldens.npz").stat().st_size}


STEPS: dict[str, Callable[[Path], dict[str, Any]]] = {
    step.__name__: step for step in (find, symbols, caps, meaning, repeatability, speed, quality, goldens)
}


def run(out: Path, names: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Run each step in a process of its own and yield its answer."""
    for name in names:
        command = [sys.executable, "-m", "benchmarks.nvof_first_run", str(out), "--step", name]
        start = time.perf_counter()
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=STEP_SECONDS)
            lines = done.stdout.splitlines()
            answer = json.loads(lines[-1]) if lines and done.returncode == 0 else {"stderr": done.stderr[-2000:]}
            answer["exit"] = done.returncode
        except subprocess.TimeoutExpired:
            answer = {"error": f"not done within {STEP_SECONDS} s"}
        yield name, answer | {"seconds": round(time.perf_counter() - start, 1)}


def main() -> None:
    """Run all steps, or the one that is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder for report.json and goldens.npz")
    parser.add_argument("--only", nargs="*", choices=STEPS, default=list(STEPS), help="these steps")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    if given.step:
        print(json.dumps(attempt(lambda: STEPS[given.step](given.out))))
        return
    report = {}
    for name, answer in run(given.out, given.only):
        report[name] = answer
        print(json.dumps({name: answer}), flush=True)
        (given.out / "report.json").write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
