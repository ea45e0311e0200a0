"""Where clips are made, by ``run.engine``: this machine's cores, a Prefect work pool, or a Dask cluster.

All three are Prefect's and Dask's own means; an executor only hands clips to them and gives futures back.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from araflow.build.resolved import ResolvedBuild
from araflow.core.errors import SpecError, UnavailableError
from araflow.core.spec import RunSpec
from araflow.store.store import Store
from flows.executors import dask, local, workers
from flows.executors.base import Executor
from flows.server import history

_EXECUTORS = {"local": local.start, "workers": workers.start, "dask": dask.start}


def start(build: ResolvedBuild, store: Store, on_clip: Callable[[int], None]) -> AbstractContextManager[Executor]:
    """Return the executor of ``run.engine``, whose context is where clips are made.

    Args:
        build: Settings, and how clips are made.
        store: Where, bound to the build's session.
        on_clip: Called with the number of clips that have been settled since the last call, by an executor that
            ``counts_clips``.
    """
    return _EXECUTORS[build.spec.run.engine](build, store, on_clip)


def check(run: RunSpec) -> None:
    """Refuse an executor that cannot work here, before any work starts.

    Raises:
        SpecError: It needs a Prefect server that several processes share.
        UnavailableError: Dask is not installed.
    """
    if run.engine == "local":
        return
    if not history.is_shared():
        raise SpecError(
            f"run.engine: {run.engine} needs a Prefect server that all machines reach: start one with araflow up, "
            "and set PREFECT_API_URL on each (prefect config set PREFECT_API_URL=http://<host>:4200/api)"
        )
    if run.engine == "dask":
        try:
            import prefect_dask  # noqa: F401
        except ImportError as error:
            why = "run.engine: dask needs Prefect's Dask runner: pip install 'araflow[dask]'"
            raise UnavailableError(why) from error
