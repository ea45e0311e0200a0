"""What another machine is sent to make a shard."""

from pathlib import Path

import pytest

from araflow.build.recipe import Recipe
from araflow.core.clip import Clip
from araflow.core.spec_file import parse
from araflow.optical import choose
from flows.server import settings

settings.apply()
from flows.executors.apart import pack, unpack  # noqa: E402 - Prefect reads its settings when it is imported


@pytest.mark.parametrize("settings", [{}, {"rgb": {"short_side": 64}, "optical": {"also": ["npy32"]}}], ids=str)
def test_a_recipe_arrives_as_it_was_sent(settings: dict[str, object], tmp_path: Path):
    spec = parse(
        {
            "name": "folder",
            "dataset": {"name": "folder", "source": str(tmp_path)},
            "out": str(tmp_path / "o"),
            **settings,
        }
    )
    recipe = Recipe.of(spec, choose(spec.optical.backend, spec.optical.algorithm))
    clips = (Clip("folder", "walk/a", "walk", name="a.avi", source=tmp_path / "a.avi"),)
    assert unpack(pack(clips, spec, recipe)) == (spec, recipe, clips)
