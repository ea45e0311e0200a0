import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import video_world
from click.testing import CliRunner

from araflow import optical
from araflow.cli.features import features
from araflow.cli.options import Group
from araflow.cli.predict import predict
from araflow.deploy.runners import open_runner
from araflow.optical import Availability
from araflow.recognition.prediction.predict import predict as by_library
from araflow.recognition.spec import Views

COMMANDS = Group(commands={"predict": predict, "features": features})


def run(*arguments):
    result = CliRunner().invoke(COMMANDS, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return video_world.videos(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return video_world.built(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def checkpoint(built, tmp_path_factory):
    """A joint recogniser."""
    model = video_world.prepare(built, "joint").model
    return video_world.recogniser(tmp_path_factory.mktemp("run") / "best.safetensors", model)


@pytest.fixture
def rgb_checkpoint(built, tmp_path):
    return video_world.recogniser(tmp_path / "rgb.safetensors", video_world.prepare(built, "rgb").model)


def test_a_folder_of_videos_is_recognised_as_by_the_library(checkpoint, videos):
    result = run("predict", checkpoint, videos, "--json", "--top", 2, "--device", "cpu")
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)["predictions"]
    assert [row["video"] for row in rows] == [str(path) for path in sorted(videos.glob("*/*.avi"))]
    runner = open_runner(checkpoint, "cpu")
    for row in rows:
        (expected,) = by_library(runner, Path(row["video"]))
        assert row["labels"] == list(expected.labels[:2])
        assert row["probabilities"] == pytest.approx(expected.probabilities[:2])
        assert row["reason"] is None


def test_a_bad_video_is_a_row_with_its_reason_and_the_others_go_on(checkpoint, videos, tmp_path):
    good = next((videos / "walk").iterdir())
    (tmp_path / "bad.avi").write_text("no video")
    (tmp_path / "frames").mkdir()
    for number in range(9):
        cv2.imwrite(str(tmp_path / "frames" / f"{number}.png"), np.full((48, 64, 3), 20 * number, np.uint8))
    out = tmp_path / "deep" / "rows.parquet"
    names = [tmp_path / "bad.avi", good, tmp_path / "frames"]
    result = run("predict", checkpoint, *names, "--parquet", out)
    assert result.exit_code == 3
    assert result.stdout.splitlines()[-1].startswith("2 of 3 videos, 2 predictions in ")
    assert "not-a-video" in result.stdout
    assert "bad.avi: quarantined: not-a-video" in result.stderr
    rows = pq.read_table(out).to_pylist()
    assert [row["video"] for row in rows] == [str(name) for name in names]
    assert [bool(row["reason"]) for row in rows] == [True, False, False]
    assert [row["start_seconds"] is None for row in rows] == [True, False, True]
    assert len(rows[1]["labels"]) == 3


@pytest.mark.parametrize("command", ["predict", "features"])
def test_what_is_no_file_is_a_row_or_counted_and_the_others_go_on(rgb_checkpoint, videos, tmp_path, command, caplog):
    folder = tmp_path / "videos"
    folder.mkdir()
    shutil.copy(next((videos / "walk").iterdir()), folder / "good.avi")
    for name in ("pipe.avi", "pipe", "pipe.zip"):
        os.mkfifo(folder / name)
    (folder / "zero.avi").symlink_to("/dev/zero")
    (folder / "gone.avi").symlink_to("nowhere")
    result = run(command, rgb_checkpoint, folder, *(["--out", tmp_path / "out"] if command == "features" else []))
    assert result.exit_code == 3
    told = result.stderr + caplog.text
    assert "quarantined: not-a-file: it is a named pipe, not a file" in told
    assert "quarantined: not-a-file: it is a device, not a file" in told
    assert "gone" in told
    assert "2 are no clips: 1 without suffix" in told
    assert "such as pipe.zip" in told
    assert result.stdout.splitlines()[-1].startswith(("1 of 4 videos", "1 clip, 3 could not be used"))


def test_brackets_in_names_are_shown(built, videos, tmp_path):
    model = video_world.prepare(built, "rgb").model.model_copy(update={"labels": ("walk", "[bold]run", "push")})
    file = video_world.recogniser(tmp_path / "rgb.safetensors", model)
    video = shutil.copy(next((videos / "walk").iterdir()), tmp_path / "[red] scene.avi")
    result = run("predict", file, video)
    assert "[bold]run" in result.stdout
    assert "[red] scene.avi" in result.stdout.replace("\n", "")


def test_windows_slide(checkpoint, videos):
    video = next((videos / "walk").iterdir())
    result = run("predict", checkpoint, video, "--window", 8, "--stride", 2, "--json")
    rows = json.loads(result.stdout)["predictions"]
    assert len(rows) >= 3
    assert [row["start_frame"] for row in rows] == list(range(0, 2 * len(rows), 2))
    assert {row["end_frame"] - row["start_frame"] for row in rows} == {8}
    shown = run("predict", checkpoint, video, "--window", 8)
    assert "0–7" in shown.stdout


def test_a_video_is_looked_at_as_the_recogniser_was_evaluated(built, videos, tmp_path):
    video = next((videos / "walk").iterdir())
    model = video_world.prepare(built, "rgb").model

    def seen(views, *options):
        file = video_world.recogniser(tmp_path / "rgb.safetensors", model.model_copy(update={"views": views}))
        found = json.loads(run("predict", file, video, "--json", *options).stdout)
        return found["views"]["mode"], found["predictions"][0]["windows"], run("predict", file, video, *options).stdout

    assert model.views == Views(mode="center")  # what the experiment's evaluation asks for
    mode, windows, shown = seen(model.views)
    assert (mode, windows) == ("center", 1)
    assert shown.endswith("; center: one window in the middle, as in its evaluation\n")
    mode, windows, shown = seen(Views(segments=3))
    assert (mode, windows) == ("conv", 3)
    assert shown.endswith("; conv: 3 windows over the whole video, as in its evaluation\n")
    assert seen(Views(segments=3), "--mode", "center")[:2] == ("center", 1)
    mode, windows, shown = seen(None)  # of an araflow that did not write it down
    assert (mode, windows) == ("conv", 10)
    assert "10 windows over the whole video, since it does not say how it was evaluated" in shown


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (["--stride", "4"], 2, "--window"),
        (["--window", "8", "--mode", "conv"], 2, "--mode"),
        (["--window", "0"], 2, "--window"),
        (["--top", "0"], 2, "--top"),
        (["--mode", "centre"], 2, "center"),
        (["--device", "gpu"], 2, "cuda"),
        (["--backend", "opencw"], 1, "did you mean|allowed: auto"),
        (["absent.mp4"], 1, "absent.mp4"),
    ],
)
def test_wrong_options_get_one_message(checkpoint, videos, options, status, said):
    result = run("predict", checkpoint, next((videos / "walk").iterdir()), *options)
    assert result.exit_code == status
    assert any(text in result.stderr for text in said.split("|"))
    assert "Traceback" not in result.output


def test_a_backend_is_only_for_recognisers_of_flow(rgb_checkpoint, videos):
    result = run("predict", rgb_checkpoint, videos, "--backend", "opencv")
    assert result.exit_code == 1
    assert "sees no optical flow" in result.stderr


def test_what_is_no_checkpoint_is_named(videos, tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"nothing of the kind")
    for path, said in (("a.safetensors", "not a readable safetensors"), ("a.pt", "may end in"), ("", "a.safetensors")):
        result = run("predict", tmp_path / path, videos)
        assert result.exit_code == 1
        assert said in result.stderr


def test_flow_of_another_backend_is_used_only_if_asked_for(built, videos, tmp_path, monkeypatch):
    model = video_world.prepare(built, "flow").model
    model = model.model_copy(
        update={"flow": model.flow.model_copy(update={"backend": "nvof", "algorithm": "hardware", "preset": None})}
    )
    file = video_world.recogniser(tmp_path / "nvof.safetensors", model)
    monkeypatch.setattr(optical.load("nvof"), "available", lambda: Availability(False, "no such engine"))
    video = next((videos / "push").iterdir())
    result = run("predict", file, video)
    assert result.exit_code == 1
    assert "--backend auto" in result.stderr
    result = run("predict", file, video, "--backend", "opencv")
    assert result.exit_code == 0, result.output
    assert "trained on flow of nvof hardware" in result.stderr


@pytest.mark.parametrize("command", ["predict", "features"])
def test_without_torch_there_is_one_clear_line(checkpoint, videos, tmp_path, monkeypatch, command):
    monkeypatch.setitem(sys.modules, "torch", None)
    result = run(command, checkpoint, videos, *(["--out", tmp_path] if command == "features" else []))
    assert result.exit_code == 1
    assert result.stderr.strip() == "error: torch is not installed: pip install 'araflow[train]'"


def test_features_of_a_manifest_and_of_videos(checkpoint, built, videos, tmp_path):
    result = run("features", checkpoint, built, "--split", "test", "--out", tmp_path / "a", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["clips"] == 3
    table = pq.read_table(tmp_path / "a" / "features.parquet")
    assert table.column("split").to_pylist() == ["test"] * 3
    assert len(table.column("embedding")[0]) == json.loads(result.stdout)["size"] == 64
    mixed = tmp_path / "mixed"
    shutil.copytree(videos / "walk", mixed)
    (mixed / "bad.avi").write_text("no video")
    result = run("features", checkpoint, mixed, "--out", tmp_path / "b")
    assert result.exit_code == 3
    assert "2 clips, 1 could not be used, 64 features each" in result.stdout.splitlines()[-1]
    assert (tmp_path / "b" / "features.png").stat().st_size > 1000


def test_features_refuse_options_that_would_be_idle(checkpoint, built, videos, tmp_path):
    assert run("features", checkpoint, built, "--backend", "opencv", "--out", tmp_path / "a").exit_code == 2
    assert run("features", checkpoint, videos, "--split", "test", "--out", tmp_path / "a").exit_code == 2
    result = run("features", checkpoint, built, "--split", "val", "--out", tmp_path / "a")
    assert result.exit_code == 1
    assert "its splits: test, train" in result.stderr
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("command", ["predict", "features"])
def test_help_shows_examples_and_imports_nothing_heavy(command):
    assert importlib.util.find_spec("torch")
    code = (
        f"import sys\nfrom araflow.cli.{command} import {command}\n"
        f"try:\n    {command}(['--help'])\nexcept SystemExit:\n    pass\n"
        "print([n for n in ('torch', 'numpy', 'pydantic', 'cv2', 'pyarrow', 'rich') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert f"araflow {command} best.safetensors" in done.stdout
    assert "\b" not in done.stdout
