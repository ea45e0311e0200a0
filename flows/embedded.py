"""Make Prefect's embedded server end when it should: after the run, and not before."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import signal
import subprocess
import sys
import threading
import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import httpx
from prefect import State, tags
from prefect.settings import PREFECT_API_URL, PREFECT_SERVER_ALLOW_EPHEMERAL_MODE, temporary_settings

from araflow.errors import AraflowError, ServerLostError
from flows import settings

log = logging.getLogger("araflow.flows")
_SECONDS_TO_ANSWER = 5.0
_SECONDS_BETWEEN_LOOKS, _MISSED_WHEN_LOST = 5.0, 4
"""A server that refuses connections so many times in a row is lost, and not just being started again."""
_Result = TypeVar("_Result")


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Run a flow so that Ctrl-C and SIGTERM end it within seconds, in a state that the history knows.

    Ctrl-C goes to every process of the terminal. An embedded server that ends with it leaves Prefect retrying, for
    minutes, to tell it that the run was cancelled; so the server is started in a session of its own. Prefect stops it
    when Python exits, which SIGTERM would skip; so SIGTERM becomes an exit.
    """
    previous = signal.signal(signal.SIGTERM, _exit)
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
        signal.signal(signal.SIGTERM, previous)


@contextlib.contextmanager
def _reached() -> Iterator[None]:
    """Use the embedded server where the user's own does not answer: that costs nothing but the place of the history."""
    url = PREFECT_API_URL.value()
    if url is None or answers(url):
        yield
        return
    log.warning(
        "no Prefect server answers at %s: the history of this run goes to the local database (araflow up shows it)", url
    )
    with temporary_settings({PREFECT_SERVER_ALLOW_EPHEMERAL_MODE: True}, restore_defaults={PREFECT_API_URL}):
        yield


@contextlib.contextmanager
def _watched() -> Iterator[None]:
    """Start the command again if the user's server is lost on the way.

    Prefect would try to reach it for many minutes, in each of its threads and once more when Python exits.
    """
    url = PREFECT_API_URL.value()
    if url is None:
        yield
        return
    over = threading.Event()
    threading.Thread(target=_watch, args=(url, over), name="araflow-server-watch", daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _watch(url: str, over: threading.Event) -> None:
    missed = 0
    while not over.wait(_SECONDS_BETWEEN_LOOKS):
        try:
            httpx.get(f"{url}/health", timeout=_SECONDS_TO_ANSWER)
            missed = 0
        except httpx.ConnectError:  # a busy server, which only takes long, is not lost
            missed += 1
        except httpx.HTTPError:
            missed = 0
        if missed == _MISSED_WHEN_LOST:
            _start_again()
            return


def _start_again() -> None:
    """Replace this process by the same command, which goes on from what is done and finds that no server answers.

    Its decoding processes end with it. Nothing is done where Python was not started by the command.
    """
    if Path(sys.argv[0]).name not in ("araflow", "__main__.py"):
        return
    log.warning("the Prefect server was lost; the command starts again without it, from what is done")
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-m", "araflow", *sys.argv[1:]])


def server_url() -> str:
    """Return the address of the server that commands ask.

    Raises:
        AraflowError: There is none, or it does not answer.
    """
    url: str | None = PREFECT_API_URL.value()
    if url is None or not answers(url):
        where = "PREFECT_API_URL is not set" if url is None else f"nothing answers at {url}"
        raise AraflowError(f"no Prefect server: {where}; start one with araflow up (in another terminal)")
    return url


def answers(url: str) -> bool:
    """Whether a Prefect server answers at an API address, such as ``http://127.0.0.1:4200/api``."""
    try:
        return httpx.get(f"{url}/health", timeout=_SECONDS_TO_ANSWER).is_success
    except httpx.HTTPError:
        return False


def run_to_end(
    flow: Callable[..., State[Any]],
    kind: type[_Result],
    labels: Sequence[str],
    **arguments: Any,  # noqa: ANN401 - each flow has its own
) -> _Result:
    """Run a flow here and now, and return its result.

    Args:
        flow: The flow.
        kind: Type of its result.
        labels: Tags of the run.
        arguments: The flow's own.

    Raises:
        ServerLostError: The server was lost during the run.
        AraflowError: The run failed, or could not begin.
    """
    try:
        with _reached(), interruptible(), _watched(), tags(settings.TAG, *labels):
            state = flow(**arguments, return_state=True)
    except httpx.HTTPError as error:
        if PREFECT_API_URL.value() is not None:
            _start_again()
        raise ServerLostError(f"the Prefect server does not answer any more ({error}); run it again") from error
    except RuntimeError as error:  # before the run began: within it, errors become states
        raise AraflowError(f"Prefect could not run the flow: {error}") from error
    # The embedded server announces its end when Python exits; the last line shall be what was made.
    logging.getLogger("prefect").setLevel(logging.WARNING)
    result = state.result(raise_on_failure=True)
    if not isinstance(result, kind):
        raise AraflowError(f"the run ended in state {state.name}: {state.message}")
    return result


def _exit(number: int, frame: object) -> NoReturn:
    sys.exit(128 + number)
