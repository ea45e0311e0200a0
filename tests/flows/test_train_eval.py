"""Train and evaluate by the real command, with Prefect's embedded server and then a real server on its database."""

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
import pytest
import yaml
from prefect_server import serving

sys.path.append(str(Path(__file__).parents[1] / "recognition"))
import training_world as world

pytestmark = [pytest.mark.prefect, pytest.mark.slow]

Ran = subprocess.CompletedProcess[str]


def environment(folder: Path) -> dict[str, str]:
    """A user's environment with no Prefect settings of their own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return kept | {"PREFECT_HOME": str(folder / "prefect"), "OMP_NUM_THREADS": "1"}


def python(folder: Path, *arguments: str) -> Ran:
    # Not from the checkout, so that prefect.toml is not there to help.
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=240,
    )


def train_eval(folder: Path, *arguments: str) -> Ran:
    return python(folder, "-m", "araflow", "train-eval", "--spec", "tiny.yaml", *arguments)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ran]:
    folder = tmp_path_factory.mktemp("training")
    data = world.manifest(folder / "data")
    settings = world.tree(
        data, folder / "run", training__epochs=1, protocols=["official", "group"], split={"test_fraction": 0.4}
    )
    (folder / "tiny.yaml").write_text(yaml.safe_dump(settings))
    return folder, train_eval(folder)


@pytest.fixture(scope="module")
def failed(trained: tuple[Path, Any]) -> Ran:
    """A run whose manifest is gone by the time that the flow looks for it."""
    folder, _ = trained
    code = "from flows.server import settings; settings.apply()\nfrom flows import train_eval\n"
    code += "state = train_eval.train_eval('tiny.yaml', manifest='nowhere', return_state=True)\n"
    code += "print(state.name, '|', state.message)"
    return python(folder, "-c", code)


@pytest.fixture(scope="module")
def api(trained: tuple[Path, Any], failed: Ran) -> Iterator[httpx.Client]:
    """What `prefect server start` shows afterwards."""
    folder, _ = trained
    with serving(folder, environment(folder)) as client:
        yield client


def run_named(api: httpx.Client, state: str) -> dict[str, Any]:
    (run,) = [run for run in api.post("/flow_runs/filter", json={}).json() if run["state_type"] == state]
    return run


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
    for noise in ("GPU available", "TPU", "litlogger", "Trainer.fit", "Warning", "deprecated", "lightning"):
        assert noise not in said, said


def test_history_holds_the_run_and_its_tasks_with_edges(trained, api: httpx.Client):
    run = run_named(api, "COMPLETED")
    assert run["name"] == "tiny-arn_2d-flow"
    assert run["state"]["message"].startswith("tiny: official: top-1 ")
    assert {"arn_2d", "flow"} <= set(run["tags"])
    tasks = [task for task in api.post("/task_runs/filter", json={}).json() if task["flow_run_id"] == run["id"]]
    names = {f"{stage}-{protocol}" for stage in ("train", "evaluate") for protocol in ("official", "group")}
    assert names <= {task["name"] for task in tasks}
    assert {task["state_type"] for task in tasks} == {"COMPLETED"}
    name_of = {task["id"]: task["name"] for task in tasks}
    edges = {
        (name_of[item["id"]], task["name"])
        for task, inputs in itertools.chain.from_iterable(
            [(task, inputs) for inputs in task["task_inputs"].values()] for task in tasks
        )
        for item in inputs
        if item["input_type"] == "task_run"
    }
    assert {("train-official", "evaluate-official"), ("train-group", "evaluate-group")} <= edges
    assert not {(one, other) for one, other in edges if one.endswith("-group") != other.endswith("-group")}


def test_artifacts_are_figures_pictures_and_the_table_of_protocols(trained, api: httpx.Client):
    folder, _ = trained
    artifacts = {artifact["key"]: artifact for artifact in api.post("/artifacts/filter", json={}).json()}
    names = {f"{kind}-{protocol}" for kind in ("metrics", "confusion", "curves") for protocol in ("official", "group")}
    assert artifacts.keys() >= names | {"protocols"}
    assert artifacts["metrics-group"]["data"] == (folder / "run/group/evaluation/summary.md").read_text()
    assert "mean class" in artifacts["protocols"]["data"] and "| official |" in artifacts["protocols"]["data"]
    for kind in ("confusion", "curves"):
        assert artifacts[f"{kind}-official"]["type"] == "image"
        assert artifacts[f"{kind}-official"]["data"].startswith("data:image/png;base64,iVBOR")


def test_a_failure_is_a_failed_run_with_one_line(failed, api: httpx.Client):
    assert failed.returncode == 0, failed.stderr
    assert failed.stdout.splitlines()[-1].startswith("Failed | nowhere"), failed.stdout
    assert "Traceback" not in failed.stdout + failed.stderr
    run = run_named(api, "FAILED")
    assert run["state"]["message"].startswith("nowhere")
    assert "\n" not in run["state"]["message"]


def test_a_second_run_trains_nothing_and_evaluates_the_same(trained, api: httpx.Client):
    folder, _ = trained
    figures = [*(folder / "run").rglob("evaluation/*"), *(folder / "run").rglob("*.safetensors")]
    before = {path: path.read_bytes() for path in figures}
    again = train_eval(folder, "--json")
    assert again.returncode == 0, again.stderr
    content = json.loads(again.stdout)
    assert content["fields"] == []
    assert content["results"].keys() == {"official", "group"}
    assert content["results"]["group"]["leakage"]["any_class"] == 0
    assert {path: path.read_bytes() for path in figures} == before
    assert "trained already" in again.stderr


def test_a_picture_that_cannot_be_read_is_one_message_with_its_clip(trained):
    folder, _ = trained
    arguments = ["protocols=null", f"out={folder}/corrupted", "split=null"]
    victims = {victim: victim.read_bytes() for victim in (folder / "data/clips/run/1/v").iterdir()}
    for victim in victims:
        victim.write_bytes(b"")
    run = train_eval(folder, *arguments)
    for victim, content in victims.items():
        victim.write_bytes(content)
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1].startswith("error: ")
    assert "run/1" in run.stderr.splitlines()[-1] and "/v/" in run.stderr.splitlines()[-1]
    assert "Traceback" not in run.stdout + run.stderr


def test_ctrl_c_ends_a_training_at_once_and_the_same_command_finishes_it(trained):
    folder, _ = trained
    arguments = ["protocols=null", f"out={folder}/interrupted", "training.epochs=200", "training.tensorboard=false"]
    run = subprocess.Popen(
        [sys.executable, "-m", "araflow", "train-eval", "--spec", "tiny.yaml", *arguments],
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell's background jobs, and so what they start, ignore SIGINT; a terminal's do not.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        last = folder / "interrupted/checkpoints/last.ckpt"
        deadline = time.monotonic() + 120
        while not last.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        os.killpg(run.pid, signal.SIGINT)  # as a terminal does
        _, said = run.communicate(timeout=60)
    finally:
        run.kill()
    assert run.returncode == 130, said
    assert "\ninterrupted: what is done is kept; the same command finishes it\n" in said
    assert "Traceback" not in said
    assert not (folder / "interrupted/last.safetensors").exists()
