"""Settings that nobody has set: what follows from clips and machine, and what a run that has begun keeps."""

import dataclasses
import json
import shutil

import pytest
import training_world as world
from click.testing import CliRunner
from clip_world import LABELS

from araflow.cli import main
from araflow.core.errors import ManifestError, SpecError
from araflow.core.spec import SplitSpec
from araflow.recognition import experiment
from araflow.recognition.data import clips
from araflow.recognition.quick import choices, settle
from araflow.recognition.quick.choices import Facts, choose, split_anew, with_val
from araflow.recognition.training import run, timing
from araflow.store.manifest import Manifest

FACTS = Facts(train=[30, 40], val=0, lengths=[20] * 70, short_side=240, modality="flow", cores=2, gpu=False)


@pytest.fixture(scope="module", autouse=True)
def _as_alone():
    with world.alone():
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return world.manifest(tmp_path_factory.mktemp("made") / "mine")


def chosen(**changed):
    return {key: value for one in choose(dataclasses.replace(FACTS, **changed)) for key, value in one.values.items()}


def test_the_same_facts_give_the_same_settings_with_a_reason_each():
    assert choose(FACTS) == choose(FACTS)
    assert all(choice.why for choice in choose(FACTS))


@pytest.mark.parametrize(
    ("changed", "key", "expected"),
    [
        ({}, "network.flow.frames", 8),
        ({"lengths": [300] * 70}, "network.flow.frames", 16),
        ({}, "network.flow.width", 64),
        ({"cores": 16}, "network.flow.width", 96),
        ({"gpu": True}, "network.flow.width", 224),
        ({"gpu": True, "short_side": 120}, "network.flow.width", 112),
        ({"short_side": 24}, "network.flow.height", 64),
        ({}, "training.epochs", 60),
        ({"train": [500, 700]}, "training.epochs", 10),
        ({"train": [100, 100]}, "training.epochs", 50),
        ({"epochs": 3, "val": 9}, "training.early_stopping", 5),
        ({}, "training.batch_size", 8),
        ({"train": [5, 6]}, "training.batch_size", 2),
        ({"train": [10, 40]}, "training.class_weights", "balanced"),
        ({"modality": "joint"}, "network.rgb.frames", 8),
        ({"modality": "rgb"}, "data.brightness", 0.3),
    ],
)
def test_what_follows_from_clips_and_machine(changed, key, expected):
    assert chosen(**changed)[key] == expected


@pytest.mark.parametrize(
    ("changed", "key"),
    [
        ({}, "training.early_stopping"),
        ({}, "training.class_weights"),
        ({}, "data.brightness"),
        ({"modality": "rgb"}, "network.flow.frames"),
        ({"architecture": "r3d_18"}, "network.flow.frames"),
    ],
)
def test_what_is_left_as_it_is(changed, key):
    assert key not in chosen(**changed)


def test_val_clips_are_set_aside_where_each_class_has_enough():
    assert with_val([34, 100]) and not with_val([33, 100]) and not with_val([])


def test_a_split_anew_has_test_clips_of_the_smallest_class():
    assert split_anew({"a": 4, "b": 9}, grouped=True).values["split.test_fraction"] == 0.25
    assert split_anew({"a": 2, "b": 9}, grouped=False).values == {
        "split.protocol": "random",
        "split.test_fraction": 0.5,
        "split.seed": 0,
    }
    assert "split anew by group, 25 %" in split_anew({"a": 4}, grouped=True).why


def altered(data, folder, change, **metadata):
    """Write the manifest with changed rows, which go on naming the same files."""
    read = Manifest.read(data)
    rows = [change({**row, "path": row["path"] and str(data / row["path"])}) for row in read.table.to_pylist()]
    table = read.table.from_pylist(rows, schema=read.table.schema)
    folder.mkdir(exist_ok=True)
    Manifest(table, {**read.metadata, **metadata}, folder).write(folder / "manifest.parquet")
    return folder


def test_the_manifests_own_split_is_taken_and_said(data):
    settled = settle.settle([f"manifest={data}"])
    assert settled.spec.split is None
    assert (settled.spec.name, settled.spec.out) == ("mine", "runs/mine")
    assert settled.chosen[0].startswith("split: the manifest's own; no val clips are set aside: it is not known how")
    by_file = settle.settle([f"manifest={data / 'manifest.parquet'}"])
    assert (by_file.spec.out, by_file.chosen) == ("runs/mine", settled.chosen)


def test_a_split_that_lacks_a_class_is_made_anew_and_that_is_said(data, tmp_path):
    lacking = altered(data, tmp_path / "lacking", lambda row: {**row, "split": "train"})
    settled = settle.settle([f"manifest={lacking}"])
    assert settled.spec.split.protocol == "group"
    assert settled.chosen[0].startswith("split anew by group, 25 %")
    assert "no clips of push on both sides" in settled.chosen[0]
    unknown = altered(data, tmp_path / "unknown", lambda row: {**row, "split": None, "group": None})
    assert settle.settle([f"manifest={unknown}"]).spec.split.protocol == "random"


def test_a_random_split_of_clips_with_known_sources_is_made_anew_by_source_if_it_leaks(data, tmp_path):
    leaky = altered(data, tmp_path / "leaky", dict, spec={"split": {"protocol": "random", "test_fraction": 0.4}})
    rows = Manifest.read(leaky)
    drawn = clips.split_of(rows, SplitSpec(protocol="random", test_fraction=0.4))
    leaky = altered(leaky, tmp_path / "leaky", lambda row: {**row, "split": drawn[row["key"]]})
    settled = settle.settle([f"manifest={leaky}"])
    assert settled.spec.split.protocol == "group"
    assert "of the manifest's own (random), 3 of 3 test clips have their source in training" in settled.chosen[0]
    assert settle.settle([f"manifest={leaky}", "split=null"]).spec.split is None


def test_val_clips_come_from_the_training_side_of_the_manifests_own_split(data, tmp_path, monkeypatch):
    monkeypatch.setattr(choices, "VAL_FRACTION", 0.34)
    monkeypatch.setattr(choices, "_LEAST_VAL", 1)
    official = altered(data, tmp_path / "official", dict, spec={"split": {"protocol": "official", "fold": 1}})
    settled = settle.settle([f"manifest={official}"])
    assert (settled.spec.split.protocol, settled.spec.split.val_fraction) == ("official", 0.34)
    assert "set aside as val" in settled.chosen[0]
    assert settled.spec.training.early_stopping == 30
    (prepared,) = experiment.prepare_all(experiment.Experiment(settled.spec, chosen=settled.chosen))
    assert (len(prepared.train), len(prepared.val), len(prepared.test)) == (6, 3, 3)
    assert not any("split anew" in note for note in prepared.notes)
    # A manifest that says another split than its settings give has one that nobody can draw again.
    other = altered(data, tmp_path / "other", dict, spec={"split": {"protocol": "official", "fold": 2}})
    assert settle.settle([f"manifest={other}"]).spec.split is None


def test_what_is_set_stays_set(data):
    given = ["network.flow.frames=4", "training.epochs=2", "split.protocol=random", "split.test_fraction=0.3"]
    spec = settle.settle([f"manifest={data}", *given, "name=x"]).spec
    assert (spec.network.flow.frames, spec.network.flow.width) == (4, 64)
    assert (spec.training.epochs, spec.split.test_fraction, spec.name) == (2, 0.3, "x")
    published = settle.settle([f"manifest={data}", "network.architecture=r3d_18", "network.modality=rgb"]).spec
    assert (published.network.rgb.frames, published.network.rgb.width) == (16, 112)


def test_what_is_wrong_is_said(tmp_path, data):
    with pytest.raises(SpecError, match=r"manifest: missing: araflow train-eval manifest="):
        settle.settle([])
    with pytest.raises(ManifestError, match="nowhere"):
        settle.settle([f"manifest={tmp_path}/nowhere"])
    with pytest.raises(SpecError, match="did you mean epochs"):
        settle.settle([f"manifest={data}", "training.epoch=3"])
    alone = altered(data, tmp_path / "alone", lambda row: row if row["key"] != "walk/0" else {**row, "split": "train"})
    few = Manifest.read(alone)
    keep = [row for row in few.table.to_pylist() if row["label"] != "walk" or row["key"] == "walk/0"]
    Manifest(few.table.from_pylist(keep, schema=few.table.schema), few.metadata, alone).write(
        alone / "manifest.parquet"
    )
    with pytest.raises(SpecError, match="walk has 1 finished clip; each class needs 2"):
        settle.settle([f"manifest={alone}"])


def test_a_run_that_has_begun_keeps_its_settings_on_any_machine(data, tmp_path, monkeypatch):
    told = [f"manifest={data}", f"out={tmp_path / 'run'}", "training.epochs=1", "data.workers=0"]
    (prepared,) = experiment.prepare_all(experiment.read(settle.NAME, told))
    *lines, last = timing.opening(prepared)
    assert tuple(lines) == prepared.chosen
    assert last.startswith("about ") and "1 epoch and the evaluation, as 3 timed steps tell" in last
    trained = run.train(prepared)
    assert trained.new_epochs == 1
    monkeypatch.setattr(settle, "usable_cores", lambda: 64)
    again = experiment.read(settle.NAME, told)
    assert again == experiment.Experiment(prepared.spec, chosen=prepared.chosen)
    (other,) = experiment.prepare_all(again)
    assert run.train(other).new_epochs == 0
    assert list(timing.opening(other)) == [], "there is nothing left to take time"
    with pytest.raises(SpecError, match=r"training\.epochs: 1 there, 2 now"):
        run.train(experiment.prepare_all(experiment.read(settle.NAME, [*told[:2], "training.epochs=2"]))[0])
    shutil.rmtree(tmp_path / "run")


def test_timing_leaves_no_trace_in_a_training(data, tmp_path):
    kept = []
    for name in ("timed", "plain"):
        prepared = experiment.prepare(world.spec(data, tmp_path / name, training__epochs=1))
        if name == "timed":
            assert timing.seconds(prepared) > 0
        kept.append(run.train(prepared).checkpoint.read_bytes())
    assert kept[0] == kept[1]
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize(
    ("duration", "shown"),
    [(0.2, "about 1 seconds"), (100, "about 100 seconds"), (600, "about 10 minutes"), (9e3, "about 2 hours")],
)
def test_durations_are_told_in_words(duration, shown):
    assert timing.told(duration, 5).startswith(f"{shown} for 5 epochs")


def test_the_command_needs_no_spec_and_shows_what_it_chose(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["train-eval", f"manifest={data}", "--dry-run"]
    shown = CliRunner().invoke(main, words)
    assert shown.exit_code == 0, shown.output
    assert "chosen: split: the manifest's own" in shown.stdout
    assert "chosen: network: arn_2d on flow, from random weights" in shown.stdout
    content = json.loads(CliRunner().invoke(main, [*words, "--json"]).stdout)["plan"][0]
    assert content["chosen"][:-1] == list(settle.settle([f"manifest={data}"]).chosen)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("modality", ["flow", "rgb"])
def test_the_shipped_files_for_any_manifest_take_its_split(data, modality):
    (prepared,) = experiment.prepare_all(experiment.read(modality, [f"manifest={data}"]))
    assert prepared.spec.split is None and prepared.model.labels == LABELS
    assert (len(prepared.train), len(prepared.test)) == (9, 3)


def test_a_split_made_anew_is_noted(data):
    def noted(**settings):
        prepared = experiment.prepare(world.spec(data, data / "run", **settings))
        return [note for note in prepared.notes if "split anew" in note]

    own = "the manifest's own split is not used (split=null takes it)"
    assert noted(split={"protocol": "group", "test_fraction": 0.4}) == [f"split anew by group, 40 % for test; {own}"]
    assert noted(split={"protocol": "official", "fold": 2}) == [f"split anew by official, fold 2; {own}"]
    assert noted() == noted(split={"protocol": "official", "val_fraction": 0.34}) == []
