"""``araflow train``: from a folder of one's own videos to a recogniser, and again."""

import json
import shutil
import sys
from pathlib import Path

import inline_pool
import pytest
from inline_world import araflow

from araflow.datasets._sample import draw_sample

sys.path.append(str(Path(__file__).parents[1] / "recognition"))
import training_world as world

QUICK = ("--no-prefect", "--epochs", "1", "data.workers=0", "deploy.bench_seconds=0", "optical.preset=fastest")


@pytest.fixture(scope="module", autouse=True)
def _as_alone():
    with world.alone():
        yield


def draw(folder: Path, clips: int) -> Path:
    """Draw videos of two classes, a folder each."""
    size = {"width": 96, "height": 64, "seconds": (0.4, 0.6)}
    draw_sample(folder, clips_per_class=clips, sources_per_class=clips, classes=["walk", "run"], **size)
    return folder / "videos"


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A folder with ``videos`` and ``mine``, which the command has made of them."""
    folder = tmp_path_factory.mktemp("first")
    videos = draw(folder, 4)
    with pytest.MonkeyPatch.context() as patch:
        inline_pool.use(patch)
        run = araflow("train", videos, "--out", folder / "mine", *QUICK)
    yield folder, run
    shutil.rmtree(folder)


def test_one_command_leads_from_videos_to_a_recogniser(first):
    folder, run = first
    assert run.exit_code == 0, run.output
    mine = folder / "mine"
    for name in (
        *("data/manifest.parquet", "data/contact_sheet.jpg", "last.safetensors", "model.onnx", "curves.png"),
        *("evaluation/confusion.png", "evaluation/metrics.json", "run.json"),
    ):
        assert (mine / name).is_file(), name
    assert "split: the manifest's own (random); no val clips are set aside" in run.stderr
    assert "about " in run.stderr and "for 1 epoch and the evaluation" in run.stderr
    *_, dataset, confusion, hint, last = run.stdout.splitlines()
    assert dataset == f"dataset:    {mine}/data (8 done)"
    assert confusion.endswith("evaluation/confusion.png")
    assert hint == f"try it:     araflow predict {mine}/last.safetensors VIDEO"
    assert last.startswith("mine: top-1 ") and " of 2 test clips" in last
    assert "; 1 epoch trained, " in last


def test_what_it_made_names_the_action_in_a_video(first):
    folder, _ = first
    video = next((folder / "videos").rglob("*.avi"))
    shown = araflow("predict", folder / "mine/last.safetensors", video, "--json")
    assert shown.exit_code == 0, shown.output
    (one,) = json.loads(shown.stdout)["predictions"]
    assert set(one["labels"]) == {"walk", "run"}


def test_again_there_is_nothing_to_do(first, inline):
    folder, _ = first
    before = (folder / "mine/last.safetensors").read_bytes()
    again = araflow("train", folder / "videos", "--out", folder / "mine", *QUICK, "--json")
    assert again.exit_code == 0, again.output
    content = json.loads(again.stdout)
    assert content["outcomes"] == {"done": 8}
    assert content["results"]["split"]["epochs"] == 1
    assert "trained already" in again.stderr
    assert (folder / "mine/last.safetensors").read_bytes() == before


def test_with_other_clips_it_says_how_another_is_trained(first, inline, tmp_path):
    folder, _ = first
    shutil.copytree(folder / "mine", tmp_path / "mine")
    shutil.copytree(folder / "videos", tmp_path / "videos")
    video = next((tmp_path / "videos").rglob("*.avi"))
    shutil.copy(video, video.with_stem("another"))
    run = araflow("train", tmp_path / "videos", "--out", tmp_path / "mine", *QUICK)
    assert run.exit_code == 1
    words = f"holds a recogniser of other clips than {tmp_path}/mine/data has now; train another: "
    assert f"{words}araflow train {tmp_path}/mine/data --out ANOTHER" in run.stderr


def test_a_dry_run_shows_the_plan_and_writes_nothing(first, tmp_path, monkeypatch):
    folder, _ = first
    monkeypatch.chdir(tmp_path)
    shown = araflow("train", folder / "videos", "--dry-run")
    assert shown.exit_code == 0, shown.output
    assert "dataset: runs/videos/data; then a recogniser, whose settings follow from its clips" in shown.stdout
    settled = araflow("train", folder / "mine/data", "--dry-run", "--modality", "rgb", "--json")
    (plan,) = json.loads(settled.stdout)["plan"]
    assert (plan["spec"]["network"]["modality"], plan["spec"]["name"]) == ("rgb", "data")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("VIDEOS", "out=x"), "out: say --out"),
        (("VIDEOS", "trainin.epochs=1"), "trainin.epochs: unknown key; did you mean training?"),
        (("VIDEOS", "training.epoch=1"), "training.epoch: unknown key"),
        (("VIDEOS", "optical.presett=fast"), "optical.presett: unknown key"),
        (("MANIFEST", "optical.preset=fast"), "optical.preset=fast: is a setting of a build"),
        (("nowhere",), "nowhere"),
    ],
)
def test_what_is_wrong_is_said_at_once(first, tmp_path, words, said):
    folder, _ = first
    place = {"VIDEOS": folder / "videos", "MANIFEST": folder / "mine/data"}
    run = araflow("train", *(place.get(word, word) for word in words), "--out", tmp_path / "out", "--no-prefect")
    assert run.exit_code == 1
    assert run.stderr.startswith("error: ")
    assert said in run.stderr
    assert not (tmp_path / "out").exists()
