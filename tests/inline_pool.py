"""A build's pool without processes, for tests whose subject is not the processes; the work is the real one."""

import contextlib
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

from araflow.build import run


class Inline:
    """Takes the place of ``WorkerPool``: does what it is asked for at once, in this process."""

    def submit(self, function: Callable[[Any], Any], item: Any, timeout: float) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(function(item))
        except Exception as error:
            future.set_exception(error)
        return future

    def pause(self, seconds: float) -> None: ...


def use(patch: pytest.MonkeyPatch, pool: Inline | None = None) -> None:
    """Have builds of this process use such a pool."""
    patch.setattr(run, "WorkerPool", lambda workers: contextlib.nullcontext(pool or Inline()))
