"""The build flow by the real command, with Prefect's real embedded server and then a real server on its database."""

import dataclasses
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import pytest
from click.testing import CliRunner
from commands import Commands, clean
from flow_world import Built, Server, edges, write_config
from prefect import State
from prefect.client.schemas.objects import FlowRun
from prefect.states import Completed, Failed

from araflow.cli import main
from flows.server import runs, settings
from flows.server.runs import Asked
from flows.states import INCOMPLETE

pytestmark = [pytest.mark.prefect, pytest.mark.slow]


def test_it_ends_by_saying_what_was_made_and_where(built: Built):
    folder, run = built
    assert run.returncode == 0, run.stdout + run.stderr
    lines = run.stdout.splitlines()
    assert lines[-1].startswith("6 clips listed: 6 done; 6 worked on")
    assert f"manifest: {folder}/out/manifest.parquet" in lines
    assert (folder / "out" / "contact_sheet.jpg").stat().st_size > 1000
    assert "drawn, not footage" in run.stdout
    assert "hook" not in run.stdout + run.stderr, "what Prefect says of its own workings"


def test_history_holds_the_run_and_every_task_run(server: Server, first_run: dict[str, Any]):
    assert first_run["name"] == "tiny-opencv-dis-balanced-6-clips"
    assert first_run["state_type"] == "COMPLETED"
    assert first_run["state"]["message"].startswith("6 clips listed: 6 done")
    assert {"sample", "opencv", "dis"} <= set(first_run["tags"])
    flow = server.api.get(f"/flows/{first_run['flow_id']}").json()
    assert flow["name"] == "build-tiny"
    tasks = server.tasks(first_run, 7)
    assert {task["state_type"] for task in tasks} == {"COMPLETED"}
    names = sorted(task["name"].rpartition("-")[0] for task in tasks)
    assert names == ["audit", "extract-shard", "extract-shard", "extract-shard", "fetch", "manifest", "select"]


def test_the_graph_has_edges(server: Server, first_run: dict[str, Any]):
    chain = ["fetch", "select", "extract-shard", "manifest", "audit"]
    found = edges(server.tasks(first_run, 7), lambda name: name.rpartition("-")[0])
    assert set(itertools.pairwise(chain)) <= found


def test_artifacts_are_a_table_of_outcomes_and_a_picture(server: Server, first_run: dict[str, Any]):
    artifacts = server.artifacts(first_run)
    table = json.loads(artifacts["outcomes"]["data"])
    assert sum(row["done"] for row in table) == 6
    assert "; in all: 6 listed, 6 done" in artifacts["outcomes"]["description"]
    assert artifacts["contact-sheet"]["type"] == "image"
    assert artifacts["contact-sheet"]["data"].startswith("data:image/jpeg;base64,")


@pytest.fixture
def copied(built: Built, tmp_path: Path) -> Path:
    """The folder of the first build, of the test's own."""
    write_config(tmp_path)
    shutil.copytree(built.folder / "out", tmp_path / "out")
    return tmp_path


def test_second_run_does_nothing_and_a_bad_clip_gives_status_3(built: Built, commands: Commands):
    folder, _ = built
    before = (folder / "out" / "manifest.parquet").read_bytes()
    run = commands.run(folder, "build", "tiny.yaml")
    assert run.returncode == 0, run.stderr
    assert "6 done; nothing to do" in run.stdout.splitlines()[-1]
    assert (folder / "out" / "manifest.parquet").read_bytes() == before


def test_a_bad_clip_gives_status_3_and_1_if_all_shall_be_done(copied: Path, server: Server, commands: Commands):
    victim = next((copied / "out" / ".araflow").glob("drawn-*/videos/walk/*.avi"))
    victim.write_bytes(victim.read_bytes()[:3000])
    run = commands.run(copied, "build", "tiny.yaml")
    assert run.returncode == 3, run.stderr
    assert "5 done, 1 quarantined (1 truncated); 1 worked on" in run.stdout.splitlines()[-1]
    *begun, bad = run.stderr.splitlines()
    assert [line.split()[0] for line in begun] == ["optical", "sample", "6"]
    assert bad.startswith(f"walk/{victim.stem}: quarantined: truncated: ")
    state = server.runs()[0]["state"]
    assert (state["type"], state["name"]) == ("COMPLETED", "Incomplete"), "which araflow run looks at"
    run = commands.run(copied, "build", "tiny.yaml", "--strict")
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1].startswith("error: strict: 6 clips listed: 5 done, 1 quarantined")
    assert "Prefect" not in run.stderr


def test_fewer_classes_in_the_same_folder_leave_the_others_clips_alone(copied: Path, commands: Commands):
    run = commands.run(copied, "build", "tiny.yaml", "dataset.classes=[push]")
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1].startswith("3 clips listed: 3 done; nothing to do")
    assert "clip folders belong to no row of this build" in run.stderr
    assert len(list((copied / "out" / "clips" / "walk").iterdir())) == 3


@pytest.mark.parametrize(
    ("state", "status"), [(Completed(), 0), (Completed(name=INCOMPLETE, message="1 quarantined"), 3), (Failed(), 1)]
)
def test_araflow_run_ends_with_the_status_of_the_build(monkeypatch: pytest.MonkeyPatch, state: State, status: int):
    ended = Asked.of(FlowRun(flow_id=uuid4(), name="sample", state=state))
    monkeypatch.setattr(runs, "ask", lambda *_: dataclasses.replace(ended, state="PENDING", is_whole=False))
    monkeypatch.setattr(runs, "watch", lambda _asked, tell: tell(ended) or ended)
    result = CliRunner().invoke(main, ["run", "build-sample"])
    assert result.exit_code == status, result.output


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.proof)])
def test_an_interrupted_run_ends_at_once_and_the_next_one_finishes_it(
    home: Path, tmp_path: Path, commands: Commands, number: signal.Signals
):
    """With the embedded server, which ends with it."""
    write_config(tmp_path)
    arguments = ["build", "tiny.yaml", "optical.algorithm=tvl1"]
    run = subprocess.Popen(
        [sys.executable, "-m", "araflow", *arguments, "rgb.max_frames=null"],
        cwd=tmp_path,
        env=clean(PREFECT_HOME=str(home)),
        stderr=subprocess.PIPE,
        text=True,
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
        said = run.communicate(timeout=30)[1]
        assert run.returncode != 0
    finally:
        run.kill()
    assert "Prefect" not in said.replace("waiting for Prefect's server", "")
    assert "Crash" not in said
    _, alive = psutil.wait_procs(family, timeout=15)
    assert alive == []
    assert not (tmp_path / "out" / "manifest.parquet").exists()
    finished = commands.run(tmp_path, *arguments, "rgb.max_frames=4")
    assert finished.returncode == 0, finished.stderr


def test_a_failing_source_ends_in_one_clear_message(built: Built, commands: Commands):
    folder, _ = built
    arguments = ["dataset.name=hmdb51", "dataset.source=nowhere", "dataset.sample={}", "split.protocol=random"]
    run = commands.run(folder, "build", "tiny.yaml", *arguments)
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1] == "error: nowhere: no such folder or archive"
    assert "Traceback" not in run.stdout + run.stderr


@pytest.mark.parametrize(
    ("source", "override", "said"),
    [
        ("empty", "dataset.classes=null", "no clips found: no video files, no folders of images, and no list of any"),
        ("list.csv", "dataset.classes=null", "split is 'tset'; expected train, val, test, or nothing"),
        ("videos", "dataset.classes=[wlak]", "holds no clips of class 'wlak'; its classes: walk"),
    ],
)
def test_a_wrong_source_is_one_line_before_a_server_or_the_output_is_there(
    tmp_path: Path, source: str, override: str, said: str
):
    (tmp_path / "empty").mkdir()
    (tmp_path / "videos" / "walk").mkdir(parents=True)
    (tmp_path / "videos" / "walk" / "a.avi").touch()
    (tmp_path / "list.csv").write_text("path,label,split\nvideos/walk/a.avi,walk,tset\n")
    arguments = ["build", "folder", f"dataset.source={tmp_path / source}", f"out={tmp_path / 'out'}", override]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("araflow.cli.running.with_history", lambda *_: pytest.fail("a server was started"))
        result = CliRunner().invoke(main, [*arguments, "split.protocol=random"])
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: {'dataset.classes: ' if source == 'videos' else ''}{tmp_path / source}")
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_prefect_toml_says_the_same_as_the_defaults():
    import tomllib

    toml = tomllib.loads((Path(__file__).parents[2] / "prefect.toml").read_text())
    recorder = toml["server"]["services"]["task_run_recorder"]
    prefix = "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_"
    for name in ("read_batch_size", "batch_size"):
        assert str(recorder[name]) == settings.DEFAULTS[prefix + name.upper()]
    assert toml["server"]["analytics_enabled"] is False


def test_prefects_server_can_be_imported(server: Server):
    """Some FastAPI releases break it in a way that pip's resolver does not see."""
    assert server.api.get("/version").status_code == 200
