"""Clips are made on a Dask cluster: the same shards as on one machine, each a task of the cluster."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import TaskRunResult
from prefect.futures import PrefectFuture

from araflow.build.resolved import ResolvedBuild
from araflow.core.clip import Clip
from araflow.core.errors import AraflowError
from araflow.store.address import open_store
from araflow.store.store import Store
from flows.executors import limits
from flows.executors.apart import pack, pool_for, unpack
from flows.executors.base import Executor, Future, extract_now
from flows.states import StageResult, without_traceback


@contextlib.contextmanager
def start(build: ResolvedBuild, store: Store, on_clip: Callable[[int], None]) -> Iterator[Executor]:
    """Have clips made at ``run.dask_address``; see ``flows.executors.start``. ``on_clip`` is not called."""
    from prefect_dask.task_runners import DaskTaskRunner

    address = build.spec.run.dask_address
    with DaskTaskRunner(address=address) as runner:
        try:
            _ = runner.client  # connects now
        except (OSError, TimeoutError) as error:
            raise AraflowError(
                f"run.dask_address: no Dask scheduler answers at {address} ({error}); start one: dask scheduler"
            ) from error

        def submit(number: int, clips: tuple[Clip, ...], after: Sequence[PrefectFuture[Any]]) -> Future:
            packed = pack(clips, build.spec, build.recipe)
            parameters = {"shard": number, "packed": packed, "parent": store.session_id}
            edges = {TaskRunResult(id=future.task_run_id) for future in after}
            future: Future = runner.submit(extract_on_dask, parameters, dependencies={"shard": edges})
            return future

        def explain(error: Exception) -> Exception:
            text = f"Dask cluster {address}: {type(error).__name__}: {error}; what is done is kept: run it again"
            return AraflowError(text)

        executor = Executor(submit, build.spec.run.shard_size, explain=explain)
        try:
            yield executor
        except BaseException:
            with contextlib.suppress(Exception):  # the cluster may be what was lost
                runner.client.cancel([future.wrapped_future for future in executor.begun], force=True)  # type: ignore[attr-defined]
            raise


@task(name="extract", task_run_name="extract-shard-{shard:04d}", cache_policy=NO_CACHE)
@without_traceback
def extract_on_dask(shard: int, packed: bytes, parent: str) -> StageResult:
    """Make the clips of one shard on a worker of a Dask cluster.

    Args:
        shard: Its number.
        packed: The shard.
        parent: The session of the build that asked.
    """
    from distributed import get_worker

    spec, recipe, clips = unpack(packed)
    # A machine may run one Dask worker with many threads, or many with one: each brings its share of the cores.
    workers = spec.run.workers or get_worker().state.nthreads
    with open_store(spec.out).session() as store:
        pool = pool_for(store, parent, workers)
        with limits.of_making(recipe.backend, while_waiting=lambda: pool.pause(0.0)):
            return extract_now(f"shard {shard}", clips, spec.run, recipe, store, pool)
