"""Kill a build anywhere, run it again, and get what an undisturbed run gives, byte for byte."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from araflow.build import run as build
from araflow.build.pool import WorkerPool
from araflow.core.clip import ClipRecord
from araflow.core.spec import BuildSpec
from araflow.core.spec_file import parse
from araflow.datasets._sample import draw_sample
from araflow.store.audit import validate

pytestmark = pytest.mark.slow

BOUNDS = {"a new build": 20.0, "a build with another bound over a finished one": 5.0}

PROGRAM = """
import sys
from araflow.build import run as build
from araflow.core import spec

def tell(*_):
    print("event", flush=True)

if __name__ == "__main__":
    build.build(spec.BuildSpec.model_validate_json(sys.argv[1]), on_start=tell, on_record=tell)
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six good clips, a bad one and a missing one."""
    folder = tmp_path_factory.mktemp("drawn")
    draw_sample(
        folder,
        clips_per_class=4,
        sources_per_class=2,
        width=128,
        height=96,
        seconds=(0.8, 1.2),
        classes=["walk", "run"],
    )
    bad, gone, *_ = sorted((folder / "videos").rglob("*.avi"))
    bad.write_bytes(bad.read_bytes()[:5000])
    gone.unlink()
    return folder


def settings(source: Path, out: Path, bound: float) -> BuildSpec:
    return parse(
        {
            "name": "test",
            "dataset": {
                "name": "hmdb51",
                "classes": ["walk", "run"],
                "source": str(source / "videos"),
                "splits": str(source / "splits"),
            },
            "optical": {"bound": bound, "preset": "accurate"},
            "run": {"workers": 2, "shard_size": 3},
            "out": str(out),
        }
    )


@pytest.fixture(scope="module")
def undisturbed(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[float, Path]:
    outs = {}
    for bound in BOUNDS.values():
        outs[bound] = tmp_path_factory.mktemp("undisturbed")
        build.build(settings(source, outs[bound], bound))
    return outs


def tree(folder: Path) -> dict[str, bytes]:
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    del files[".araflow/lock"], files[".araflow/build.json"]  # which names the folder itself
    return {name: path.read_bytes() for name, path in files.items()}


@contextlib.contextmanager
def started(spec: BuildSpec) -> Iterator[tuple[subprocess.Popen[str], Callable[[], bool]]]:
    """A build in a process of its own, and a function that waits for its next event (False: it has ended).

    The first event is its start, then each record is one.
    """
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, spec.model_dump_json()],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as process:
        assert process.stdout is not None
        lines = process.stdout
        yield process, lambda: lines.readline() == "event\n"


def workers_of(pid: int) -> list[psutil.Process]:
    found = []
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(pid).children():
            with contextlib.suppress(psutil.NoSuchProcess):  # a zombie counts as none
                if "spawn_main" in " ".join(child.cmdline()):
                    found.append(child)
    return found


@pytest.mark.parametrize("kills", [2, pytest.param(5, marks=pytest.mark.proof)])
@pytest.mark.parametrize("kind", BOUNDS)
def test_a_build_killed_anywhere_ends_as_if_it_had_not_been(
    kind: str,
    kills: int,
    source: Path,
    undisturbed: dict[float, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_property,
):
    bound = BOUNDS[kind]
    expected = tree(undisturbed[bound])

    def fresh(name: str) -> BuildSpec:
        if bound != 20.0:
            shutil.copytree(undisturbed[20.0], tmp_path / name)
        return settings(source, tmp_path / name, bound)

    # Kills are spread evenly over the time of an undisturbed run, but told by its events: another run may be slower.
    with started(fresh("measured")) as (process, next_event):
        assert next_event()
        times = [time.monotonic()]
        while next_event():
            times.append(time.monotonic())
        assert process.wait() == 0
        duration = time.monotonic() - times[0]
    assert len(times) == 1 + 8
    assert tree(tmp_path / "measured") == expected

    rng = random.Random(kind)
    found_at_kill = []
    with WorkerPool(2) as pool:  # the second runs share warm workers, which changes nothing but the time
        for number in range(kills):
            spec = fresh(str(number))
            out = tmp_path / str(number)
            moment = times[0] + (number + rng.random()) / kills * duration
            events = [when for when in times if when <= moment]
            with started(spec) as (process, next_event):
                for _ in events:
                    assert next_event()
                time.sleep(moment - events[-1])
                workers = workers_of(process.pid)
                process.kill()
            done = sum(f'"bound": {bound}' in path.read_text() for path in out.rglob(".araflow.json"))
            found_at_kill.append((done, (out / ".araflow" / "work").exists()))
            with monkeypatch.context() as patch:
                patch.setattr(build, "WorkerPool", lambda workers: contextlib.nullcontext(pool))
                manifest = build.build(spec)
            assert tree(out) == expected
            assert validate(manifest) == []
            assert not psutil.wait_procs(workers, timeout=5)[1]
            shutil.rmtree(out)
    record_property("clips made and work folder there at each kill", found_at_kill)
    print(kind, f"{duration:.2f} s; (clips made, half-made ones there) at each kill: {found_at_kill}")
    halfway = [done for done, _ in found_at_kill if 0 < done < 6]
    assert halfway, f"no kill hit the work itself: {found_at_kill}"


def test_killed_workers_cost_at_most_a_second_run(
    source: Path, undisturbed: dict[float, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    rng = random.Random(0)
    kills: list[int] = []

    def kill_one(_: ClipRecord, made: bool) -> None:
        workers = workers_of(os.getpid())
        if made and len(kills) < 4 and workers:
            kills.append(rng.choice(workers).pid)
            os.kill(kills[-1], signal.SIGKILL)

    spec = settings(source, tmp_path, 20.0)
    first = build.build(spec, on_record=kill_one)
    assert len(kills) == 4
    assert "trying once more" in caplog.text
    assert first.outcomes()["done"] >= 4
    assert {reason.partition(":")[0] for (reason,) in first.columns("reason")} <= {
        "complete",
        "truncated",
        "missing",
        "crashed",
    }
    second = build.build(spec)
    assert second.outcomes() == {"done": 6, "quarantined": 2}
    assert tree(tmp_path) == tree(undisturbed[20.0])


def test_a_build_killed_again_and_again_with_changing_settings(
    source: Path, undisturbed: dict[float, Path], tmp_path: Path
):
    for bound, events in ((20.0, 5), (5.0, 4), (20.0, 5)):
        with started(settings(source, tmp_path, bound)) as (process, next_event):
            for _ in range(events):
                next_event()
            process.kill()
    build.build(settings(source, tmp_path, 5.0))
    assert tree(tmp_path) == tree(undisturbed[5.0])
