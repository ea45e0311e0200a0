"""Run a flow here and now: so that it can be interrupted, cancelled from the server, and loses nothing with that."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from typing import Any, TypeVar
from uuid import UUID

import httpx
from prefect import Flow, State, runtime, tags
from prefect.client.orchestration import get_client
from prefect.exceptions import CrashedRun, ObjectNotFound
from prefect.settings import PREFECT_API_URL
from prefect.states import Cancelled

from araflow.core.errors import AraflowError, ServerLostError
from araflow.core.processes import ended_by_signals
from araflow.core.telling import Meter, NoMeter
from flows.server import history, reach, settings

log = logging.getLogger("araflow.flows")
_SECONDS_BETWEEN_LOOKS, _MISSED_WHEN_LOST = 5.0, 4
"""A server that refuses connections so many times in a row is lost, and not just being started again."""
_CANCELLED = "cancelled; what is done is kept: run it again"
_Result = TypeVar("_Result")


@dataclasses.dataclass(slots=True)
class _Command:
    """A command that runs a flow here and now.

    Attributes:
        resolved: What it has resolved already.
        meter: Shows how far the run is.
        run: The flow's run, once it has begun.
    """

    resolved: object
    meter: Meter
    run: UUID | None = None


_command: ContextVar[_Command | None] = ContextVar("araflow_command", default=None)


def resolved_by_command(kind: type[_Result]) -> _Result | None:
    """Return what the command has resolved that runs this flow; ``None`` where the run was asked of a server.

    A flow calls this first, and so the command knows its run.
    """
    command = _command.get()
    if command is None:
        return None
    command.run = UUID(runtime.flow_run.id)
    assert isinstance(command.resolved, kind), "run_to_end was given it"
    return command.resolved


def meter_of_command() -> Meter:
    """Return what shows how far the run is, where a command runs this flow."""
    command = _command.get()
    return NoMeter() if command is None else command.meter


@contextlib.contextmanager
def _watched(command: _Command) -> Iterator[None]:
    """Do what the user's server says, and start the command again if that is lost on the way.

    Prefect cancels only runs that it has started itself.

    Args:
        command: It knows the run, once there is one.
    """
    if not history.is_shared():
        yield
        return
    over, cancelled = threading.Event(), threading.Event()
    arguments = (str(PREFECT_API_URL.value()), command, over, cancelled)
    threading.Thread(target=_watch, args=arguments, name="araflow-server-watch", daemon=True).start()
    try:
        yield
    finally:
        over.set()
        if cancelled.is_set() and command.run is not None:  # Prefect has taken the signal for a crash
            with contextlib.suppress(httpx.HTTPError, ObjectNotFound), get_client(sync_client=True) as client:
                client.set_flow_run_state(command.run, Cancelled(message=_CANCELLED), force=True)


def _watch(url: str, command: _Command, over: threading.Event, cancelled: threading.Event) -> None:
    missed = 0
    while not over.wait(_SECONDS_BETWEEN_LOOKS):
        try:
            reach.ask_health(url)
            missed = 0
            if command.run is not None and _is_cancelled(command.run):
                log.warning("on the server: %s", _CANCELLED)
                cancelled.set()
                os.kill(os.getpid(), signal.SIGTERM)
                return
        except httpx.ConnectError:  # a busy server, which only takes long, is not lost
            missed += 1
        except (httpx.HTTPError, ObjectNotFound):  # a run that somebody has deleted goes on
            missed = 0
        if missed == _MISSED_WHEN_LOST:
            history.start_again()
            return


def _is_cancelled(run: UUID) -> bool:
    """Whether somebody has asked the server to cancel a run."""
    with get_client(sync_client=True) as client:
        state = client.read_flow_run(run).state
        return state is not None and (state.is_cancelling() or state.is_cancelled())


def run_to_end(
    flow: Flow[..., State[Any]],
    kind: type[_Result],
    labels: Sequence[str],
    resolved: object,
    meter: Meter | None = None,
    **arguments: Any,  # noqa: ANN401 - each flow has its own
) -> _Result:
    """Run a flow here and now, and return its result. Call it within ``history.kept()``.

    Args:
        flow: The flow.
        kind: Type of its result.
        labels: Tags of the run.
        resolved: What the command has resolved, for the flow to take (``resolved_by_command``). Prefect, which keeps
            and shows a run's arguments, does not see it.
        meter: Shows how far the run is (``meter_of_command``).
        arguments: The flow's own.

    Raises:
        ServerLostError: The server was lost during the run.
        AraflowError: The run failed, or could not begin.
    """
    command = _Command(resolved, meter or NoMeter())
    before = _command.set(command)
    try:
        with ended_by_signals(), _watched(command), tags(settings.TAG, *labels):
            state = flow(**arguments, return_state=True)
    except (httpx.HTTPError, RuntimeError) as error:  # before the run began: within it, errors become states
        raise _without_server(error) from error
    finally:
        _command.reset(before)
    try:
        result = state.result(raise_on_failure=True)
    except (httpx.HTTPError, CrashedRun) as error:
        raise _without_server(error) from error
    if not isinstance(result, kind):
        raise AraflowError(f"the run ended in state {state.name}: {state.message}")
    return result


def _without_server(error: Exception) -> AraflowError:
    """Start the command again without a server that fails it; return what to raise where that is not possible."""
    if history.is_shared() and isinstance(error, httpx.HTTPStatusError) and error.response.is_client_error:
        return AraflowError(
            f"the Prefect server at {PREFECT_API_URL.value()} refuses: {error}; with a password: set "
            "PREFECT_API_AUTH_STRING"
        )
    history.start_again(f"fails ({error})")
    return ServerLostError(f"the Prefect server fails: {error}")
