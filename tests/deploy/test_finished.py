"""An experiment with nothing to do is read back; what is edited, lacking or asked for otherwise is made."""

import shutil
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "recognition"))
import training_world as world

from araflow.deploy import finished, run
from araflow.recognition import experiment, results

DEPLOY = {"bench_seconds": 0}


@pytest.fixture(scope="module", autouse=True)
def _as_alone():
    with world.alone():
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A manifest, the folder of a finished run, and its results."""
    folder = tmp_path_factory.mktemp("finished")
    data = world.manifest(folder / "data")
    yield data, folder / "run", run.carry_out(*read(data, folder / "run"))
    shutil.rmtree(folder)


def read(data, out, **settings):
    file = world.spec(data, out, deploy=DEPLOY, training__epochs=1, **settings)
    found = experiment.Experiment(file)
    return found, experiment.prepare_all(found)


def test_all_that_was_made_is_shown_again(made, capsys):
    data, out, first = made
    shown = finished.read(*read(data, out))
    assert shown is not None
    for stored in (first, shown):
        results.print_results(stored)
    before, after = capsys.readouterr().out.split("test: ")[1:]
    assert before == after
    assert "0 in this run" not in (last := results.last_line(read(data, out)[0].spec, shown, 1.0))
    assert "1 epoch trained before, nothing to do" in last
    assert shown["split"].to_json() == first["split"].to_json()


@pytest.mark.parametrize(
    "settings", [{"evaluation__mode": "conv"}, {"evaluation__compat": "tao"}, {"deploy": {"export": False}}]
)
def test_other_settings_are_another_task(made, settings):
    data, out, _ = made
    found = world.spec(data, out, **{"deploy": DEPLOY, "training__epochs": 1, **settings})
    asked = experiment.Experiment(found)
    assert finished.read(asked, experiment.prepare_all(asked)) is None


@pytest.mark.parametrize("name", ["last.safetensors", "evaluation/metrics.json", "model.onnx", "finished.json"])
def test_what_is_edited_or_lacking_is_made_again(made, name):
    data, out, _ = made
    whole = (out / name).read_bytes()
    try:
        (out / name).write_bytes(whole[:-2])
        assert finished.read(*read(data, out)) is None
        (out / name).unlink()
        assert finished.read(*read(data, out)) is None
    finally:
        (out / name).write_bytes(whole)
    assert finished.read(*read(data, out)) is not None


def test_a_model_that_was_removed_is_exported_again(made):
    data, out, _ = made
    (out / "model.onnx").unlink()
    run.carry_out(*read(data, out))
    assert (out / "model.onnx").is_file()
    assert finished.read(*read(data, out)) is not None
