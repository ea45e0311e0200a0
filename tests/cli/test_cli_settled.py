"""``--cfg`` prints what a command would work by, as a file that it takes."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from araflow.cli import main
from araflow.core import resources, spec_file
from araflow.recognition import experiment


def printed(*arguments) -> str:
    result = CliRunner().invoke(main, [*map(str, arguments), "--cfg"])
    assert result.exit_code == 0, result.output
    return result.stdout


def shipped(kind: str) -> list[str]:
    return sorted(path.stem for path in (resources.folder("configs") / kind).glob("*.yaml"))


@pytest.mark.parametrize("name", shipped(""))
def test_a_build_s_settings_say_all_and_are_read_back(name, tmp_path):
    (tmp_path / "again.yaml").write_text(printed("build", name, "out=elsewhere", "split.seed=7"))
    again = spec_file.load(tmp_path / "again.yaml")
    assert again == spec_file.load(name, ["out=elsewhere", "split.seed=7"])
    assert again.split.seed == 7
    content = json.loads(printed("build", name, "--json"))
    assert content.keys() == type(again).model_fields.keys()


@pytest.mark.parametrize("name", shipped("train"))
def test_an_experiment_s_settings_say_all_and_are_read_back(name, tmp_path):
    file: Path = tmp_path / "again.yaml"
    file.write_text(printed("train-eval", "--spec", name, "training.seed=7", "manifest=data/mine"))
    again = experiment.read(file).spec
    assert again == experiment.read(name, ["training.seed=7", "manifest=data/mine"]).spec
    assert "early_stopping: null" in file.read_text()  # a default that no file names


def test_a_secret_in_an_address_is_not_printed():
    assert "hidden" not in printed("build", "folder", "dataset.source=https://host/a.zip?token=hidden")
