"""The flows' own arguments are settings of the specifications: types, limits and what they mean come from there."""

import inspect
import json
from pathlib import Path
from typing import Any

import pydantic
import pytest

from araflow.core import spec_file
from araflow.core.errors import SpecError
from araflow.core.spec import BuildSpec
from araflow.recognition.spec import ExperimentSpec
from flows.server import settings

settings.apply()
from flows.build import ARGUMENTS, build  # noqa: E402 - Prefect reads its settings when it is imported
from flows.train_eval import ARGUMENTS as OF_TRAINING  # noqa: E402
from flows.train_eval import read, train_eval  # noqa: E402

pytestmark = pytest.mark.prefect


def properties(flow: Any) -> dict[str, Any]:
    return flow.parameters.model_dump()["properties"]


def test_the_form_of_a_build_has_lists_limits_and_help():
    form = properties(build)
    assert list(form)[:3] == ["config", "overrides", "dataset"]
    assert list(form)[-3:] == ["strict", "accept_licence", "train"]
    assert form["preset"] == {
        "default": "configured",
        "description": "Speed against error.",
        "enum": ["configured", "fastest", "fast", "balanced", "accurate"],
        "position": 10,
        "title": "preset",
        "type": "string",
    }
    assert (form["fold"]["minimum"], form["fold"]["maximum"], form["fold"]["default"]) == (0, 3, 0)
    assert (form["bound"]["type"], form["bound"]["minimum"], form["bound"]["maximum"]) == ("number", 0, 4096)
    assert form["classes"] == form["overrides"] | {
        "description": "Classes to take; none: as configured.",
        "position": 3,
        "title": "classes",
    }
    assert {"auto", "opencv", "configured"} < set(form["backend"]["enum"])
    assert all("description" in one for one in form.values())


def test_zero_is_a_seed():
    form = properties(train_eval)
    assert (form["seed"]["default"], form["seed"]["minimum"]) == (-1, -1)
    assert OF_TRAINING.given({"seed": 0}) == {"training.seed": 0}
    assert form["protocols"]["items"]["enum"] == ["official", "random", "group", "auto"]


@pytest.mark.parametrize("flow", [build, train_eval], ids=lambda flow: flow.name)
def test_what_is_left_alone_says_nothing(flow):
    arguments = ARGUMENTS if flow is build else OF_TRAINING
    defaults = {name: one.default for name, one in inspect.signature(flow.fn).parameters.items()}
    assert arguments.given(defaults) == {}
    assert arguments.given({}) == {}


def test_arguments_stand_above_overrides_and_those_above_the_file(tmp_path: Path):
    file = tmp_path / "a.yaml"
    file.write_text("name: a\nout: here\noptical: {bound: 5, preset: fast, jpeg_quality: 80}\n")
    given = ARGUMENTS.given({"bound": 9.0, "classes": ["walk"], "fold": 2, "workers": 0, "out": "2024_01"})
    spec = spec_file.load(file, ["optical.bound=7", "optical.preset=accurate"], given)
    assert (spec.optical.bound, spec.optical.preset, spec.optical.jpeg_quality) == (9.0, "accurate", 80)
    assert (spec.dataset.classes, spec.split.fold, spec.run.workers, spec.out) == (("walk",), 2, None, "2024_01")


def test_a_run_is_named_by_what_was_asked_for():
    asked = {"source": "https://u:S3CRET@host/x?y", "classes": ["walk", "run"], "fold": 2, "preset": "configured"}
    named = ARGUMENTS.asked("mine/hmdb5.yaml", asked)
    assert named == "hmdb5 classes=walk, run source=https://…@host/x?… fold=2"
    assert len(ARGUMENTS.asked("hmdb5", {"source": "/v" * 99})) == 100
    assert OF_TRAINING.asked("quick", {"manifest": "data/mine\n", "seed": -1}) == "quick manifest=data/mine\\n"


def groups(model: type[pydantic.BaseModel], above: str = "") -> list[str]:
    """Every group of settings, dotted, but those where null says something."""
    found = []
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, pydantic.BaseModel):
            found += [above + name, *groups(field.annotation, f"{above}{name}.")]
    return found


def with_empty(group: str, **others: str) -> str:
    tree: dict[str, Any] = dict(others)
    spec_file.put(tree, group, None)
    return json.dumps(tree)  # YAML, too


@pytest.mark.parametrize("group", groups(BuildSpec))
def test_an_empty_group_of_a_build_says_nothing(tmp_path: Path, group: str):
    file = tmp_path / "a.yaml"
    file.write_text(with_empty(group, name="a", out="here"))
    plain = spec_file.parse({"name": "a", "out": "here"})
    assert spec_file.load(file) == plain
    every = {"backend": "opencv", "fold": 2, "workers": 3, "dataset": "sample", "quantizer": "max_radius", "bound": 3.0}
    asked = spec_file.load(file, (), ARGUMENTS.given(every))
    assert (asked.optical.backend, asked.run.workers, asked.dataset.name) == ("opencv", 3, "sample")
    texts = [f"{key}={value}" for key, value in ARGUMENTS.given(every).items()]
    assert spec_file.load(file, texts) == asked


@pytest.mark.parametrize("group", groups(ExperimentSpec))
def test_an_empty_group_of_an_experiment_says_nothing(tmp_path: Path, group: str):
    file = tmp_path / "a.yaml"
    file.write_text(with_empty(group, name="a", manifest="made", out="here"))
    plain = spec_file.validate({"name": "a", "manifest": "made", "out": "here"}, ExperimentSpec, "a")
    assert read(str(file), (), {}).spec == plain
    every = {"architecture": "i3d", "epochs": 3, "lr": 0.5, "seed": 0, "mode": "conv", "protocols": ["random", "group"]}
    asked = read(str(file), (), every).spec
    assert (asked.training.optimizer.lr, asked.training.seed, asked.evaluation.mode) == (0.5, 0, "conv")
    assert (asked.network.architecture, asked.protocols) == ("i3d", ("random", "group"))


def test_null_stays_where_it_says_something():
    tree = {"name": "a", "manifest": "made", "out": "here", "split": None}
    assert spec_file.validate(tree, ExperimentSpec, "a").split is None
    with pytest.raises(SpecError, match="optical: expected a group of settings"):
        spec_file.parse({"name": "a", "out": "here", "optical": []})
    with pytest.raises(SpecError, match="optical is a value, not a group"):
        spec_file.put({"optical": 3}, "optical.backend", "opencv")
