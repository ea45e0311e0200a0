"""Every dataset says of itself what others need to know; adding one touches one file."""

import ast
import importlib
import inspect
from pathlib import Path

import pytest

import araflow
from araflow import datasets
from araflow.acquire import registry
from araflow.core.resources import plugins
from araflow.core.spec import BuildSpec, DatasetSpec
from araflow.datasets import Dataset

NAMES = plugins("datasets")
every = pytest.mark.parametrize("name", NAMES)
ASKED = [name for name, value in vars(Dataset).items() if inspect.isfunction(value) and not name.startswith("_")]


@every
def test_a_dataset_answers_everything_that_is_asked_of_one_with_the_same_arguments(name):
    dataset = datasets.load(name)
    assert dataset is importlib.import_module(f"araflow.datasets.{name}").dataset
    for asked in ASKED:
        own = list(inspect.signature(getattr(dataset, asked)).parameters.values())
        wanted = list(inspect.signature(getattr(Dataset, asked)).parameters.values())[1:]
        if asked == "list_clips":  # its arguments have no names
            assert len(own) == len(wanted)
        else:
            assert [(one.name, one.kind) for one in own] == [(one.name, one.kind) for one in wanted]


@every
def test_only_subsets_that_a_dataset_has_change_what_is_written(name):
    spec = BuildSpec.model_validate({"name": "x", "out": "o", "dataset": {"name": name}})
    assert ("subsets" in spec.output_settings()["dataset"]) == bool(datasets.load(name).subsets())


@every
def test_splits_come_with_what_is_downloaded_or_drawn_and_else_with_a_list(name):
    dataset = datasets.load(name)
    mine = {source: dataset.knows_splits(DatasetSpec(name=name, source=source)) for source in ("/a", "/a/list.csv")}
    if name in registry.names():
        assert dataset.knows_splits(DatasetSpec(name=name))
        assert set(mine.values()) == {bool(dataset.subsets())}
        assert dataset.knows_splits(DatasetSpec(name=name, source="/a", splits="/b"))
    else:
        assert mine["/a/list.csv"]


@every
def test_what_is_at_hand_without_a_download_is_none_or_a_folder_that_is_there(name, tmp_path, monkeypatch):
    monkeypatch.setenv("ARAFLOW_CACHE", str(tmp_path / "cache"))
    (tmp_path / "mine").mkdir()
    small = {"clips_per_class": 1, "width": 64, "height": 64}
    source = str(tmp_path / "mine") if name == "folder" else None
    files = datasets.load(name).at_hand(DatasetSpec(name=name, source=source, sample=small), tmp_path / "work")
    assert (files is None) == (name in registry.names())
    assert files is None or files.videos.is_dir()
    assert not (tmp_path / "cache").exists()


def test_no_other_file_knows_a_dataset_by_name():
    """Names in texts for people are examples; a name that is compared is a decision that belongs to the dataset."""
    root = Path(araflow.__file__).parent
    places = []
    for path in [*root.rglob("*.py"), *(root.parent / "flows").rglob("*.py")]:
        if path.is_relative_to(root / "datasets") or path == root / "cli" / "tables.py":  # "drawn, not footage"
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            texts = [n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
            decides = isinstance(node, ast.Compare) or (
                isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("startswith", "endswith")
            )
            if decides and {text for text in texts if text in NAMES or text in ("kinetics", "hmdb", "ucf")}:
                places.append(f"{path.relative_to(root.parent)}:{node.lineno}")
    assert places == []
