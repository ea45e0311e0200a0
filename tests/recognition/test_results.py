"""Evaluations of trained recognisers: of an experiment, of files, side by side; and the plan."""

import dataclasses
import json
import shutil

import pyarrow.parquet as pq
import pytest
import training_world as world
from clip_world import LABELS

from araflow.core.errors import ManifestError, SourceError, SpecError
from araflow.core.written import LIST
from araflow.recognition import checkpoint, experiment, results
from araflow.recognition.networks import count, create, outline
from araflow.recognition.spec import EvaluationSpec, Views
from araflow.recognition.training import run
from araflow.store.manifest import Manifest

CENTER = {"mode": "center"}


@pytest.fixture(scope="module", autouse=True)
def _as_alone():
    with world.alone():
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return world.manifest(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs")
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def prepared(data, folder):
    return experiment.prepare(world.spec(data, folder / "flow", training__epochs=1, evaluation__mode="conv"))


@pytest.fixture(scope="module")
def trained(prepared):
    return run.train(prepared)


@pytest.fixture(scope="module")
def rgb(data, folder):
    return world.train(data, folder / "rgb", "rgb", training__epochs=1).checkpoint


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != LIST}


def test_an_evaluation_is_written_and_a_second_one_says_the_same(prepared, trained):
    done = results.evaluate(prepared, trained.checkpoint)
    folder = prepared.out / "evaluation"
    first = files(folder)
    assert first.keys() == {"metrics.json", "predictions.parquet", "confusion.csv", "confusion.png", "summary.md"}
    assert done.keys == ("push/0", "run/0", "walk/0")
    assert done.labels == LABELS
    assert [LABELS[target] for target in done.targets] == ["push", "run", "walk"]
    assert list(done.windows) == [10, 10, 10]
    assert "leaked" in first["summary.md"].decode().lower()
    assert {row["split"] for row in pq.read_table(folder / "predictions.parquet").to_pylist()} == {"test"}
    results.evaluate(prepared, trained.checkpoint)
    assert files(folder) == first
    again = results.evaluate_files([trained.checkpoint], prepared.manifest.folder, settings={"mode": "conv"})
    by_files, leakage = again.evaluation, again.leakage
    assert by_files.metrics.to_json() == done.metrics.to_json()
    assert (by_files.probabilities == done.probabilities).all()
    assert leakage == prepared.leakage


def test_a_recogniser_takes_down_how_it_was_evaluated_last(prepared, trained, tmp_path):
    before = checkpoint.read_spec(trained.checkpoint)
    assert before.views == Views(mode="conv")
    copy = tmp_path / "last.safetensors"
    network, _ = checkpoint.load(trained.checkpoint)
    checkpoint.save(copy, network, before)
    other = prepared.spec.model_copy(update={"evaluation": EvaluationSpec(mode="center"), "out": str(tmp_path / "run")})
    results.evaluate(experiment.prepare(other), copy)
    again, after = checkpoint.load(copy)
    assert after == before.model_copy(update={"views": Views(mode="center")})
    state = network.state_dict()
    assert all(bool((tensor == state[name]).all()) for name, tensor in again.state_dict().items())


def test_a_split_or_all_clips_may_be_evaluated(data, trained):
    sizes = {"train": 9, "test": 3, "all": 12}
    for split, size in sizes.items():
        done = results.evaluate_files([trained.checkpoint], data, split=split, settings=CENTER).evaluation
        assert len(done.keys) == size
        assert {row["split"] for row in done.rows} == ({"train", "test"} if split == "all" else {split})
    with pytest.raises(SpecError, match=r"--split: .* has no finished clip for val"):
        results.evaluate_files([trained.checkpoint], data, split="val", settings=CENTER)
    with pytest.raises(SpecError, match="--split: 'tets' is not allowed; allowed: train, val, test, all"):
        results.evaluate_files([trained.checkpoint], data, split="tets", settings=CENTER)


def test_two_streams_are_fused_by_weight(data, trained, rgb):
    pair = [trained.checkpoint, rgb]
    alone = [results.evaluate_files([file], data, settings=CENTER).evaluation.probabilities for file in pair]
    fused = results.evaluate_files(pair, data, settings=CENTER, weights=[1, 3]).evaluation
    assert fused.probabilities == pytest.approx((alone[0] + 3 * alone[1]) / 4)
    even = results.evaluate_files(pair, data, settings=CENTER).evaluation
    assert even.probabilities == pytest.approx((alone[0] + alone[1]) / 2)
    for weights in ([1, 2, 3], [1], [0, 0], [-1, 2], [float("nan"), 1]):
        with pytest.raises(SpecError, match="weight"):
            results.evaluate_files(pair, data, settings=CENTER, weights=weights)


def test_a_recogniser_of_the_same_classes_in_another_order_is_refused(data, trained, tmp_path):
    read = Manifest.read(data)
    order = ["push", "run", "walk"]
    rows = [
        {
            **row,
            "label_index": row["label"] and order.index(row["label"]),
            "path": row["path"] and str(data / row["path"]),
        }
        for row in read.table.to_pylist()
    ]
    other = Manifest(read.table.from_pylist(rows, schema=read.table.schema), {**read.metadata, "labels": order}, data)
    other.write(tmp_path / "other.parquet")
    with pytest.raises(SpecError, match=r"knows the classes walk, run, push; .* has push, run, walk"):
        results.evaluate_files([trained.checkpoint], tmp_path / "other.parquet", settings=CENTER)


def test_what_is_wrong_is_named(data, trained, tmp_path):
    with pytest.raises(SpecError, match=r"mode: 'centre' is not allowed; allowed: center, conv, all"):
        results.evaluate_files([trained.checkpoint], data, settings={"mode": "centre"})
    with pytest.raises(SpecError, match="protocol: 'rand' is not allowed"):
        results.evaluate_files([trained.checkpoint], data, protocol="rand", settings=CENTER)
    with pytest.raises(SourceError, match="no such checkpoint"):
        results.evaluate_files([tmp_path / "best.safetensors"], data, settings=CENTER)
    with pytest.raises(ManifestError, match="nowhere"):
        results.evaluate_files([trained.checkpoint], tmp_path / "nowhere", settings=CENTER)


def test_protocols_stand_side_by_side_with_their_leakage(data, folder):
    spec = world.spec(
        data,
        folder / "protocols",
        training__epochs=1,
        protocols=["official", "random", "group"],
        split={"test_fraction": 0.4},
    )
    found = {}
    for own in experiment.under_protocols(spec):
        one = experiment.prepare(own)
        training = run.train(one)
        found[own.split.protocol] = results.Result(one, training, results.evaluate(one, training.checkpoint))
    table = results.side_by_side(found)
    lines = [[cell.strip() for cell in line.strip("| ").split("|")] for line in table.splitlines()]
    assert lines[0][0] == "protocol" and "leaked" in lines[0]
    assert [line[0] for line in lines[2:]] == ["official", "random", "group"]
    leaked = {line[0]: line[lines[0].index("leaked across classes")] for line in lines[2:]}
    assert leaked["official"] == "3 of 3"
    assert leaked["group"].startswith("0 of ")
    line = results.last_line(spec, found, 1.25)
    assert line.startswith("tiny: official: top-1 ") and "3 epochs trained, 1.2 s" in line
    gone_on = dataclasses.replace(found["random"], trained=dataclasses.replace(found["random"].trained, new_epochs=0))
    assert "; 3 epochs (2 in this run), " in results.last_line(spec, found | {"random": gone_on}, 1.25)
    for name, result in found.items():
        content = json.loads(json.dumps(result.to_json()))
        assert content["checkpoint"] == f"{folder}/protocols/{name}/last.safetensors"
        assert content["epochs"] == 1
        assert content["leakage"]["any_class"] == result.prepared.leakage.any_class


def test_the_plan_says_what_would_be_trained_on_what(prepared, capsys):
    content = json.loads(json.dumps(results.plan(prepared)))
    assert content["clips"] == {"train": 9, "val": 0, "test": 3}
    assert content["labels"] == list(LABELS)
    network = create(prepared.model)
    assert content["parameters"] == count(outline(prepared.model)) == sum(p.numel() for p in network.parameters())
    results.print_plan(prepared)
    shown = capsys.readouterr().out
    for words in (
        "tiny: arn_2d, flow, ",
        "flow: 2 frames of 40x40",
        "3 classes; clips: 9 train, 0 val, 3 test",
        "3 of 3",
        "note: no val clips",
        "1 epoch, 4 windows a step",
    ):
        assert words in shown, words
