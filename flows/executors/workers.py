"""Ranges of clips that machines polling a work pool make: a flow run each, of at least some ten minutes of work.

The run that asks writes a range's clips into the output folder, starts the deployment ``extract-range/workers`` for it
and waits. The range writes its clips into the same output, which all machines see at the same place. It ends when the
run that asked is gone. What is done is known from the output alone, so a range that is run twice costs nothing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import httpx
from prefect import State, flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.deployments import run_deployment
from prefect.futures import PrefectFuture, as_completed
from prefect.states import Cancelled, Cancelling, Completed, Crashed
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.utilities.annotations import quote

from araflow.build.resolved import ResolvedBuild
from araflow.build.shards import shards
from araflow.core.clip import Clip
from araflow.core.errors import AraflowError, OutputError, PoolClosedError
from araflow.core.spec import BuildSpec
from araflow.core.words import counted
from araflow.store.address import open_store
from araflow.store.store import Store
from flows.executors import limits
from flows.executors.apart import everywhere, pack, pool_for, unpack
from flows.executors.base import SHARDS_AT_ONCE, Executor, Future, extract
from flows.server import pool as work_pool
from flows.server.deployment import Deployment
from flows.states import StageResult, without_traceback

log = logging.getLogger("araflow.flows")
_RANGES_AT_ONCE = 256
"""Threads that wait for ranges, and nothing else."""
_TRIES = 3
"""Runs of one range that may crash, each on a machine that dies, before the build gives up."""
_SECONDS_WITHOUT_SERVER = 300.0
_SECONDS_TO_START = 300.0
"""From a worker's taking a range to its start. A worker that dies in between leaves it pending for ever; Kubernetes may
have an image to pull."""
_SECONDS_UNTAKEN = 60.0
"""After which the log says that no worker takes a range."""


@contextlib.contextmanager
def start(build: ResolvedBuild, store: Store, on_clip: Callable[[int], None]) -> Iterator[Executor]:
    """Have clips made by runs of ``extract-range`` on a work pool, which any number of machines poll.

    See ``flows.executors.start``; ``on_clip`` is not called.
    """
    work_pool.ensure(RANGES)
    stop = threading.Event()
    with ThreadPoolTaskRunner[StageResult](_RANGES_AT_ONCE) as runner:

        def submit(number: int, clips: tuple[Clip, ...], after: Sequence[PrefectFuture[Any]]) -> Future:
            parameters = {
                "name": f"range-{number:04d}",
                "clips": quote(clips),
                "build": quote(build),
                "store": quote(store),
                "stop": quote(stop),
            }
            return runner.submit(extract_elsewhere, parameters, wait_for=after)

        try:
            yield Executor(submit, build.spec.run.range_size)
        except BaseException:
            stop.set()
            raise


class RangeLostError(Exception):
    """A range's run crashed: its machine or process is gone. Another one may take it."""


@flow(
    name="extract-range",
    flow_run_name="{name}",
    task_runner=ThreadPoolTaskRunner(max_workers=SHARDS_AT_ONCE),  # type: ignore[arg-type] # Prefect's variance
)
def extract_range(
    out: str,
    name: str,
    parent: str,
) -> State[StageResult]:
    """Make the clips of one range. Builds start this; there is no need to run it by hand.

    Args:
        out: Output of the build, as every machine sees it.
        name: Name of the range below <out>/.araflow/ranges.
        parent: Session of the build that asked.
    """
    return _extract_range(out, name, parent)


RANGES = Deployment(
    extract_range,
    "workers",
    "extract_range",
    {},
    "A range of clips of a build with run.engine=workers, which starts it.",
    on_pool=True,
)


@without_traceback
def _extract_range(out: str, name: str, parent: str) -> State[StageResult]:
    start, made = time.monotonic(), 0
    output = open_store(out)
    if not output.is_live(parent):
        raise PoolClosedError(f"{out}: the build that asked for {name} has ended, or this is not its output's place")
    with output.session() as store, contextlib.ExitStack() as stack:
        spec, recipe, clips = unpack(_read(store, name))
        stack.enter_context(limits.of_making(recipe.backend))
        pool = pool_for(store, parent, spec.run.workers)
        stack.callback(pool.close)  # whatever ends this, the shards end with it
        futures = [
            extract.submit(
                number, quote(shard), quote(spec.run), quote(recipe), quote(store), quote(pool), return_state=False
            )
            for number, shard in enumerate(shards(clips, spec.run.shard_size))
        ]
        counts: dict[str, int] = {}
        for future in as_completed(futures):
            result = future.result()
            made += result.made
            for outcome, number in result.counts.items():
                counts[outcome] = counts.get(outcome, 0) + number
        done = StageResult("extract", counts, made, time.monotonic() - start)
        store.write_state(_result_file(name), json.dumps(dataclasses.asdict(done)).encode())
    return Completed(message=f"{counted(len(clips), 'clip')}, {made} worked on, {done.seconds:.1f} s", data=done)


@task(
    name="extract",
    task_run_name="extract-{name}",
    cache_policy=NO_CACHE,
    retries=_TRIES - 1,
    retry_delay_seconds=2,
    retry_condition_fn=lambda task, run, state: RangeLostError.__name__ in (state.message or ""),  # Prefect's wording
)
@without_traceback
def extract_elsewhere(
    name: str, clips: tuple[Clip, ...], build: ResolvedBuild, store: Store, stop: threading.Event
) -> StageResult:
    """Have the clips of one range made by whichever machine takes it from the work pool, until ``stop`` is set."""
    store.write_state(_file(name), pack(clips, build.spec, build.recipe))
    run = _start(name, build.spec, store)
    ended = _wait(run, name, stop)
    state = ended.state
    if state is None or state.type is StateType.CRASHED:
        raise RangeLostError(f"{name}: its run {ended.name} crashed: {state.message if state else 'no state'}")
    if state.type is not StateType.COMPLETED:
        raise AraflowError(f"{name}: its run {ended.name} ended in state {state.name}: {state.message}")
    result = StageResult(**json.loads(_read_result(store, name)))
    for file in (_file(name), _result_file(name)):
        store.remove_state(file)
    return result


def _start(name: str, spec: BuildSpec, store: Store) -> FlowRun:
    parameters = {"out": everywhere(spec).out, "name": name, "parent": store.session_id}
    return cast(FlowRun, run_deployment(RANGES.full_name, parameters=parameters, timeout=0, flow_run_name=name))


def _wait(run: FlowRun, name: str, stop: threading.Event) -> FlowRun:
    """Wait for a range's run, through short losses of the server; cancel it when the build is stopped."""
    begun = heard = time.monotonic()
    told = False
    while True:
        try:
            with get_client(sync_client=True) as client:
                run = client.read_flow_run(run.id)
            heard = time.monotonic()
        except httpx.HTTPError as error:
            if time.monotonic() - heard > _SECONDS_WITHOUT_SERVER:
                raise AraflowError(
                    f"the Prefect server has not answered for {_SECONDS_WITHOUT_SERVER:.0f} s ({error}); what is done "
                    "is kept: run it again when the server is back"
                ) from error
        state = run.state
        if state is not None and state.is_final():
            return run
        if state is not None and state.is_pending() and _age(state) > _SECONDS_TO_START:
            lost: State[Any] = Crashed(message=f"not started within {_SECONDS_TO_START:.0f} s: its worker is gone")
            with contextlib.suppress(httpx.HTTPError), get_client(sync_client=True) as client:
                client.set_flow_run_state(run.id, lost, force=True)  # should it start after all, Prefect refuses that
        if not told and state is not None and state.is_scheduled() and heard - begun > _SECONDS_UNTAKEN:
            told = True
            log.warning(
                "%s: no worker has taken it for %.0f s; start one on any machine that sees source and output: "
                "prefect worker start --pool araflow --type process --limit 1",
                name,
                heard - begun,
            )
        if stop.wait(min(5.0, 1.0 + (time.monotonic() - begun) / 30)):
            # It would find out by itself that nobody waits for it, but the history should say so at once.
            with contextlib.suppress(httpx.HTTPError), get_client(sync_client=True) as client:
                client.set_flow_run_state(run.id, Cancelling() if state and state.is_running() else Cancelled())
            raise PoolClosedError(f"{name}: stopped before it was made")


def _age(state: State[Any]) -> float:
    return (datetime.datetime.now(datetime.UTC) - state.timestamp).total_seconds()


def _file(name: str) -> str:
    return f"ranges/{name}.json"


def _result_file(name: str) -> str:
    return f"ranges/{name}.result.json"


def _read(store: Store, name: str) -> bytes:
    found = store.read_state(_file(name))
    if found is None:
        raise OutputError(
            f"{store.out}: the range {name} is not there: every machine must see the output of the build at the same "
            "place"
        )
    return found


def _read_result(store: Store, name: str) -> bytes:
    found = store.read_state(_result_file(name))
    if found is None:
        raise OutputError(
            f"{store.out}: the range {name} was made, but not here: every machine must see the output at the same place"
        )
    return found
