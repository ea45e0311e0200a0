"""Whole trainings, by the real loop: what they leave, how they end, how they go on."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import filelock
import numpy as np
import psutil
import pytest
import torch
import training_world as world
from safetensors.torch import load_file

from araflow.core.errors import AraflowError, OutputError, SourceError, SpecError, TrainingError, UnavailableError
from araflow.core.files import is_draft
from araflow.core.written import LIST
from araflow.recognition import checkpoint, experiment
from araflow.recognition.networks import create

VALIDATED = {"split__protocol": "official", "split__val_fraction": 0.34}
"""One of each class's three training clips is for validation."""


class CutError(Exception):
    """Where a test ends a training."""


@pytest.fixture(scope="module", autouse=True)
def _as_alone():
    with world.alone():
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return world.manifest(tmp_path_factory.mktemp("data"))


@pytest.fixture
def out(tmp_path):
    """A folder for a run; checkpoints are large."""
    yield tmp_path / "run"
    shutil.rmtree(tmp_path)


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """An undisturbed training of three epochs, validated."""
    folder = tmp_path_factory.mktemp("whole")
    trained = world.train(data, folder / "run", training__epochs=3, **VALIDATED)
    yield folder / "run", trained
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def unfinished(data, tmp_path_factory):
    """A training that was cut off in its third epoch, with Lightning's checkpoints."""
    folder = tmp_path_factory.mktemp("unfinished")
    with pytest.raises(CutError):
        world.train(data, folder / "run", training__epochs=3, on_epoch=cut_in(3), **VALIDATED)
    yield folder / "run"
    shutil.rmtree(folder)


def state(out, name="last"):
    return load_file(out / f"{name}.safetensors")


def same(one, other, name="last"):
    return (one / f"{name}.safetensors").read_bytes() == (other / f"{name}.safetensors").read_bytes()


def initial(data, out, **settings):
    """The weights that a training starts from."""
    prepared = experiment.prepare(world.spec(data, out, **settings))
    torch.manual_seed(prepared.spec.training.seed)
    return create(prepared.model).state_dict()


def drafts(folder):
    return folder.is_dir() and any(is_draft(path.name) for path in folder.iterdir())


def leftovers(folder):
    return [path for path in folder.rglob("*") if is_draft(path.name)]


def cut_in(epoch):
    """Cut a training off at the end of an epoch, before its checkpoint is written."""

    def stop(row):
        if row["epoch"] == epoch:
            raise CutError

    return stop


def cut(*arguments):
    raise CutError


def test_a_run_leaves_its_settings_its_figures_and_the_recogniser(whole, data):
    out, trained = whole
    assert (trained.epochs, trained.new_epochs) == (3, 3)
    assert trained.checkpoint == out / "best.safetensors"
    assert trained.history == json.loads((out / "history.json").read_text())
    assert [row["epoch"] for row in trained.history] == [1, 2, 3]
    assert all({"lr", "train_loss", "train_top1", "val_loss", "val_top1"} <= row.keys() for row in trained.history)
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")
    known = json.loads((out / "run.json").read_text())
    assert known["finished"] == 3
    assert known["software"].keys() == {"araflow", "torch", "lightning"}
    _, model = checkpoint.load(trained.checkpoint)
    assert model.labels == ("walk", "run", "push")
    assert model.manifest_sha256 == known["identity"]["manifest_sha256"]
    assert list((out / "tensorboard").glob("events*"))
    assert leftovers(out) == []
    assert not (out / "checkpoints").exists(), "they are for going on"


def test_the_best_checkpoint_is_the_first_of_the_epochs_with_the_highest_val_top1(data, out, whole):
    """Held against a training that is asked to end there."""
    _, trained = whole
    best = max(trained.history, key=lambda row: row["val_top1"])  # of equals the first
    with pytest.raises(CutError):
        world.train(data, out, training__epochs=3, on_epoch=cut_in(int(best["epoch"]) + 1), **VALIDATED)
    kept = torch.load(out / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    for name, tensor in state(whole[0], "best").items():
        assert torch.equal(kept[f"network.{name}"], tensor), name


def test_without_val_clips_the_last_epoch_counts(data, out):
    trained = world.train(data, out, training__epochs=1, training__tensorboard=False)
    assert trained.checkpoint == out / "last.safetensors"
    assert not (out / "best.safetensors").exists()
    assert not (out / "tensorboard").exists()
    assert "val_loss" not in trained.history[0]


@pytest.mark.parametrize("epoch", [2, 3])
def test_a_training_that_was_cut_off_goes_on_as_if_it_had_not_been(data, out, whole, epoch):
    with pytest.raises(CutError):
        world.train(data, out, on_epoch=cut_in(epoch), training__epochs=3, **VALIDATED)
    seen = []
    trained = world.train(data, out, on_epoch=seen.append, training__epochs=3, **VALIDATED)
    assert trained.history == whole[1].history
    assert trained.new_epochs == 4 - epoch == len(seen)
    assert same(out, whole[0], "last")
    assert same(out, whole[0], "best")


PLATEAU = {"schedule": "plateau", "patience": 0, "min_lr": 1e-9, "decay": 0.5, "lr": 0.3}
ADAMW = {"name": "adamw", "schedule": "cosine", "warmup_epochs": 1}


@pytest.mark.parametrize(
    "settings",
    [
        {"training__optimizer": PLATEAU},
        pytest.param({"training__optimizer": PLATEAU, **VALIDATED}, marks=pytest.mark.slow),
        {"training__validate_every": 2, **VALIDATED},
        pytest.param(
            {
                "training__optimizer": ADAMW,
                "network__dropout": 0.9,
                "network__freeze": ["conv1", "bn1"],
                "training__clip_gradient": 0.5,
            },
            marks=pytest.mark.slow,
        ),
    ],
    ids=["plateau on train_loss", "plateau on val_loss", "validated every second epoch", "adamw, cosine"],
)
def test_so_it_is_under_every_kind_of_setting(data, out, settings):
    settings = {"training__epochs": 3, "training__tensorboard": False, **settings}
    undisturbed = world.train(data, out / "whole", **settings)
    with pytest.raises(CutError):
        world.train(data, out / "cut", on_epoch=cut_in(3), **settings)
    again = world.train(data, out / "cut", **settings)
    assert again.new_epochs == 1
    assert again.history == undisturbed.history
    assert same(out / "whole", out / "cut")
    if "plateau" in str(settings):
        assert len({row["lr"] for row in again.history}) > 1, "the rate fell"
    if "training__validate_every" in settings:
        assert ["val_loss" in row for row in again.history] == [False, True, False]


def child(file):
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
    code += f"import training_world\ntraining_world.of_file({str(file)!r})\n"
    return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
@pytest.mark.parametrize("kills", [1, pytest.param(3, marks=pytest.mark.proof)])
def test_kill_9_at_any_moment_costs_no_more_than_the_epoch(data, out, whole, kills):
    out.mkdir()
    settings = world.tree(data, out / "killed", training__epochs=3, **VALIDATED)
    (out / "spec.json").write_text(json.dumps(settings))
    checkpoints, last = out / "killed/checkpoints", out / "killed/checkpoints/last.ckpt"
    draw = random.Random(0)
    moments = [
        lambda: drafts(checkpoints),  # while a checkpoint is being written
        lambda: last.exists() and (time.sleep(draw.uniform(0, 1)) or True),
        lambda: last.exists() and drafts(out / "killed"),
    ]
    for moment in moments[:kills]:
        process = child(out / "spec.json")
        while not moment() and process.poll() is None:
            time.sleep(0.0005)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode in (-signal.SIGKILL, 0)
        for file in (*(out / "killed").glob("*.safetensors"), *(out / "killed/checkpoints").glob("*.ckpt")):
            load_file(file) if file.suffix == ".safetensors" else torch.load(file, weights_only=True)
    process = child(out / "spec.json")
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert json.loads((out / "killed/history.json").read_text()) == whole[1].history
    assert same(out / "killed", whole[0], "last")
    assert same(out / "killed", whole[0], "best")
    assert leftovers(out) == []


def test_a_training_says_its_epochs_and_nothing_else(data, out):
    out.mkdir()
    (out / "spec.json").write_text(json.dumps(world.tree(data, out / "run", training__epochs=1)))
    said, warned = child(out / "spec.json").communicate(timeout=120)
    assert said == ""
    lines = warned.splitlines()
    assert len(lines) == 1, warned
    assert lines[0].startswith("epoch 1 of 1: loss 1.")


@pytest.mark.slow
def test_loading_processes_change_nothing_and_a_training_may_go_on_with_them(data, out, whole):
    settings = {"training__epochs": 3, "training__tensorboard": False, **VALIDATED}
    with pytest.raises(CutError):
        world.train(data, out, on_epoch=cut_in(3), **settings)
    trained = world.train(data, out, data__workers=2, **settings)
    assert trained.history == whole[1].history
    assert same(out, whole[0])


@pytest.mark.proof  # a short version is in test_training.py: two processes share an epoch
def test_two_devices_train_alike_twice_and_go_on(data, out):
    settings = {"training__epochs": 1, "training__devices": 2, "training__batch_size": 3}
    out.mkdir()
    (out / "spec.json").write_text(json.dumps(world.tree(data, out / "one", **settings)))
    said, warned = child(out / "spec.json").communicate(timeout=180)
    assert said == ""
    assert [line[:13] for line in warned.splitlines()] == ["epoch 1 of 1:"], warned
    trained = world.train(data, out / "one", **settings)
    assert trained.new_epochs == 0
    assert all(tensor.isfinite().all() for tensor in state(out / "one").values())
    two = {**settings, "training__epochs": 2}
    world.train(data, out / "two", **two)
    assert json.loads((out / "two/history.json").read_text())[:1] == trained.history
    (out / "spec.json").write_text(json.dumps(world.tree(data, out / "cut", **two)))
    killed = child(out / "spec.json")
    while not (out / "cut/checkpoints/last.ckpt").exists() and killed.poll() is None:
        time.sleep(0.0005)
    for process in [*psutil.Process(killed.pid).children(recursive=True), killed]:
        process.send_signal(signal.SIGKILL)
    killed.communicate()
    again = world.train(data, out / "cut", **two)
    assert again.new_epochs == 1
    assert again.history == json.loads((out / "two/history.json").read_text())
    assert same(out / "two", out / "cut")


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, pytest.param(2, marks=pytest.mark.proof)])
def test_a_corrupted_picture_ends_a_training_with_its_name_wherever_it_is_loaded(tmp_path, devices):
    data, out = world.manifest(tmp_path / "data"), tmp_path / "run"
    settings = {"training__epochs": 1, "data__workers": 1 if devices == 1 else 0, "training__devices": devices}
    victims = [data / "clips/run/1/u" / f"{number:04d}.jpg" for number in range(12)]
    whole = [victim.read_bytes() for victim in victims]
    for victim in victims:
        victim.write_bytes(victim.read_bytes()[:100])
    try:
        with pytest.raises(SourceError, match=r"run/1.*\.jpg"):
            world.train(data, out, **settings)
        assert not list(out.glob("*.safetensors")) and not list((out / "checkpoints").glob("*"))
        for victim, content in zip(victims, whole, strict=True):
            victim.write_bytes(content)
        assert world.train(data, out, **settings).new_epochs == 1
    finally:
        shutil.rmtree(tmp_path)


def test_a_corrupted_picture_ends_a_training_with_its_name_and_the_repaired_one_completes(tmp_path):
    data, out = world.manifest(tmp_path / "data"), tmp_path / "run"
    pictures = sorted((data / "clips/push/2/rgb").iterdir())
    whole = [picture.read_bytes() for picture in pictures]
    for picture in pictures:
        picture.write_bytes(b"no picture")
    with pytest.raises(SourceError, match=r"push/2.*\.png"):
        world.train(data, out, "rgb", training__epochs=1)
    assert not list(out.glob("*.safetensors"))
    for picture, content in zip(pictures, whole, strict=True):
        picture.write_bytes(content)
    assert world.train(data, out, "rgb", training__epochs=1).new_epochs == 1
    shutil.rmtree(tmp_path)


def test_a_loss_that_is_no_number_names_epoch_and_clips_and_another_rate_may_be_tried_in_the_same_folder(data, out):
    with pytest.raises(TrainingError, match=r"the loss is (nan|inf) in epoch 1, with \w+/\d, .*training.optimizer.lr"):
        world.train(data, out, training__optimizer={"lr": 1e30})
    assert not list(out.glob("*.safetensors"))
    assert world.train(data, out, training__epochs=1, training__optimizer={"lr": 1e-4}).new_epochs == 1


def test_a_step_of_one_window_with_nothing_to_normalise_over_is_explained(data, out):
    small = {"frames": 2, "width": 32, "height": 32}
    with pytest.raises(TrainingError, match=r"1 windows of 32x32.*training\.batch_size"):
        world.train(data, out, network__flow=small)


def test_a_finished_training_is_found_done(whole, data):
    out, trained = whole
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.name != ".lock"}
    again = world.train(data, out, training__epochs=3, **VALIDATED)
    assert again.new_epochs == 0
    assert (again.checkpoint, again.epochs, again.history) == (trained.checkpoint, 3, trained.history)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_checkpoints_that_an_earlier_version_left_go_when_it_is_found_done(data, out, whole, unfinished):
    shutil.copytree(whole[0], out)
    shutil.copytree(unfinished / "checkpoints", out / "checkpoints")
    (out / "checkpoints/mine.ckpt").write_bytes(b"mine")
    assert world.train(data, out, training__epochs=3, **VALIDATED).new_epochs == 0
    assert {file.name for file in (out / "checkpoints").iterdir()} == {"mine.ckpt", LIST}


def test_what_does_not_change_the_weights_may_change(whole, data):
    out, _ = whole
    settings = {"data__workers": 1, "training__tensorboard": False, "evaluation__mode": "conv"}
    assert world.train(data, out, training__epochs=3, **settings, **VALIDATED).new_epochs == 0


def test_another_experiment_in_the_same_folder_is_refused_with_what_differs(whole, data, tmp_path):
    out, _ = whole
    with pytest.raises(SpecError) as caught:
        world.train(data, out, training__epochs=3, training__optimizer={"lr": 0.25}, network__dropout=0.1, **VALIDATED)
    message = str(caught.value)
    assert "network.dropout: 0.5 there, 0.1 now" in message
    assert "training.optimizer.lr: 0.0005 there, 0.25 now" in message
    assert "training.epochs" not in message
    assert f"network.weights.flow={out}/best.safetensors" in message
    assert str(out) in message
    other = world.manifest(tmp_path / "other", frames=13)
    with pytest.raises(SpecError, match="manifest_sha256"):
        world.train(other, out, training__epochs=3, **VALIDATED)


@pytest.mark.parametrize("content", ["{", "{}", "[1]", '{"identity": {}}'])
def test_a_folder_with_somebody_elses_run_json_is_left_alone(data, out, content):
    out.mkdir()
    (out / "run.json").write_text(content)
    with pytest.raises(OutputError, match=r"run\.json"):
        world.train(data, out)
    assert (out / "run.json").read_text() == content


def test_a_checkpoint_that_cannot_be_read_is_named(data, out):
    with pytest.raises(CutError):
        world.train(data, out, on_epoch=cut_in(2))
    last = out / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:-1000])
    with pytest.raises(OutputError, match=r"last\.ckpt.*move it away"):
        world.train(data, out)


def test_two_runs_keep_out_of_each_others_way(data, out):
    out.mkdir()
    with filelock.FileLock(out / ".lock"), pytest.raises(OutputError, match="another run"):
        world.train(data, out)
    assert not (out / "run.json").exists()


def test_a_folder_that_cannot_be_written_is_named(data, out):
    out.parent.mkdir(exist_ok=True)
    out.write_text("a file")
    for place in (out, out / "deeper"):
        with pytest.raises(OutputError, match=str(out)):
            world.train(data, place)


def test_a_disk_that_fills_up_is_one_message_and_nothing_half_written(data, out, monkeypatch):
    """The limit on a file's size stands in for the disk."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    try:
        with pytest.raises(OutputError, match="too large"):
            world.train(data, out, training__epochs=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    assert not list((out / "checkpoints").glob("*.ckpt"))
    assert world.train(data, out, training__epochs=1).new_epochs == 1


def test_ctrl_c_arrives_as_such_and_still_works_afterwards(data, out):
    handler = signal.getsignal(signal.SIGINT)

    def interrupt(row):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)

    with pytest.raises(KeyboardInterrupt):
        world.train(data, out, on_epoch=interrupt)
    assert signal.getsignal(signal.SIGINT) is handler
    assert not filelock.FileLock(out / ".lock").is_locked


def test_frozen_layers_keep_weights_and_statistics_and_the_others_move(data, out):
    settings = {"network__freeze": ["conv1", "bn1", "layer1", "layer2.0"], "training__epochs": 1}
    world.train(data, out, **settings)
    before, after = initial(data, out, **settings), state(out)
    for name, tensor in after.items():
        frozen = name.split(".")[0] in ("conv1", "bn1", "layer1") or name.startswith("layer2.0.")
        assert torch.equal(before[name], tensor) == frozen, name


def test_a_layer_to_freeze_that_is_not_there_is_an_error_with_those_that_are(data, out):
    with pytest.raises(SpecError, match=r"network\.freeze: .*'layer9'.*bn1, conv1, fc, layer1, layer2, layer3, layer4"):
        world.train(data, out, network__freeze=["layer9"])


def test_early_stopping_ends_a_training_and_stays_ended(data, out, monkeypatch):
    """A rate at which val_loss cannot fall for long."""
    settings = {
        "training__epochs": 8,
        "training__early_stopping": 1,
        "training__optimizer": {"lr": 1e-30, "weight_decay": 0.0},
        "training__tensorboard": False,
        **VALIDATED,
    }
    trained = world.train(data, out, **settings)
    assert 2 <= trained.epochs < 8
    losses = [row["val_loss"] for row in trained.history]
    assert losses[-1] >= min(losses[:-1])
    known = json.loads((out / "run.json").read_text())
    assert known["finished"] == trained.epochs
    # Killed between the last checkpoint and the recogniser: nothing more is trained.
    before = (out / "last.safetensors").read_bytes()
    with monkeypatch.context() as patched, pytest.raises(CutError):
        patched.setattr(checkpoint, "save", cut)
        world.train(data, out.parent / "killed", **settings)
    again = world.train(data, out.parent / "killed", **settings)
    out = out.parent / "killed"
    assert (again.epochs, again.new_epochs) == (trained.epochs, 0)
    assert (out / "last.safetensors").read_bytes() == before


def test_bf16_trains(data, out):
    world.train(data, out / "bf16", training__precision="bf16", training__epochs=1)
    world.train(data, out / "32", training__epochs=1)
    assert not same(out / "bf16", out / "32")
    assert {tensor.dtype for tensor in state(out / "bf16").values()} == {torch.float32, torch.int64}


@pytest.mark.parametrize(
    ("setting", "value", "kind", "words"),
    [
        ("training__precision", "16", SpecError, r"training\.precision: 16 needs a GPU"),
        ("training__accelerator", "gpu", UnavailableError, r"training\.accelerator: gpu"),
        ("training__mlflow", "http://127.0.0.1:1", UnavailableError, r"training\.mlflow.*pip install"),
        ("network__weights", {"flow": "nowhere.pth"}, AraflowError, r"nowhere\.pth"),
    ],
)
def test_what_this_machine_does_not_have_is_named(data, out, monkeypatch, setting, value, kind, words):
    import importlib.util

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    if "mlflow" in setting and importlib.util.find_spec("mlflow"):
        pytest.skip("mlflow is installed")
    with pytest.raises(kind, match=words):
        world.train(data, out, **{setting: value})


def test_a_training_starts_from_the_weights_of_another(data, out, whole):
    start = whole[0] / "last.safetensors"
    settings = {"network__freeze": ["conv1", "bn1", "layer1", "layer2", "layer3", "layer4"], "training__epochs": 1}
    world.train(data, out, network__weights={"flow": str(start)}, **settings)
    for name, tensor in state(out).items():
        if not name.startswith("fc."):
            assert torch.equal(tensor, state(whole[0])[name]), name


def test_settings_of_the_loss_change_what_is_learned(data, out):
    plain = world.train(data, out / "plain", training__epochs=1)
    for name, value in (("training__label_smoothing", 0.5), ("training__clip_gradient", 1e-6)):
        other = world.train(data, out / name, training__epochs=1, **{name: value})
        assert not same(out / "plain", out / name)
        assert other.history != plain.history
    start, end = initial(data, out), state(out / "training__clip_gradient")
    moved = np.sqrt(sum(float((end[name] - start[name]).square().sum()) for name in end if "weight" in name))
    steps, lr = 3, 5e-4
    decay = steps * lr * 5e-4 * np.sqrt(sum(float(start[name].square().sum()) for name in end if "weight" in name))
    assert moved < 3 * (decay + steps * lr * 1e-6 * steps)


@pytest.mark.parametrize(
    "name", ["best.safetensors", "last.safetensors", "checkpoints/last.ckpt", "checkpoints/best.ckpt"]
)
def test_what_another_training_made_is_not_reported_as_this_ones(data, out, whole, unfinished, name):
    theirs = (unfinished if name.endswith(".ckpt") else whole[0]) / name
    (out / name).parent.mkdir(parents=True)
    shutil.copy(theirs, out / name)
    with pytest.raises(OutputError, match=f"{Path(name).name}: is there already"):
        world.train(data, out, training__epochs=1)
    assert (out / name).read_bytes() == theirs.read_bytes()
    assert not (out / "run.json").exists()


@pytest.mark.parametrize("left", ["everything", "checkpoints", "tensorboard"])
def test_a_training_whose_note_is_gone_is_not_taken_up(data, out, whole, unfinished, left):
    if left == "everything":
        shutil.copytree(whole[0], out)
        (out / "run.json").unlink()
    else:
        shutil.copytree(unfinished / left, out / left)
    with pytest.raises(SpecError, match=r"no run\.json says which"):
        world.train(data, out, training__epochs=1)


def test_checkpoints_of_another_training_are_not_gone_on_from(data, out, unfinished):
    with pytest.raises(CutError):
        world.train(data, out, training__epochs=4, on_epoch=cut_in(2), **VALIDATED)
    shutil.rmtree(out / "checkpoints")
    shutil.copytree(unfinished / "checkpoints", out / "checkpoints")  # with the list of what araflow wrote there
    with pytest.raises(OutputError, match=r"last\.ckpt: is of another training"):
        world.train(data, out, training__epochs=4, **VALIDATED)


def test_a_best_of_another_training_counts_for_nothing_where_nothing_is_validated(data, out, whole):
    world.train(data, out, training__epochs=1)
    (out / LIST).unlink()  # as a version without lists left it: what lies there is taken for its own
    shutil.copy(whole[0] / "best.safetensors", out)
    assert world.train(data, out, training__epochs=1).checkpoint == out / "last.safetensors"
