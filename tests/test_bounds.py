"""Each lower bound of pyproject.toml is a version that was tried: the one of constraints-lowest.txt."""

import ast
import itertools
import re
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


EXTRAS = PROJECT["optional-dependencies"]


def requirements(texts: Iterable[str]) -> Iterator[Requirement]:
    for requirement in map(Requirement, texts):
        if requirement.name != PROJECT["name"]:
            yield requirement
        for extra in sorted(requirement.extras):  # a set: each process must collect the same order
            yield from requirements(EXTRAS[extra]) if requirement.name == PROJECT["name"] else ()


ALL = list(requirements(itertools.chain(PROJECT["dependencies"], *EXTRAS.values())))


def pins(file: str) -> dict[str, Version]:
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if not line.startswith("#")]
    return {canonicalize_name(name): Version(version) for name, version in pairs}


LOWEST, TESTED = pins("constraints-lowest.txt"), pins("constraints.txt")


@pytest.mark.parametrize("requirement", ALL, ids=lambda requirement: requirement.name)
def test_the_bound_is_what_was_tried_and_what_make_installs_is_within(requirement: Requirement):
    (bound,) = [Version(one.version) for one in requirement.specifier if one.operator == ">="]
    lowest = LOWEST[canonicalize_name(requirement.name)]
    parts = bound.release
    assert lowest.release[: len(parts)] == parts, f"{requirement}: tried from {lowest} on"
    tested = TESTED.get(canonicalize_name(requirement.name), lowest)  # not all extras are in constraints.txt
    assert {lowest, tested} <= set(requirement.specifier.filter([lowest, tested]))


def test_nothing_else_is_held_down():
    assert LOWEST.keys() == {canonicalize_name(requirement.name) for requirement in ALL}


def test_an_extra_that_is_named_where_something_is_lacking_brings_it():
    seen = 0
    for path in [*(ROOT / "araflow").rglob("*.py"), *(ROOT / "flows").rglob("*.py"), *ROOT.glob("docs/*.md")]:
        text = path.read_text(encoding="utf-8")
        assert set(re.findall(r"araflow\[(\w+)\]", text)) <= EXTRAS.keys(), path
        for call in ast.walk(ast.parse(text)) if path.suffix == ".py" else ():
            if not (isinstance(call, ast.Call) and ast.unparse(call.func) == "require.packages"):
                continue
            names = {ast.literal_eval(name) for name in call.args}
            extra = next((ast.literal_eval(word.value) for word in call.keywords if word.arg == "extra"), "train")
            assert names <= {one.name for one in requirements(EXTRAS[extra])}, f"{path}:{call.lineno}"
            seen += 1
    assert seen > 5
