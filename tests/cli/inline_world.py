"""Small outputs, made by the command without worker processes, for tests of what becomes of them."""

from __future__ import annotations

from pathlib import Path

import inline_pool
import pytest
from click.testing import CliRunner, Result

from araflow.cli import main
from araflow.datasets._sample import draw_sample


def araflow(*arguments: str | Path, typed: str | None = None) -> Result:
    """Run a command; a traceback fails the test."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments], input=typed)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def flow(source: str | Path, out: str | Path, *options: str | Path) -> Result:
    return araflow("flow", source, "--out", out, "--preset", "fastest", *options)


def draw(folder: Path) -> None:
    """Draw a video of each of two classes into ``videos``, and make ``out`` of them."""
    draw_sample(
        folder, clips_per_class=1, sources_per_class=1, width=96, height=64, seconds=(0.3, 0.3), classes=["walk", "run"]
    )
    with pytest.MonkeyPatch.context() as patch:
        inline_pool.use(patch)
        assert flow(folder / "videos", folder / "out").exit_code == 0
