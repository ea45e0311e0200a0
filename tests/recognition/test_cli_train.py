"""``araflow train-eval`` up to where the flow begins (tests/flows has the rest), ``evaluate``, TAO's files."""

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
import torch
import training_world as world
import yaml
from click.testing import CliRunner
from clip_world import LABELS

from araflow.cli import main
from araflow.recognition import experiment, inspect, networks, results, tao
from araflow.recognition.evaluation.write import read_predictions
from araflow.recognition.training import run
from araflow.store.manifest import Manifest


@pytest.fixture(scope="module", autouse=True)
def _as_alone():
    with world.alone():
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return world.manifest(tmp_path_factory.mktemp("data"))


def call(*arguments):
    result = CliRunner(env={"COLUMNS": "300"}).invoke(main, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def refused(*arguments):
    """Return what a command says that ends with status 1: one message and no figures."""
    result = call(*arguments)
    assert result.exit_code == 1, result.output
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("error:") == 1
    assert "Traceback" not in result.output
    assert result.stdout == ""
    return result.stderr


@pytest.fixture
def spec(data, tmp_path):
    """Write a file of settings; return its path."""

    def write(modality="flow", **settings):
        path = tmp_path / "tiny.yaml"
        path.write_text(yaml.safe_dump(world.tree(data, tmp_path / "run", modality, **settings)))
        return path

    return write


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["training.epoch=3"], ["training.epoch: unknown key", "did you mean epochs?"]),
        (["training.optimizer.lr=0"], ["training.optimizer.lr: ", "greater than 0"]),
        (["network.modality=rgbflow"], ["network.modality: 'rgbflow' is not allowed; allowed: rgb, flow, joint"]),
        (["network.architecture=arn2d"], ["network.architecture: ", "did you mean arn_2d?"]),
        (["network.flow.frames=0"], ["network.flow.frames"]),
        (["protocols=[group, group]"], ["protocols", "twice"]),
        (["training"], ["expected dotted.key=value"]),
        (["training.optimizer.schedule=plateau", "training.optimizer.warmup_epochs=1"], ["warmup_epochs"]),
        (["manifest=nowhere"], ["nowhere"]),
        (["split.protocol=random"], ["no finished clip for test", "split.test_fraction"]),
        (["split.protocol=official", "split.fold=3"], []),
        (["data.short_clip=refuse", "network.flow.frames=30"], ["data.short_clip: refuse", "push/1 has 12 flow"]),
        (["training.early_stopping=1"], ["training.early_stopping"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_what_cannot_work_is_one_message_before_anything_begins(spec, tmp_path, overrides, words):
    path = spec()
    if not words:
        assert call("train-eval", "--spec", path, "--dry-run", *overrides).exit_code == 0
        return
    for extra in ([], ["--dry-run"], ["--json"]):
        said = refused("train-eval", "--spec", path, *overrides, *extra)
        for word in words:
            assert word in said
    assert sorted(file.name for file in tmp_path.iterdir()) == ["tiny.yaml"]


def test_a_spec_that_is_not_there_or_not_one_is_named(tmp_path):
    assert "did you mean sample_flow?" in refused("train-eval", "--spec", "sample_flw")
    (tmp_path / "x.yaml").write_text("a: [")
    assert "not readable as YAML" in refused("train-eval", "--spec", tmp_path / "x.yaml")
    (tmp_path / "x.yaml").write_text("- a\n")
    assert "holds no settings" in refused("train-eval", "--spec", tmp_path / "x.yaml")
    (tmp_path / "x.yaml").write_text("name: x\n")
    said = refused("train-eval", "--spec", tmp_path / "x.yaml")
    assert "manifest: missing" in said and "out: missing" in said


def test_a_dry_run_shows_the_plan_and_writes_nothing(spec, tmp_path):
    path = spec(protocols=["official", "group"], split={"test_fraction": 0.4})
    shown = call("train-eval", "--spec", path, "--dry-run", "training.epochs=7")
    assert shown.exit_code == 0
    assert shown.stdout.count("tiny: arn_2d, flow, ") == 2
    assert "7 epochs" in shown.stdout
    content = json.loads(call("train-eval", "--spec", path, "--dry-run", "--json").stdout)
    assert content["fields"] == []
    assert [plan["spec"]["split"]["protocol"] for plan in content["plan"]] == ["official", "group"]
    assert [plan["leakage"]["any_class"] for plan in content["plan"]] == [3, 0]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["tiny.yaml"]


@pytest.mark.parametrize("command", ["train-eval", "evaluate"])
def test_help_shows_examples(command):
    shown = call(command, "--help").stdout
    assert f"araflow {command} " in shown.replace("Usage: main ", "")
    assert shown.count(f"araflow {command} ") >= 3
    assert "[KEY=VALUE]..." in shown or command == "evaluate"


def test_help_loads_neither_torch_nor_lightning():
    names = ("torch", "lightning", "matplotlib", "prefect")
    code = "import sys\nfrom click.testing import CliRunner\nfrom araflow.cli import main\n"
    code += "CliRunner().invoke(main, ['train-eval', '--help'])\n"
    code += f"print([name for name in {names} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("package", ["torch", "lightning", "matplotlib"])
def test_what_must_be_installed_is_said(spec, monkeypatch, package):
    there = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == package else there(name, *rest)
    )
    said = refused("train-eval", "--spec", spec(), "--dry-run")
    assert f"{package} is not installed: pip install 'araflow[train]'" in said


@pytest.fixture(scope="module")
def pair(data, tmp_path_factory):
    """A flow and an rgb recogniser."""
    folder = tmp_path_factory.mktemp("runs")
    yield [world.train(data, folder / kind, kind, training__epochs=1).checkpoint for kind in ("flow", "rgb")]
    shutil.rmtree(folder)


def test_evaluate_fuses_two_streams_by_their_weights(data, pair, tmp_path):
    found = []
    for number, arguments in enumerate(
        [(pair[0],), (pair[1],), (pair[0], "--fuse", pair[1], "--weights", "1,2"), (pair[0], "--fuse", pair[1])]
    ):
        out = tmp_path / str(number)
        result = call("evaluate", *arguments, "--manifest", data, "--json", "--out", out)
        assert result.exit_code == 0, result.output
        said = json.loads(result.stdout)
        sides = said.pop("parts", {})
        assert said.pop("views") == [{"mode": "center", "segments": 10}] * max(1, len(sides))
        assert said == json.loads((out / "metrics.json").read_text())
        assert [one["top1"]["hits"] for one in sides.values()] == [
            found[side].metrics.top1.hits for side in range(len(sides))
        ]
        found.append(read_predictions(out))
    flow, rgb, weighted, even = (one.probabilities for one in found)
    assert weighted == pytest.approx((flow + 2 * rgb) / 3)
    assert even == pytest.approx((flow + rgb) / 2)
    table = call("evaluate", pair[0], "--manifest", data, "--split", "all", "--mode", "conv", "--segments", "2")
    assert "12 videos, 3 classes" in table.stdout
    assert table.stdout.splitlines()[-1] == "windows: conv: 2 windows over the whole video"
    lines = call("evaluate", pair[0], "--fuse", pair[1], "--manifest", data).stdout.splitlines()
    beside = lines[lines.index("each alone, and fused") + 2 :][:3]
    for line, name, one in zip(
        beside, (f"{pair[0]} (flow)", f"{pair[1]} (rgb)", "fused"), (*found[:2], found[3]), strict=True
    ):
        assert line.startswith(name)
        assert f"{100 * one.metrics.top1.value:.1f} %" in line


def test_real_runs_stand_side_by_side(data, pair):
    for file in pair:
        assert call("evaluate", file, "--manifest", data, "--out", file.parent / "evaluation").exit_code == 0
    result = call("compare", *(file.parent for file in pair), "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["settings"] == {"network.modality": ["flow", "rgb"]}
    assert [run["epochs"] for run in found["runs"]] == [1, 1]
    assert found["pairs"][0]["videos"] == 3


def test_evaluating_again_is_identical(data, pair, tmp_path):
    for name in ("one", "other"):
        assert call("evaluate", pair[0], "--manifest", data, "--mode", "all", "--out", tmp_path / name).exit_code == 0
    assert {file.name: file.read_bytes() for file in (tmp_path / "one").iterdir()} == {
        file.name: file.read_bytes() for file in (tmp_path / "other").iterdir()
    }


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        (["--weights", "1;2", "--fuse", "SAME"], 2, "numbers with commas"),
        (["--weights", "1", "--fuse", "SAME"], 1, "weight"),
        (["--fuse", "nowhere.safetensors"], 1, "no such checkpoint"),
        (["--mode", "centre"], 2, "'center', 'conv', 'all'"),
        (["--segments", "0"], 2, "segments"),
        (["--compat", "tao2"], 1, "allowed: none, tao"),
        (["--split", "val"], 1, "no finished clip for val"),
        (["--protocol", "groups"], 1, "did you mean group?"),
    ],
)
def test_wrong_options_of_evaluate_are_named(data, pair, options, status, words):
    arguments = [pair[0] if option == "SAME" else option for option in options]
    result = call("evaluate", pair[0], "--manifest", data, *arguments)
    assert result.exit_code == status, result.output
    assert words in result.stderr
    assert "Traceback" not in result.output


TAO = """
results_dir: OUT
encryption_key: secret
model: {model_type: TYPE, backbone: resnet_18, input_type: "2d", input_width: 40, input_height: 40, LENGTHS,
        sample_strategy: consecutive, dropout_ratio: 0.1}
dataset:
  train_dataset_dir: DATA/train
  val_dataset_dir: DATA/test
  label_map: {walk: 0, run: 1, push: 2}
  batch_size: 4
  workers: 0
  clips_per_video: 1
  augmentation_config: {train_crop_type: no_crop, horizontal_flip_prob: 0.5, rgb_input_mean: [0.5],
                        rgb_input_std: [0.5]}
train: {optim: {lr: 0.001, momentum: 0.9, weight_decay: 0.0005, lr_scheduler: MultiStep, lr_steps: [1], lr_decay: 0.1},
        num_epochs: 1, checkpoint_interval: 1, seed: 7, num_gpus: 1}
evaluate: {checkpoint: x, test_dataset_dir: DATA/test, video_eval_mode: conv, video_num_segments: 2}
"""
LENGTHS = {
    "rgb": "rgb_seq_length: 2",
    "of": "of_seq_length: 2",
    "joint": "rgb_seq_length: 2, of_seq_length: 2, num_fc: 8",
}


@pytest.fixture(scope="module")
def folders(data, tmp_path_factory):
    """The same clips in TAO's layout: per class the first for test, the others for training."""
    root = tmp_path_factory.mktemp("tao")
    for label in LABELS:
        for number in range(4):
            shutil.copytree(
                data / "clips" / label / str(number), root / ("train" if number else "test") / label / f"v{number}"
            )
    return root


@pytest.fixture
def tao_file(folders, tmp_path):
    def write(kind):
        path = tmp_path / "tao.yaml"
        text = TAO.replace("TYPE", kind).replace("LENGTHS", LENGTHS[kind])
        path.write_text(text.replace("OUT", str(tmp_path / "run")).replace("DATA", str(folders)))
        return path

    return write


@pytest.mark.parametrize("kind", ["rgb", "of", "joint"])
def test_taos_files_run_as_they_are_and_again_find_all_done(tao_file, tmp_path, kind):
    path = tao_file(kind)
    for new in (1, 0):
        (prepared,) = experiment.prepare_all(experiment.read(path))
        trained = run.train(prepared)
        assert trained.new_epochs == new
        done = results.evaluate(prepared, trained.checkpoint)
        assert list(done.windows) == [2, 2, 2]
        assert done.labels == LABELS
    assert prepared.model.network.modality == {"rgb": "rgb", "of": "flow", "joint": "joint"}[kind]
    shutil.rmtree(tmp_path / "run")


@pytest.mark.parametrize("kind", ["rgb", "of", "joint"])
def test_to_name_a_run_of_a_tao_file_nothing_is_written_and_no_image_opened(tao_file, tmp_path, monkeypatch, kind):
    path = tao_file(kind)
    with monkeypatch.context() as patched:
        patched.setattr(cv2, "imread", lambda *_: pytest.fail("an image was opened"))
        patched.setattr(Path, "iterdir", lambda _: pytest.fail("a folder was listed"))
        found = experiment.read(path)
    modality = {"rgb": "rgb", "of": "flow", "joint": "joint"}[kind]
    assert found.title == f"{found.spec.name}-arn_2d-{modality}"
    assert found.spec.manifest == str(tmp_path / "run/tao/manifest.parquet")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["tao.yaml"]


def test_a_manifest_is_read_once_for_all_protocols(data, tmp_path, monkeypatch):
    reads = []
    once = Manifest.read
    monkeypatch.setattr(Manifest, "read", lambda path, *columns: reads.append(path) or once(path, *columns))
    spec = world.spec(data, tmp_path / "run", protocols=["official", "group"], split={"test_fraction": 0.4})
    prepared = experiment.prepare_all(experiment.Experiment(spec))
    assert [one.spec.split.protocol for one in prepared] == ["official", "group"]
    assert [one.out for one in prepared] == [tmp_path / "run/official", tmp_path / "run/group"]
    assert reads == [data]


def test_a_dry_run_says_that_published_weights_are_to_see_another_window(data, tmp_path):
    published = networks.create(inspect.published("r2plus1d_18"))
    torch.save(published.state_dict(), tmp_path / "r2plus1d_18.pth")
    settings = world.tree(data, tmp_path / "run", "rgb", network__architecture="r2plus1d_18")
    settings["network"]["rgb"] = {"frames": 32, "width": 224, "height": 224, "mean": [0.5], "std": [0.5]}
    settings["network"]["weights"] = {"rgb": str(tmp_path / "r2plus1d_18.pth")}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(settings))
    shown = call("train-eval", "--spec", tmp_path / "own.yaml", "--dry-run").stdout
    assert "note: network.rgb: another window than r2plus1d_18 was published with" in shown
    assert "frames 32 instead of 16; width 224 instead of 112" in shown
    del settings["network"]["rgb"]
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(settings))
    shown = call("train-eval", "--spec", tmp_path / "own.yaml", "--dry-run").stdout
    assert "rgb: 16 frames of 112x112" in shown and "another window" not in shown


@pytest.mark.parametrize("kind", ["rgb", "of", "joint"])
def test_every_field_of_a_tao_file_is_listed(tao_file, tmp_path, kind):
    path = tao_file(kind)
    shown = call("train-eval", "--spec", path, "--dry-run")
    assert shown.exit_code == 0, shown.output
    content = json.loads(call("train-eval", "--spec", path, "--dry-run", "--json").stdout)
    listed = [field["path"] for field in content["fields"]]

    def leaves(node, above=""):
        for key, value in node.items():
            name = f"{above}{key}"
            if isinstance(value, dict) and key != "label_map":
                yield from leaves(value, f"{name}.")
            else:
                yield name

    for name in leaves(yaml.safe_load(path.read_text())):
        assert listed.count(name) == 1, name
        assert name in shown.stderr
    assert "secret" not in shown.output
    assert content["plan"][0]["clips"] == {"train": 9, "val": 0, "test": 3}
    assert sorted(file.name for file in tmp_path.iterdir()) == ["tao.yaml"], "a dry run writes nothing"


def test_a_tao_file_may_be_trained_on_a_manifest_and_with_keys_of_both(tao_file, data, tmp_path):
    path = tao_file("of")
    arguments = [f"manifest={data}", "train.num_epochs=3", "training.batch_size=2"]
    content = json.loads(call("train-eval", "--spec", path, "--dry-run", "--json", *arguments).stdout)
    settings = content["plan"][0]["spec"]
    assert settings["manifest"] == str(data)
    assert settings["training"]["epochs"] == 3
    assert settings["training"]["batch_size"] == 2
    assert sorted(file.name for file in tmp_path.iterdir()) == ["tao.yaml"]
    assert tao.is_tao(yaml.safe_load(path.read_text()))


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("dataset.train_dataset_dir=/nowhere/train", "/nowhere/train: no such folder"),
        ("model.model_type=rgbof", "model.model_type"),
        ("dataset.label_map={walk: 0, run: 1}", "push"),
    ],
)
def test_what_is_wrong_with_a_tao_file_is_one_message(tao_file, override, words):
    assert words in refused("train-eval", "--spec", tao_file("rgb"), "--dry-run", override)


def test_a_dry_run_refuses_what_the_training_would(spec, tmp_path):
    said = refused("train-eval", "--spec", spec(), "--dry-run", "network.freeze=[stem]")
    assert "network.freeze: no parameter begins with 'stem'; there are bn1, conv1" in said
    torch.save({"cls_head.fc_cls.weight": torch.zeros(3, 4)}, tmp_path / "theirs.pth")
    said = refused("train-eval", "--spec", spec(), "--dry-run", f"network.weights.flow={tmp_path / 'theirs.pth'}")
    assert "looks like MMAction2's, which is not read" in " ".join(said.split())


def test_a_manifest_given_with_a_tao_file_replaces_its_folders_and_must_have_its_labels(data, tmp_path):
    theirs = {
        "model": {"model_type": "of", "of_seq_length": 2, "input_width": 40, "input_height": 40},
        "dataset": {"train_dataset_dir": "/gone", "label_map": {label: n for n, label in enumerate(LABELS)}},
        "results_dir": str(tmp_path / "run"),
    }
    (tmp_path / "tao.yaml").write_text(yaml.safe_dump(theirs))
    words = ("train-eval", "--spec", tmp_path / "tao.yaml", "--dry-run", f"manifest={data}")
    content = json.loads(call(*words, "--json").stdout)
    fields = {field["path"]: field for field in content["fields"]}
    for name in ("dataset.train_dataset_dir", "dataset.label_map"):
        assert (fields[name]["became"], fields[name]["note"]) == (None, f"replaced by manifest={data}")
    theirs["dataset"]["label_map"] = {label: n for n, label in enumerate(reversed(LABELS))}
    (tmp_path / "tao.yaml").write_text(yaml.safe_dump(theirs))
    assert "dataset.label_map: numbers the classes" in refused(*words)
