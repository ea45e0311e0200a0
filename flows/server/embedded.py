"""Make Prefect's embedded server end when it should: after the run, and not before."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import os
import signal
import subprocess
import sys
import threading
import types
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NoReturn, TypeVar
from uuid import UUID

import httpx
from prefect import Flow, State, runtime, tags
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL, PREFECT_SERVER_ALLOW_EPHEMERAL_MODE, temporary_settings
from prefect.states import Cancelled

from araflow.core.errors import AraflowError, ServerLostError
from flows.server import settings
from flows.server.reach import SECONDS_TO_ANSWER, answers

log = logging.getLogger("araflow.flows")
_SECONDS_BETWEEN_LOOKS, _MISSED_WHEN_LOST = 5.0, 4
"""A server that refuses connections so many times in a row is lost, and not just being started again."""
_CANCELLED = "cancelled; what is done is kept: run it again"
_LOST = "ARAFLOW_SERVER_LOST"
"""Environment variable of a command that was started again without the server."""
_Result = TypeVar("_Result")


@dataclasses.dataclass(slots=True)
class _Command:
    """A command that runs a flow here and now.

    Attributes:
        resolved: What it has resolved already.
        run: The flow's run, once it has begun.
    """

    resolved: object
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


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Run a flow so that Ctrl-C and SIGTERM end it within seconds, in a state that the history knows.

    Ctrl-C goes to every process of the terminal. An embedded server that ends with it leaves Prefect retrying, for
    minutes, to tell it that the run was cancelled; so the server is started in a session of its own. Prefect stops it
    when Python exits, which SIGTERM, and SIGHUP of a terminal that is closed, would skip; so they become an exit.
    """
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    numbers = [one for one in numbers if signal.getsignal(one) is not signal.SIG_IGN]  # nohup
    previous = {number: signal.signal(number, _exit) for number in numbers}
    try:
        if PREFECT_API_URL.value() is not None:  # a server of the user's own
            yield
            return
        from prefect.server.api import server

        apart = types.SimpleNamespace(**vars(subprocess))
        apart.Popen = functools.partial(subprocess.Popen, start_new_session=True)
        server.subprocess = apart  # type: ignore[attr-defined, assignment]
        try:
            yield
        finally:
            server.subprocess = subprocess  # type: ignore[attr-defined]
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _reached() -> Iterator[None]:
    """Use the embedded server where the user's own does not answer: that costs nothing but the place of the history."""
    url = PREFECT_API_URL.value()
    lost = bool(os.environ.get(_LOST))
    if url is None or (not lost and answers(url)):
        yield
        return
    why = "the Prefect server at %s was lost" if lost else "no Prefect server answers at %s"
    log.warning(f"{why}: the history of this run goes to the local database (araflow up shows it)", url)
    with temporary_settings({PREFECT_SERVER_ALLOW_EPHEMERAL_MODE: True}, restore_defaults={PREFECT_API_URL}):
        yield


@contextlib.contextmanager
def _watched(command: _Command) -> Iterator[None]:
    """Do what the user's server says, and start the command again if that is lost on the way.

    Prefect would try to reach it for many minutes, in each of its threads and once more when Python exits. And it
    cancels only runs that it has started itself.

    Args:
        command: It knows the run, once there is one.
    """
    url = PREFECT_API_URL.value()
    if url is None:
        yield
        return
    over, cancelled = threading.Event(), threading.Event()
    watch = threading.Thread(
        target=_watch, args=(url, command, over, cancelled), name="araflow-server-watch", daemon=True
    )
    watch.start()
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
            httpx.get(f"{url.rstrip('/')}/health", timeout=SECONDS_TO_ANSWER)
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
            _start_again()
            return


def _is_cancelled(run: UUID) -> bool:
    """Whether somebody has asked the server to cancel a run."""
    with get_client(sync_client=True) as client:
        state = client.read_flow_run(run).state
        return state is not None and (state.is_cancelling() or state.is_cancelled())


def _start_again() -> None:
    """Replace this process by the same command, which goes on from what is done and finds that no server answers.

    Its decoding processes end with it. Nothing is done where Python was not started by the command.
    """
    if Path(sys.argv[0]).name not in ("araflow", "__main__.py") or os.environ.get(_LOST):
        return
    os.environ[_LOST] = "1"
    log.warning("the Prefect server was lost; the command starts again without it, from what is done")
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-m", "araflow", *sys.argv[1:]])


def run_to_end(
    flow: Flow[..., State[Any]],
    kind: type[_Result],
    labels: Sequence[str],
    resolved: object,
    **arguments: Any,  # noqa: ANN401 - each flow has its own
) -> _Result:
    """Run a flow here and now, and return its result.

    Args:
        flow: The flow.
        kind: Type of its result.
        labels: Tags of the run.
        resolved: What the command has resolved, for the flow to take (``resolved_by_command``). Prefect, which keeps
            and shows a run's arguments, does not see it.
        arguments: The flow's own.

    Raises:
        ServerLostError: The server was lost during the run.
        AraflowError: The run failed, or could not begin.
    """
    command = _Command(resolved)
    before = _command.set(command)
    try:
        with _reached(), interruptible(), _watched(command), tags(settings.TAG, *labels):
            state = flow(**arguments, return_state=True)
    except httpx.HTTPStatusError as error:  # it answers, but refuses
        url = PREFECT_API_URL.value()
        raise AraflowError(
            f"the Prefect server at {url} refuses: {error}; with a password: set PREFECT_API_AUTH_STRING"
        ) from error
    except httpx.HTTPError as error:
        if PREFECT_API_URL.value() is not None:
            _start_again()
        raise ServerLostError(f"the Prefect server does not answer any more ({error}); run it again") from error
    except RuntimeError as error:  # before the run began: within it, errors become states
        raise AraflowError(f"Prefect could not run the flow: {error}") from error
    finally:
        _command.reset(before)
    # The embedded server announces its end when Python exits; the last line shall be what was made.
    logging.getLogger("prefect").setLevel(logging.WARNING)
    result = state.result(raise_on_failure=True)
    if not isinstance(result, kind):
        raise AraflowError(f"the run ended in state {state.name}: {state.message}")
    return result


def _exit(number: int, frame: object) -> NoReturn:
    sys.exit(128 + number)
