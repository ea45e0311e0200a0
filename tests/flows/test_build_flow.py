"""The build flow by the real command, with Prefect's real embedded server and then a real server on its database."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from prefect_server import serving

from flows.server import settings

pytestmark = [pytest.mark.prefect, pytest.mark.slow]

CONFIG = """
name: tiny
dataset:
  name: sample
  classes: [walk, push]
  sample: {clips_per_class: 3, sources_per_class: 3, width: 96, height: 64}
rgb: {max_frames: 6}
run: {shard_size: 2, workers: 2}
out: OUT
"""


def environment(home: Path) -> dict[str, str]:
    """A user's environment with no Prefect settings of their own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return kept | {"PREFECT_HOME": str(home)}


def araflow(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "araflow", "build", *arguments]
    # Not from the checkout, so that prefect.toml is not there to help.
    return subprocess.run(
        command, cwd=folder, env=environment(folder / "prefect"), capture_output=True, text=True, timeout=240
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    folder = tmp_path_factory.mktemp("flow")
    (folder / "tiny.yaml").write_text(CONFIG.replace("OUT", str(folder / "out")))
    return folder, araflow(folder, "tiny.yaml")


@pytest.fixture(scope="module")
def api(built: tuple[Path, Any]) -> Iterator[httpx.Client]:
    """What `prefect server start` shows afterwards."""
    folder, _ = built
    with serving(folder, environment(folder / "prefect")) as client:
        yield client


def test_it_ends_by_saying_what_was_made_and_where(built):
    folder, run = built
    assert run.returncode == 0, run.stdout + run.stderr
    lines = run.stdout.splitlines()
    assert lines[-1].startswith("6 clips listed: 6 done; 6 worked on")
    assert f"manifest: {folder}/out/manifest.parquet" in lines
    assert (folder / "out" / "contact_sheet.jpg").stat().st_size > 1000
    assert "drawn, not footage" in run.stdout


def test_history_holds_the_run_and_every_task_run(built, api: httpx.Client):
    (run,) = api.post("/flow_runs/filter", json={}).json()
    assert run["name"] == "tiny-opencv-dis-balanced-6-clips"
    assert run["state_type"] == "COMPLETED"
    assert run["state"]["message"].startswith("6 clips listed: 6 done")
    assert {"sample", "opencv", "dis"} <= set(run["tags"])
    (flow,) = api.post("/flows/filter", json={}).json()
    assert flow["name"] == "build-tiny"
    tasks = api.post("/task_runs/filter", json={}).json()
    assert {task["state_type"] for task in tasks} == {"COMPLETED"}
    names = sorted(task["name"].rpartition("-")[0] for task in tasks)
    assert names == ["audit", "extract-shard", "extract-shard", "extract-shard", "fetch", "manifest", "select"]


def test_the_graph_has_edges(built, api: httpx.Client):
    tasks = api.post("/task_runs/filter", json={}).json()
    name_of = {task["id"]: task["name"].rpartition("-")[0] for task in tasks}
    edges = {
        (name_of[item["id"]], name_of[task["id"]])
        for task in tasks
        for inputs in task["task_inputs"].values()
        for item in inputs
        if item["input_type"] == "task_run"
    }
    chain = ["fetch", "select", "extract-shard", "manifest", "audit"]
    assert set(itertools.pairwise(chain)) <= edges


def test_artifacts_are_a_table_of_outcomes_and_a_picture(built, api: httpx.Client):
    artifacts = {artifact["key"]: artifact for artifact in api.post("/artifacts/filter", json={}).json()}
    table = json.loads(artifacts["outcomes"]["data"])
    assert sum(row["done"] for row in table) == 6
    assert "; in all: 6 listed, 6 done" in artifacts["outcomes"]["description"]
    assert artifacts["contact-sheet"]["type"] == "image"
    assert artifacts["contact-sheet"]["data"].startswith("data:image/jpeg;base64,")


def test_second_run_does_nothing_and_a_bad_clip_gives_status_3(built):
    folder, _ = built
    before = (folder / "out" / "manifest.parquet").read_bytes()
    run = araflow(folder, "tiny.yaml")
    assert run.returncode == 0, run.stderr
    assert "6 done; nothing to do" in run.stdout.splitlines()[-1]
    assert (folder / "out" / "manifest.parquet").read_bytes() == before

    victim = next((folder / "out" / ".araflow").glob("drawn-*/videos/walk/*.avi"))
    victim.write_bytes(victim.read_bytes()[:3000])
    run = araflow(folder, "tiny.yaml")
    assert run.returncode == 3
    assert "5 done, 1 quarantined (1 truncated); 1 worked on" in run.stdout.splitlines()[-1]
    run = araflow(folder, "tiny.yaml", "--strict")
    assert run.returncode == 1
    assert "strict" in run.stderr


def test_fewer_classes_in_the_same_folder_leave_the_others_clips_alone(built):
    folder, _ = built
    run = araflow(folder, "tiny.yaml", "dataset.classes=[push]")
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1].startswith("3 clips listed: 3 done; nothing to do")
    assert "clip folders belong to no row of this build" in run.stderr
    assert len(list((folder / "out" / "clips" / "walk").iterdir())) == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_ends_at_once_and_the_next_one_finishes_it(built, tmp_path: Path, number: signal.Signals):
    folder, _ = built
    arguments = ["tiny.yaml", f"out={tmp_path}/out", "optical.algorithm=tvl1", "rgb.max_frames=null"]
    command = [sys.executable, "-m", "araflow", "build", *arguments]
    run = subprocess.Popen(
        command,
        cwd=folder,
        env=environment(folder / "prefect"),
        start_new_session=True,
        # A shell's background jobs, and so what they start, ignore SIGINT; a terminal's do not.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        clips = tmp_path / "out" / "clips"
        deadline = time.monotonic() + 120
        while not clips.exists() and time.monotonic() < deadline:
            time.sleep(0.2)
        family = psutil.Process(run.pid).children(recursive=True)
        assert len(family) >= 3, "the server and two workers"
        if number == signal.SIGINT:
            os.killpg(run.pid, number)  # as a terminal does
        else:
            os.kill(run.pid, number)
        assert run.wait(30) != 0
    finally:
        run.kill()
    _, alive = psutil.wait_procs(family, timeout=15)
    assert alive == []
    assert araflow(folder, *arguments[:2], "rgb.max_frames=4").returncode == 0


def test_a_failing_source_ends_in_one_clear_message(built):
    folder, _ = built
    arguments = ["dataset.name=hmdb51", "dataset.source=nowhere", "dataset.sample={}", "split.protocol=random"]
    run = araflow(folder, "tiny.yaml", *arguments)
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1] == "error: nowhere: no such folder or archive"
    assert "Traceback" not in run.stdout + run.stderr


def test_prefect_toml_says_the_same_as_the_defaults():
    import tomllib

    toml = tomllib.loads((Path(__file__).parents[2] / "prefect.toml").read_text())
    recorder = toml["server"]["services"]["task_run_recorder"]
    prefix = "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_"
    for name in ("read_batch_size", "batch_size"):
        assert str(recorder[name]) == settings.DEFAULTS[prefix + name.upper()]
    assert toml["server"]["analytics_enabled"] is False


def test_prefects_server_can_be_imported():
    """Some FastAPI releases break it in a way that pip's resolver does not see."""
    subprocess.run([sys.executable, "-c", "import prefect.server.api.server"], check=True, timeout=120)
