"""What tests of commands share: small outputs, and builds of them without worker processes."""

from pathlib import Path

import inline_pool
import pytest
from inline_world import draw


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    inline_pool.use(monkeypatch)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``videos`` of two classes, and ``out``: what a build has made of them."""
    world = tmp_path_factory.mktemp("made")
    draw(world)
    return world
