"""Where shards of clips are made, by ``run.engine``: this machine's cores, a Prefect work pool, or a Dask cluster.

All three are Prefect's and Dask's own means; an engine only hands clips to them and gives futures back.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

from prefect.client.schemas.objects import TaskRunResult
from prefect.futures import PrefectFuture
from prefect.settings import PREFECT_API_URL
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.utilities.annotations import quote

from araflow.build.extract import Recipe
from araflow.build.pool import WorkerPool
from araflow.build.shards import shards
from araflow.core.clip import Clip
from araflow.core.errors import AraflowError, SpecError, UnavailableError
from araflow.core.spec import BuildSpec
from araflow.store.store import Store
from flows.executors import limits
from flows.executors.apart import extract_on_dask, pack
from flows.executors.workers import SHARDS_AT_ONCE, extract_elsewhere
from flows.tasks import StageResult, extract

_RANGES_AT_ONCE = 256
"""Threads that wait for ranges, and nothing else."""


def start(spec: BuildSpec, recipe: Recipe, store: Store, on_clip: Callable[[int], None]) -> Engine:
    """Return the engine of ``run.engine``.

    Args:
        spec: Settings.
        recipe: How clips are made.
        store: Where, bound to the build's session.
        on_clip: Called with the number of clips that have been settled since the last call, by an engine that
            ``counts_clips``.
    """
    kind = {"local": LocalEngine, "workers": WorkersEngine, "dask": DaskEngine}[spec.run.engine]
    return kind(spec, recipe, store, on_clip)


def check(spec: BuildSpec) -> None:
    """Refuse an engine that cannot work here, before any work starts.

    Raises:
        SpecError: The engine needs a Prefect server that several processes share.
        UnavailableError: Dask is not installed.
    """
    if spec.run.engine == "local":
        return
    if PREFECT_API_URL.value() is None:
        raise SpecError(
            f"run.engine: {spec.run.engine} needs a Prefect server that all machines reach: start one with araflow up, "
            "and set PREFECT_API_URL on each (prefect config set PREFECT_API_URL=http://<host>:4200/api)"
        )
    if spec.run.engine == "dask":
        try:
            import prefect_dask  # noqa: F401
        except ImportError as error:
            why = "run.engine: dask needs Prefect's Dask runner: pip install 'araflow[dask]'"
            raise UnavailableError(why) from error


class Engine:
    """Makes clips, and stops what has begun when it is left with an error. A context manager.

    Attributes:
        counts_clips: It calls ``on_clip`` for each clip.
    """

    counts_clips = False

    def __init__(self, spec: BuildSpec, recipe: Recipe, store: Store, on_clip: Callable[[int], None]) -> None:
        self._spec, self._recipe, self._store, self._on_clip = spec, recipe, store, on_clip
        self._stack = contextlib.ExitStack()
        self._begun: list[PrefectFuture[StageResult]] = []

    def extract(self, clips: tuple[Clip, ...], after: Sequence[PrefectFuture[Any]]) -> list[PrefectFuture[StageResult]]:
        """Begin to make clips.

        Args:
            clips: They lie where every machine sees them.
            after: The tasks that they come from, which the graph shows.

        Returns:
            A future for each part that they were cut into.
        """
        begun = [
            self._submit(len(self._begun) + number, part, after)
            for number, part in enumerate(shards(clips, self._part_size()))
        ]
        self._begun += begun
        return begun

    def explain(self, error: Exception) -> Exception:
        """Return what a future's error means to the user, where it is none of araflow's own."""
        return error

    def __enter__(self) -> Self:
        self._open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._abandon()
        self._stack.close()

    def _open(self) -> None:
        raise NotImplementedError

    def _abandon(self) -> None:
        """Stop at once, before the runner is left, which waits for what has begun."""

    def _part_size(self) -> int:
        return self._spec.run.shard_size

    def _submit(
        self, number: int, clips: tuple[Clip, ...], after: Sequence[PrefectFuture[Any]]
    ) -> PrefectFuture[StageResult]:
        raise NotImplementedError


class LocalEngine(Engine):
    """Threads of this process, each of which feeds a shard to the worker processes that all share."""

    counts_clips = True

    def _open(self) -> None:
        self._stack.enter_context(limits.of_making(self._recipe.backend))
        self._pool = self._stack.enter_context(WorkerPool(self._spec.run.workers))
        self._runner = self._stack.enter_context(ThreadPoolTaskRunner[StageResult](SHARDS_AT_ONCE))

    def _abandon(self) -> None:
        self._pool.close()  # the shards end at once, instead of each running into the same trouble

    def _submit(
        self, number: int, clips: tuple[Clip, ...], after: Sequence[PrefectFuture[Any]]
    ) -> PrefectFuture[StageResult]:
        parameters = {
            "shard": number,
            "clips": quote(clips),
            "spec": self._spec,
            "recipe": self._recipe,
            "store": quote(self._store),
            "pool": quote(self._pool),
            "on_clip": quote(self._on_clip),
        }
        return self._runner.submit(extract, parameters, wait_for=after)


class WorkersEngine(Engine):
    """Runs of ``extract-range`` on a Prefect work pool, which any number of machines poll."""

    def _open(self) -> None:
        self._stop = threading.Event()
        self._runner = self._stack.enter_context(ThreadPoolTaskRunner[StageResult](_RANGES_AT_ONCE))

    def _abandon(self) -> None:
        self._stop.set()

    def _part_size(self) -> int:
        return self._spec.run.range_size

    def _submit(
        self, number: int, clips: tuple[Clip, ...], after: Sequence[PrefectFuture[Any]]
    ) -> PrefectFuture[StageResult]:
        parameters = {
            "name": f"range-{number:04d}",
            "clips": quote(clips),
            "spec": self._spec,
            "recipe": self._recipe,
            "store": quote(self._store),
            "stop": quote(self._stop),
        }
        return self._runner.submit(extract_elsewhere, parameters, wait_for=after)


class DaskEngine(Engine):
    """The same shards as tasks of a Dask cluster."""

    def _open(self) -> None:
        from prefect_dask.task_runners import DaskTaskRunner

        address = self._spec.run.dask_address
        self._runner = self._stack.enter_context(DaskTaskRunner(address=address))
        try:
            _ = self._runner.client  # connects now
        except (OSError, TimeoutError) as error:
            raise AraflowError(
                f"run.dask_address: no Dask scheduler answers at {address} ({error}); start one: dask scheduler"
            ) from error

    def _abandon(self) -> None:
        with contextlib.suppress(Exception):  # the cluster may be what was lost
            self._runner.client.cancel([future.wrapped_future for future in self._begun], force=True)  # type: ignore[attr-defined]

    def _submit(
        self, number: int, clips: tuple[Clip, ...], after: Sequence[PrefectFuture[Any]]
    ) -> PrefectFuture[StageResult]:
        parameters = {
            "shard": number,
            "packed": pack(clips, self._spec, self._recipe),
            "parent": self._store.session_id,
        }
        edges = {TaskRunResult(id=future.task_run_id) for future in after}
        future: PrefectFuture[StageResult] = self._runner.submit(
            extract_on_dask, parameters, dependencies={"shard": edges}
        )
        return future

    def explain(self, error: Exception) -> Exception:
        """Name the cluster."""
        where = f"Dask cluster {self._spec.run.dask_address}"
        return AraflowError(f"{where}: {type(error).__name__}: {error}; what is done is kept: run it again")
