"""Where the history of a command's run goes: to the user's own server where it answers, or to one of the command's own.

A server may cost the history, never the data: without one, the command makes the same without Prefect. Nothing of
Prefect is imported before its settings are applied.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from araflow.core.errors import ServerLostError
from araflow.core.processes import environment
from flows.server import settings

if TYPE_CHECKING:
    from flows.server.embedded import Embedded

log = logging.getLogger("araflow.flows")
_LOST = "ARAFLOW_SERVER_LOST"
"""Environment variable of a command that was started again: which server it has lost."""
_OWN, _EMBEDDED = "own", "embedded"
_SECONDS_TO_TELL = 20.0
_embedded: Embedded | None = None
_is_kept = False


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Have a Prefect server for what runs inside; within another call, that one's.

    Raises:
        ServerLostError: There is none to be had; the message says why, and what to do about it.
    """
    if _is_kept:
        yield
        return
    if os.environ.get(_LOST) == _EMBEDDED:
        raise ServerLostError("Prefect's server was lost; going on from what is done")
    settings.apply()
    try:
        with warnings.catch_warnings(action="ignore"):  # of a folder that cannot be made: the server says so
            from prefect.settings import PREFECT_API_URL

            from flows.server import reach, undo
        url = PREFECT_API_URL.value()
    except (ImportError, OSError, ValueError) as error:
        raise ServerLostError(
            f"Prefect cannot be used: {' '.join(str(error).split())[:300]}; see the variables PREFECT_... and "
            "profiles.toml in PREFECT_HOME (by default ~/.prefect)"
        ) from error
    lost = os.environ.get(_LOST) == _OWN
    if url is not None and not lost and reach.answers(url):
        reach.go_directly(url)
        with _keeping(None):
            yield
        return
    if url is not None and url not in undo.take_back():
        why = "the Prefect server at %s was lost" if lost else "no Prefect server answers at %s"
        log.warning(f"{why}: the history of this run goes to the local database (araflow up shows it)", url)
    with _embedded_running():
        yield


@contextlib.contextmanager
def _embedded_running() -> Iterator[None]:
    from flows.server import embedded, reach

    try:
        server = embedded.Embedded()
    except OSError as error:
        raise ServerLostError(f"Prefect's server could not be started: {error}") from error
    try:
        server.wait()
        reach.go_directly(server.url)
        with _keeping(server), server.watched(start_again), _told(server.environment):
            try:
                yield
            finally:
                _tell_the_rest()
    finally:
        server.stop()


@contextlib.contextmanager
def _keeping(server: Embedded | None) -> Iterator[None]:
    """Know that a history is kept: by a server of the command's own, or by the user's."""
    global _embedded, _is_kept
    _embedded, _is_kept = server, True
    try:
        yield
    finally:
        _embedded, _is_kept = None, False


@contextlib.contextmanager
def _told(values: dict[str, str]) -> Iterator[None]:
    """Have this process, all its threads, and Prefect know of a server."""
    from prefect.context import refresh_global_settings_context

    try:
        with environment(values):
            refresh_global_settings_context()
            yield
    finally:
        refresh_global_settings_context()


def _tell_the_rest() -> None:
    """Send what Prefect's threads have not sent yet; they would do so when Python exits, and find no server."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    for worker in (EventsWorker, APILogWorker):
        worker.drain_all(timeout=_SECONDS_TO_TELL)


def is_shared() -> bool:
    """Whether the server in use is one that other processes reach, too."""
    from prefect.settings import PREFECT_API_URL

    return _embedded is None and PREFECT_API_URL.value() is not None


def start_again(why: str = "was lost") -> None:
    """Replace this process by the same command, which goes on from what is done, without the server that fails it.

    Prefect would try to reach it for many minutes, in each of its threads and once more when Python exits. Decoding
    processes end with this one. Nothing is done where Python was not started by the command.

    Args:
        why: What the server did.
    """
    lost = _OWN if _embedded is None else _EMBEDDED
    is_command = _is_kept and Path(sys.argv[0]).name in ("araflow", "__main__.py")
    if not is_command or os.environ.get(_LOST) in (lost, _EMBEDDED):
        return
    if _embedded is None:
        log.warning("the Prefect server %s; the command starts again without it, from what is done", why)
    else:
        _embedded.stop()
    os.environ[_LOST] = lost
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    apart = ["-P"] * (Path(sys.argv[0]).name == "araflow")  # a script does not look for modules where it is run
    os.execv(sys.executable, [sys.executable, *apart, "-m", "araflow", *sys.argv[1:]])
