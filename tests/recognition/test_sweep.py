"""Sweeps: which runs there are, that they go on, and what they are worth together."""

import json
import math
from types import SimpleNamespace

import pytest
import training_world as world
import yaml
from click.testing import CliRunner

from araflow.cli import main
from araflow.core.errors import SpecError
from araflow.recognition import sweep


@pytest.fixture(scope="module", autouse=True)
def _as_alone():
    with world.alone():
        yield


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    settings = world.tree(
        world.manifest(folder / "data"), folder / "runs", training__epochs=1, training__tensorboard=False
    )
    (folder / "tiny.yaml").write_text(yaml.safe_dump(settings))
    return folder / "tiny.yaml"


def call(*arguments):
    result = CliRunner(env={"COLUMNS": "300"}).invoke(main, ["sweep", "--no-prefect", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_values_between_commas_are_combined_each_with_each():
    found, single = sweep.points(["a.lr=0.1,0.01", "out=x", "training.seed=0, 1", 'b.steps=[1,2],"x,y"'])
    assert single == ["out=x"]
    assert len(found) == 8
    assert found[1].overrides == ("a.lr=0.1", "training.seed=0", 'b.steps="x,y"')
    assert [point.name for point in found[:2]] == ["lr-0.1_seed-0_steps-.1.2.", "lr-0.1_seed-0_steps-.x.y."]
    assert found[0].setting == ("0.1", "[1,2]")
    found, _ = sweep.points(["a.lr=1,2", "b.lr=x/y,x:y"])
    assert [point.name for point in found] == [
        "000_a.lr-1_b.lr-x.y",
        "001_a.lr-1_b.lr-x.y",
        "002_a.lr-2_b.lr-x.y",
        "003_a.lr-2_b.lr-x.y",
    ]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["training.seed=1"], "no setting has several values"),
        (["training.seed=1,"], "no setting has several values"),
        (["training.seed=1,1"], "a value is there twice"),
        (["training.seed=1,2", "training.seed=3,4"], "named twice"),
        (["a=" + ",".join(map(str, range(40))), "b=" + ",".join(map(str, range(40)))], "1,600 combinations"),
    ],
)
def test_what_is_no_sweep_is_refused(overrides, words):
    with pytest.raises(SpecError, match=words):
        sweep.points(overrides)


def test_spread_is_that_of_a_sample():
    spread = sweep.Spread((0.5, 0.6, 0.7))
    assert spread.to_json() == pytest.approx({"mean": 0.6, "deviation": 0.1, "least": 0.5, "most": 0.7})
    assert spread.cells() == ("60.0 %", "± 10.0", "50.0 to 70.0")
    alone = sweep.Spread((0.5,))
    assert math.isnan(alone.deviation)
    assert alone.cells()[1] == "–"
    assert alone.to_json()["deviation"] is None


def test_seeds_are_repeats_of_a_setting():
    found, _ = sweep.points(["training.seed=0,1", "training.optimizer.lr=0.1,0.01"])

    def result(hits: int, *validated: float) -> SimpleNamespace:
        top1 = SimpleNamespace(value=hits / 10)
        history = [{"epoch": 1.0, "val_top1": value} for value in validated] or [{"epoch": 1.0}]
        return SimpleNamespace(
            evaluation=SimpleNamespace(metrics=SimpleNamespace(top1=top1)), trained=SimpleNamespace(history=history)
        )

    table = sweep.Sweep(found, [result(4, 0.2, 0.8, 0.3), result(9), result(6, 0.6), result(10)]).table()
    assert table.columns[0].name == "training.optimizer.lr"
    assert table.rows == [
        ("0.1", "2", "50.0 %", "± 14.1", "40.0 to 60.0", "70.0 %", "± 14.1"),
        ("0.01", "2", "95.0 %", "± 7.1", "90.0 to 100.0", "–", "–"),
    ]


def test_a_sweep_trains_each_run_in_its_folder_and_goes_on(file):
    out = file.parent / "runs"
    names = ["seed-0", "seed-1", "seed-2"]
    planned = call("--spec", file, "training.seed=0,1,2", "--dry-run")
    assert planned.stdout.splitlines() == [*(str(out / name) for name in names), "3 runs"]
    assert not out.exists()
    begun = call("--spec", file, "training.seed=0,1")
    assert begun.exit_code == 0, begun.output
    assert begun.stdout.splitlines()[2].split()[0] == "2"
    assert "2 runs, 2 epochs trained now" in begun.stdout.splitlines()[-1]
    before = [(out / name / "last.safetensors").stat().st_mtime_ns for name in names[:2]]
    result = call("--spec", file, "training.seed=0,1,2", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert [run["name"] for run in found["runs"]] == names
    assert [(out / name / "last.safetensors").stat().st_mtime_ns for name in names[:2]] == before
    assert len({(out / name / "last.safetensors").read_bytes() for name in names}) == 3
    assert not (out / names[0] / "model.onnx").exists()
    (setting,) = found["settings"]
    shares = [run["metrics"]["top1"]["value"] for run in found["runs"]]
    assert setting["top1"]["mean"] == pytest.approx(sum(shares) / 3)
    assert (setting["runs"], setting["values"], setting["val_top1"]) == (3, {}, None)


def test_a_wrong_value_is_refused_before_any_training(file, tmp_path):
    for words, *values in (
        ("lr", "training.optimizer.lr=0.1,-1"),
        ("split.protocol=official,group instead", "training.seed=0,1", "protocols=[random]"),
    ):
        result = call("--spec", file, f"out={tmp_path / 'new'}", *values)
        assert result.exit_code == 1
        assert words in result.stderr
    assert not (tmp_path / "new").exists()
