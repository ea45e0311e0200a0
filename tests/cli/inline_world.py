"""Small outputs, made by the command without worker processes, for tests of what becomes of them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from araflow.build import run as building
from araflow.cli import main
from araflow.datasets._sample import draw_sample


class Inline:
    """A pool without processes; the work is the real one."""

    def submit(self, function: Callable[[Any], Any], item: Any, timeout: float) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(function(item))
        return future


def use_inline(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(building, "WorkerPool", lambda workers: contextlib.nullcontext(Inline()))


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
        use_inline(patch)
        assert flow(folder / "videos", folder / "out").exit_code == 0
