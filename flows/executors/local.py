"""Clips are made on this machine: threads of this process feed the worker processes that all shards share."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from prefect.futures import PrefectFuture
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.utilities.annotations import quote

from araflow.build.pool import WorkerPool
from araflow.build.resolved import ResolvedBuild
from araflow.core.clip import Clip
from araflow.store.store import Store
from flows.executors import limits
from flows.executors.base import SHARDS_AT_ONCE, Executor, Future, extract
from flows.states import StageResult


@contextlib.contextmanager
def start(build: ResolvedBuild, store: Store, on_clip: Callable[[int], None]) -> Iterator[Executor]:
    """Make clips here; see ``flows.executors.start``."""
    run = build.spec.run
    with (
        limits.of_making(build.recipe.backend),
        WorkerPool(run.workers) as pool,
        ThreadPoolTaskRunner[StageResult](SHARDS_AT_ONCE) as runner,
    ):

        def submit(number: int, clips: tuple[Clip, ...], after: Sequence[PrefectFuture[Any]]) -> Future:
            parameters = {
                "shard": number,
                "clips": quote(clips),
                "run": quote(run),
                "recipe": quote(build.recipe),
                "store": quote(store),
                "pool": quote(pool),
                "on_clip": quote(on_clip),
            }
            return runner.submit(extract, parameters, wait_for=after)

        try:
            yield Executor(submit, run.shard_size, counts_clips=True)
        except BaseException:
            pool.close()  # the shards end at once, instead of each running into the same trouble
            raise
