"""Settings held against clips: what is refused before anything is trained, and what is only noted."""

import dataclasses
import json

import pyarrow as pa
import pytest
import torch
import training_world as world
from clip_world import LABELS

from araflow.core.errors import ManifestError, SpecError
from araflow.recognition import checkpoint, experiment, networks
from araflow.recognition.spec import ExperimentSpec
from araflow.recognition.streams import StreamSpec
from araflow.store.manifest import Manifest


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return world.manifest(tmp_path_factory.mktemp("data"))


@pytest.fixture
def prepare(data, tmp_path):
    def call(folder=None, modality="flow", **settings):
        return experiment.prepare(world.spec(folder or data, tmp_path / "run", modality, **settings))

    return call


@pytest.fixture
def changed(data, tmp_path):
    """Write the manifest again with other rows or metadata; the clips stay where they are."""

    def write(change=lambda row: row, **metadata):
        read = Manifest.read(data)
        rows = [{**row, "path": row["path"] and str(data / row["path"])} for row in read.table.to_pylist()]
        table = pa.Table.from_pylist([row for row in map(change, rows) if row], schema=read.table.schema)
        path = tmp_path / "changed.parquet"
        known = {name: value for name, value in {**read.metadata, **metadata}.items() if value is not None}
        Manifest(table, known, tmp_path).write(path)
        return path

    return write


def test_clips_are_dealt_as_the_manifest_says_with_its_own_label_numbers(prepare):
    found = prepare()
    assert [clip.key for clip in found.test] == ["push/0", "run/0", "walk/0"]
    assert len(found.train) == 9
    assert found.val == []
    assert found.model.labels == LABELS == ("walk", "run", "push")
    for clip in (*found.train, *found.test):
        assert LABELS[clip.label_index] == clip.row["label"]
    assert any("no val clips" in note for note in found.notes)


def test_it_writes_nothing_and_the_manifest_may_be_named_itself(prepare, data, tmp_path):
    one, other = prepare(), prepare(data / "manifest.parquet")
    assert [clip.folder for clip in one.train] == [clip.folder for clip in other.train]
    assert one.model.manifest_sha256 == other.model.manifest_sha256
    assert list(tmp_path.iterdir()) == []


def test_a_manifest_that_is_not_there_is_named(prepare, tmp_path):
    with pytest.raises(ManifestError, match=str(tmp_path / "nowhere")):
        prepare(tmp_path / "nowhere")
    (tmp_path / "text.parquet").write_text("no manifest")
    with pytest.raises(ManifestError, match=r"text\.parquet"):
        prepare(tmp_path / "text.parquet")


def test_flow_remembers_how_it_was_made(prepare):
    flow = prepare(data__flow_scale="pixels").model.flow
    assert flow is not None
    assert (flow.backend, flow.algorithm, flow.preset, flow.quantizer, flow.bound) == (
        "opencv",
        "dis",
        "balanced",
        "bound",
        20.0,
    )
    assert flow.scale == "pixels"
    assert prepare(modality="rgb").model.flow is None


def test_flow_that_was_made_in_two_ways_is_refused_for_flow_alone(prepare, changed):
    mixed = changed(lambda row: {**row, "algorithm": "tvl1"} if row["key"] == "walk/1" else row)
    with pytest.raises(SpecError, match=r"not made in one way \(opencv dis .*; opencv tvl1 .*dis against tvl1"):
        prepare(mixed)
    assert len(prepare(mixed, "rgb").train) == 9


def test_a_class_that_is_not_in_training_is_refused_by_name(prepare, changed):
    gone = changed(lambda row: {**row, "split": "test"} if row["label"] == "run" else row)
    with pytest.raises(SpecError, match=r"split: no train clip shows run \(of 6 clips\); choose another split"):
        prepare(gone)
    with pytest.raises(SpecError, match="no train clip shows run"):
        prepare(gone, evaluation__absent_classes="report")


def test_a_class_that_is_not_in_test_is_refused_or_noted(prepare, changed):
    gone = changed(lambda row: {**row, "split": "train"} if row["label"] == "run" else row)
    with pytest.raises(SpecError, match=r"no test clip shows run .*evaluation\.absent_classes=report"):
        prepare(gone)
    notes = prepare(gone, evaluation__absent_classes="report").notes
    assert any("no test clip shows run" in note for note in notes)


def test_a_class_of_which_no_clip_could_be_made_is_refused(prepare, changed):
    gone = changed(lambda row: {**row, "outcome": "quarantined"} if row["label"] == "walk" else row)
    with pytest.raises(SpecError, match="no train clip shows walk"):
        prepare(gone)


@pytest.mark.parametrize("side", ["train", "test"])
def test_a_side_without_clips_is_refused(prepare, changed, side):
    other = {"train": "test", "test": "train"}[side]
    with pytest.raises(SpecError, match=rf"no finished clip for {side}; set split\.protocol"):
        prepare(changed(lambda row: {**row, "split": other}))
    with pytest.raises(SpecError, match=r"no finished clip for train"):
        prepare(changed(lambda row: {**row, "split": None}))


def test_a_split_that_cannot_be_names_those_that_can(prepare, changed):
    alone = changed(lambda row: {**row, "group": None})
    words = r"has none: use split\.protocol=random; split=null takes the split that the manifest has"
    with pytest.raises(SpecError, match=words):
        prepare(alone, split={"protocol": "group"})
    assert len(prepare(alone).test) == 3


def test_one_class_is_not_enough(prepare, changed):
    with pytest.raises(SpecError, match="has 1 classes; a recogniser needs at least 2"):
        prepare(changed(lambda row: row if row["label"] == "walk" else None, labels=["walk"]))


def test_labels_and_their_numbers_must_be_each_others(prepare, changed):
    with pytest.raises(ManifestError, match=r"clip '\w+/\d' is of class \w+, number \d, but .* push, run, walk"):
        prepare(changed(labels=sorted(LABELS)))
    with pytest.raises(ManifestError, match=r"clip 'walk/2' is of class walk, number 2"):
        prepare(changed(lambda row: {**row, "label_index": 2} if row["key"] == "walk/2" else row))
    with pytest.raises(ManifestError, match=r"number 7"):
        prepare(changed(lambda row: {**row, "label_index": 7} if row["key"] == "walk/2" else row))


def test_without_a_list_the_numbers_give_the_classes_their_order(prepare, changed):
    assert prepare(changed(labels=None)).model.labels == LABELS


def test_clips_without_a_label_are_nobodys(prepare, changed):
    bare = changed(
        lambda row: {**row, "label": None, "label_index": None, "split": None} if row["key"] == "walk/1" else row
    )
    assert len(prepare(bare).train) == 8


def test_short_clips_are_looped_held_or_refused(prepare):
    """Clips have 11 to 14 fields."""
    long = {"frames": 13, "width": 40, "height": 40}
    assert not any("shorter" in note for note in prepare(network__flow={**long, "frames": 11}).notes)
    (note,) = [note for note in prepare(network__flow=long).notes if "shorter" in note]
    assert "6 clips are shorter than a window and are looped: " in note
    assert "push/1 has 12 flow fields, a window spans 13" in note
    held = prepare(network__flow=long, data__short_clip="repeat").notes
    assert any("held on their last frame" in note for note in held)
    with pytest.raises(
        SpecError, match=r"data\.short_clip: refuse: 6 clips .*push/1 has 12 flow fields, a window spans 1"
    ):
        prepare(network__flow=long, data__short_clip="refuse")
    with pytest.raises(SpecError, match="a window spans 13"):
        prepare(network__flow={**long, "frames": 5}, data__sample_rate=3, data__short_clip="refuse")
    with pytest.raises(SpecError, match="push/1 has 13 frames, a window spans 20"):
        prepare(modality="rgb", network__rgb={**long, "frames": 20}, data__short_clip="refuse")


def test_dense_refuses_now_and_not_in_mid_epoch_and_the_other_samplers_know_no_short_clips(prepare):
    long = {"network__flow": {"frames": 30, "width": 40, "height": 40}, "data__short_clip": "refuse"}
    with pytest.raises(SpecError, match=r"clip '\w+/\d': data\.short_clip: refuse"):
        prepare(**long, data__sampler="dense")
    for sampler in ("random_interval", "segments"):
        assert prepare(**long, data__sampler=sampler).train


@pytest.mark.parametrize("sampler", ["dense", "random_interval", "segments"])
def test_a_sampler_that_does_not_use_the_sample_rate_refuses_no_clip_for_it(prepare, sampler):
    settings = {"data__sampler": sampler, "data__short_clip": "refuse"}
    plain, fast = prepare(**settings), prepare(**settings, data__sample_rate=1000)
    assert (fast.notes, fast.train, fast.test) == (plain.notes, plain.train, plain.test)


# --- the window that an architecture was published with ---


WINDOW = {"frames": 2, "width": 40, "height": 40}
TORCHVISION = {
    "frames": 16,
    "width": 112,
    "height": 112,
    "mean": (0.43216, 0.394666, 0.37645),
    "std": (0.22803, 0.22145, 0.216989),
}


@pytest.mark.parametrize("name", ["r2plus1d_18", "r3d_18", "mc3_18"])
def test_an_experiment_that_names_an_architecture_takes_its_published_window(name):
    found = experiment_of(network={"architecture": name})
    assert found.network.rgb.model_dump() == TORCHVISION
    assert found.network.flow.model_dump() == {**TORCHVISION, "mean": (0.5,), "std": (0.5,)}
    assert found.data.short_side == 128


def test_what_is_set_of_a_window_stays_and_the_rest_is_as_published():
    found = experiment_of(network={"architecture": "r3d_18", "rgb": {"frames": 8}}, data={"short_side": 200})
    assert found.network.rgb.model_dump() == {**TORCHVISION, "frames": 8}
    assert found.data.short_side == 200
    assert experiment_of(network={"architecture": "i3d"}).network.flow.frames == 64
    assert experiment_of().network.rgb == StreamSpec()
    assert ExperimentSpec.model_validate(found.model_dump()) == found
    assert ExperimentSpec.model_validate_json(found.model_dump_json()) == found
    with pytest.raises(ValueError, match="architecture"):
        experiment_of(network={"architecture": "r4d"})
    with pytest.raises(ValueError, match=r"network\.rgb"):
        experiment_of(network={"architecture": "r3d_18", "rgb": None})


def experiment_of(**settings):
    return ExperimentSpec.model_validate({"name": "x", "manifest": "x", "out": "x", **settings})


def test_another_window_than_published_weights_were_made_for_is_said(prepare, tmp_path):
    torch.save({}, tmp_path / "r3d_18-b3b3357e.pth")
    weights = {"flow": str(tmp_path / "r3d_18-b3b3357e.pth")}
    own = {"architecture": "r3d_18", "modality": "flow"}

    def said(**network):
        spec = world.spec(prepare().manifest.folder, tmp_path / "run", network={**own, **network})
        return [note for note in experiment.prepare(spec).notes if "published" in note]

    assert said(weights=weights) == []
    assert said(flow={"frames": 32, "width": 224, "height": 224}) == []  # random weights know no window
    (note,) = said(weights=weights, flow={"frames": 32, "mean": [0.25], "std": [0.5, 0.5]})
    assert "network.flow: another window than r3d_18 was published with" in note
    assert "frames 32 instead of 16; mean [0.25, 0.25] instead of [0.5, 0.5]" in note
    assert "width" not in note and "std" not in note


def test_our_own_weights_are_held_against_the_window_that_they_were_trained_on(prepare, tmp_path):
    model = prepare().model
    checkpoint.save(tmp_path / "own.safetensors", networks.create(model), model)
    weights = {"network__weights": {"flow": str(tmp_path / "own.safetensors")}}
    assert not any("another window" in note for note in prepare(**weights).notes)
    (note,) = [n for n in prepare(**weights, network__flow={**WINDOW, "width": 48}).notes if "another window" in n]
    assert "another window than own.safetensors was trained on: width 48 instead of 40;" in note


def test_pixels_need_the_radii_of_every_clip(prepare, changed):
    lost = changed(lambda row: {**row, "quantizer": row["quantizer"] and "max_radius", "bound": None})
    with pytest.raises(SpecError, match=r"data\.flow_scale: pixels needs"):
        prepare(lost, data__flow_scale="pixels")
    assert prepare(lost).model.flow.quantizer == "max_radius"


def test_early_stopping_needs_val_clips(prepare):
    with pytest.raises(SpecError, match=r"training\.early_stopping: .*set split\.val_fraction"):
        prepare(training__early_stopping=2)
    found = prepare(training__early_stopping=2, split__protocol="official", split__val_fraction=0.34)
    assert len(found.val) == 3
    assert not any("no val clips" in note for note in found.notes)


def test_shuffled_labels_are_those_of_training_alone(prepare):
    plain, control = prepare(), prepare(shuffle_labels=True)
    assert control.test == plain.test
    assert [clip.key for clip in control.train] == [clip.key for clip in plain.train]
    numbers = [[clip.label_index for clip in one.train] for one in (plain, control)]
    assert numbers[0] != numbers[1]
    assert sorted(numbers[0]) == sorted(numbers[1])
    again, other = prepare(shuffle_labels=True), prepare(shuffle_labels=True, training__seed=5)
    assert again.train == control.train
    assert other.train != control.train


def test_each_protocol_is_an_experiment_in_a_folder_of_its_own(data, tmp_path):
    spec = world.spec(
        data, tmp_path, protocols=["official", "random", "group"], split={"test_fraction": 0.4, "seed": 3}
    )
    found = experiment.under_protocols(spec)
    assert [own.split.protocol for own in found] == ["official", "random", "group"]
    assert [own.out for own in found] == [f"{tmp_path}/{name}" for name in ("official", "random", "group")]
    assert {(own.split.test_fraction, own.split.seed, own.protocols) for own in found} == {(0.4, 3, None)}
    assert experiment.under_protocols(found[0]) == [found[0]]
    prepared = [experiment.prepare(own) for own in found]
    assert prepared[2].leakage.any_class == 0, "group"
    assert prepared[0].leakage.any_class == 3, "official: each test clip's film is in training"
    for one in prepared:
        assert not {clip.key for clip in one.train} & {clip.key for clip in one.test}


def test_leakage_is_that_of_the_split_in_use(prepare):
    found = prepare().leakage
    assert (found.test, found.same_class, found.any_class) == (3, 3, 3)


def test_a_prepared_experiment_knows_its_folder_and_versions(prepare, tmp_path):
    found = prepare()
    assert found.out == tmp_path / "run"
    assert found.model.software.keys() == {"araflow", "torch", "lightning"}
    assert ExperimentSpec.model_validate(json.loads(found.spec.model_dump_json())) == found.spec
    assert {field.name for field in dataclasses.fields(found)} >= {"train", "val", "test", "notes"}
