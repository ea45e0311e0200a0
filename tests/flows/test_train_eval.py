"""Train and evaluate by the real command, with a real Prefect server."""

import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from commands import TRAINING, Commands
from flow_world import Server, edges

from araflow.datasets._sample import draw_sample

sys.path.append(str(Path(__file__).parents[1] / "recognition"))
import training_world as world

pytestmark = [pytest.mark.prefect, pytest.mark.slow]

Ran = subprocess.CompletedProcess[str]


def train_eval(commands: Commands, folder: Path, *arguments: str) -> Ran:
    given = ("train-eval", "--spec", "tiny.yaml", *arguments)
    return commands.run(folder, *given, modules=TRAINING, OMP_NUM_THREADS="1")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, commands: Commands) -> tuple[Path, Ran]:
    folder = tmp_path_factory.mktemp("training")
    data = world.manifest(folder / "data")
    settings = world.tree(
        data, folder / "run", training__epochs=1, protocols=["official", "group"], split={"test_fraction": 0.4}
    )
    (folder / "tiny.yaml").write_text(yaml.safe_dump(settings))
    return folder, train_eval(commands, folder)


@pytest.fixture(scope="module")
def history(trained: tuple[Path, Ran], server: Server) -> dict[str, Any]:
    """What the server knows of that training."""
    return server.runs()[0]


def test_it_ends_with_the_figures_and_where_the_recognisers_are(trained):
    folder, run = trained
    assert run.returncode == 0, run.stdout + run.stderr
    last = run.stdout.splitlines()[-1]
    assert last.startswith("tiny: official: top-1 ")
    assert "; group: top-1 " in last
    assert "2 epochs trained" in last
    assert last.endswith(f"{folder}/run/official/last.safetensors, {folder}/run/group/last.safetensors")
    assert "protocols side by side" in run.stdout
    for protocol in ("official", "group"):
        names = {path.name for path in (folder / "run" / protocol).iterdir()}
        assert names >= {"last.safetensors", "history.json", "curves.png", "evaluation", "run.json", "tensorboard"}


def test_nothing_of_lightning_or_torch_is_announced(trained):
    _, run = trained
    said = run.stdout + run.stderr
    assert "epoch 1 of 1: loss" in said
    assert not re.search("(Flow|Task) run '", run.stderr), "what Prefect says of its own workings"
    for noise in ("GPU available", "TPU", "litlogger", "Trainer.fit", "Warning", "deprecated", "lightning"):
        assert noise not in said, said


def test_history_holds_the_run_and_its_tasks_with_edges(history: dict[str, Any], server: Server):
    assert history["state_type"] == "COMPLETED"
    assert history["name"] == "tiny-arn_2d-flow"
    assert history["state"]["message"].startswith("tiny: official: top-1 ")
    assert {"arn_2d", "flow"} <= set(history["tags"])
    names = {f"{stage}-{protocol}" for stage in ("train", "evaluate") for protocol in ("official", "group")}
    tasks = server.tasks(history, len(names))
    assert names <= {task["name"] for task in tasks}
    assert {task["state_type"] for task in tasks} == {"COMPLETED"}
    found = edges(tasks, str)
    assert {("train-official", "evaluate-official"), ("train-group", "evaluate-group")} <= found
    assert not {(one, other) for one, other in found if one.endswith("-group") != other.endswith("-group")}


def test_artifacts_are_figures_pictures_and_the_table_of_protocols(trained, history: dict[str, Any], server: Server):
    folder, _ = trained
    artifacts = server.artifacts(history)
    names = {f"{kind}-{protocol}" for kind in ("metrics", "confusion", "curves") for protocol in ("official", "group")}
    assert artifacts.keys() >= names | {"protocols"}
    assert artifacts["metrics-group"]["data"] == (folder / "run/group/evaluation/summary.md").read_text()
    assert "mean class" in artifacts["protocols"]["data"] and "| official |" in artifacts["protocols"]["data"]
    for kind in ("confusion", "curves"):
        assert artifacts[f"{kind}-official"]["type"] == "image"
        assert artifacts[f"{kind}-official"]["data"].startswith("data:image/png;base64,iVBOR")


def test_a_failure_is_a_failed_run_with_one_line(trained, commands: Commands, server: Server):
    """Its manifest is gone by the time that the flow looks for it."""
    folder, _ = trained
    code = "from flows import train_eval\n"
    code += "state = train_eval.train_eval('tiny.yaml', manifest='nowhere', return_state=True)\n"
    code += "print(state.name, '|', state.message)"
    failed = commands.python(folder, code)
    assert failed.returncode == 0, failed.stderr
    assert failed.stdout.splitlines()[-1].startswith("Failed | nowhere"), failed.stdout
    assert "Traceback" not in failed.stdout + failed.stderr
    run = server.runs()[0]
    assert run["state_type"] == "FAILED"
    assert run["state"]["message"].startswith("nowhere")
    assert "\n" not in run["state"]["message"]


def test_a_second_run_without_prefect_trains_nothing_and_evaluates_the_same(trained, commands: Commands):
    folder, _ = trained
    figures = [*(folder / "run").rglob("evaluation/*"), *(folder / "run").rglob("*.safetensors")]
    before = {path: path.read_bytes() for path in figures}
    again = train_eval(commands, folder, "--json", "--no-prefect")
    assert again.returncode == 0, again.stderr
    content = json.loads(again.stdout)
    assert content["fields"] == []
    assert content["results"].keys() == {"official", "group"}
    assert content["results"]["group"]["leakage"]["any_class"] == 0
    assert {path: path.read_bytes() for path in figures} == before
    assert "trained already" in again.stderr
    assert "Flow run" not in again.stderr


def test_a_picture_that_cannot_be_read_is_one_message_with_its_clip(trained, commands: Commands):
    folder, _ = trained
    arguments = ["protocols=null", f"out={folder}/corrupted", "split=null"]
    victims = {victim: victim.read_bytes() for victim in (folder / "data/clips/run/1/v").iterdir()}
    for victim in victims:
        victim.write_bytes(b"")
    run = train_eval(commands, folder, *arguments)
    for victim, content in victims.items():
        victim.write_bytes(content)
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1].startswith("error: ")
    assert "run/1" in run.stderr.splitlines()[-1] and "/v/" in run.stderr.splitlines()[-1]
    assert "Traceback" not in run.stdout + run.stderr


def test_from_videos_to_a_recogniser_both_runs_are_in_the_history(tmp_path: Path, commands: Commands, server: Server):
    size = {"width": 96, "height": 64, "seconds": (0.3, 0.4)}
    draw_sample(tmp_path, clips_per_class=2, sources_per_class=2, classes=["walk", "run"], **size)
    settings = ("data.workers=0", "deploy.export=false", "optical.preset=fastest", "run.workers=1")
    run = commands.run(tmp_path, "train", "videos", "--epochs", "1", *settings, modules=TRAINING, OMP_NUM_THREADS="1")
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.splitlines()[-1].startswith("videos: top-1 ")
    training, build = server.runs()[:2]
    assert (training["name"], training["state_type"]) == ("videos-arn_2d-flow", "COMPLETED")
    assert (build["name"], build["state_type"]) == ("folder-opencv-dis-fastest-4-clips", "COMPLETED")
    shutil.rmtree(tmp_path / "runs")


def test_ctrl_c_ends_a_training_at_once_and_the_same_command_finishes_it(trained, commands: Commands):
    folder, _ = trained
    settings = ["protocols=null", f"out={folder}/interrupted", "training.epochs=200", "training.tensorboard=false"]
    arguments = ("train-eval", "--spec", "tiny.yaml", *settings)
    run = commands.start(folder, *arguments, modules=TRAINING, OMP_NUM_THREADS="1")
    last = folder / "interrupted/checkpoints/last.ckpt"
    deadline = time.monotonic() + 120
    while not last.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    run.interrupt()
    begun = time.monotonic()
    ended = run.wait()
    assert time.monotonic() - begun < 60
    assert ended.returncode == 130, ended.stderr
    assert "\ninterrupted: what is done is kept; the same command finishes it\n" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (folder / "interrupted/last.safetensors").exists()
