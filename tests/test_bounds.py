"""Each lower bound of pyproject.toml is a version that was tried: the one of constraints-lowest.txt."""

import itertools
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def requirements() -> Iterator[Requirement]:
    for text in itertools.chain(PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()):
        requirement = Requirement(text)
        if requirement.name != PROJECT["name"]:
            yield requirement


def pins(file: str) -> dict[str, Version]:
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if not line.startswith("#")]
    return {canonicalize_name(name): Version(version) for name, version in pairs}


LOWEST, TESTED = pins("constraints-lowest.txt"), pins("constraints.txt")


@pytest.mark.parametrize("requirement", list(requirements()), ids=lambda requirement: requirement.name)
def test_the_bound_is_what_was_tried_and_what_make_installs_is_within(requirement: Requirement):
    (bound,) = [Version(one.version) for one in requirement.specifier if one.operator == ">="]
    lowest = LOWEST[canonicalize_name(requirement.name)]
    parts = bound.release
    assert lowest.release[: len(parts)] == parts, f"{requirement}: tried from {lowest} on"
    tested = TESTED.get(canonicalize_name(requirement.name), lowest)  # not all extras are in constraints.txt
    assert {lowest, tested} <= set(requirement.specifier.filter([lowest, tested]))


def test_nothing_else_is_held_down():
    assert LOWEST.keys() == {canonicalize_name(requirement.name) for requirement in requirements()}
