"""A Prefect server of a command's own, which keeps the history of a run where no other server does.

It uses the database that ``araflow up`` uses, in Prefect's folder. It lies apart from the terminal, whose Ctrl-C goes
to all processes: the run shall still find it to say how it ended.
"""

from __future__ import annotations

import collections
import contextlib
import logging
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from prefect.settings import (
    PREFECT_API_DATABASE_CONNECTION_URL,
    PREFECT_HOME,
    PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS,
)

from araflow.core.errors import ServerLostError
from araflow.core.processes import Lost
from flows.server import attached, password, reach

log = logging.getLogger("araflow.flows")
_SECONDS_OF_SILENCE = 10.0
"""After which a line says that the server takes its time."""
_SECONDS_TO_STOP = 10.0
_SECONDS_BETWEEN_LOOKS = 0.5
_SECONDS_WHEN_STUCK = 120.0
"""A server that lives and has not answered for so long is given up."""
_LINES = 200
"""Of its output that are kept."""
_ERROR = re.compile(r"[\w.]*(?:Error|Exception|Exit)\b:? ?.*")
_OWN = {"PREFECT_UI_ENABLED": "false", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
"""What makes Prefect's server one for a single client: without pages, and without services for others' runs."""


class Embedded:
    """A server that has been started, and ends with this process at the latest."""

    def __init__(self) -> None:
        self._password = password.make()
        self._port: int | None = None
        self._said: collections.deque[str] = collections.deque(maxlen=_LINES)
        self._process = subprocess.Popen(
            [sys.executable, "-P", attached.__file__, "uvicorn"],  # which tells who lists processes what it is
            env=reach.without_proxies(os.environ) | _OWN | password.for_server(self._password),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
            umask=0o077,  # its database is nobody else's
        )
        threading.Thread(target=self._listen, name="araflow-server-output", daemon=True).start()

    def _listen(self) -> None:
        """Take what the server says, so that it never waits for a reader; the first line is its port."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if self._port is None and line.strip().isdecimal():
                self._port = int(line)
            else:
                self._said.append(line.rstrip())

    @property
    def url(self) -> str:
        """The API's address, once it answers."""
        return f"http://127.0.0.1:{self._port}/api"

    @property
    def environment(self) -> dict[str, str]:
        """What a client needs."""
        return password.for_client(self._password) | {
            "PREFECT_API_URL": self.url,
            "PREFECT_UI_URL": "",  # it has no pages to point to
            "PREFECT_CLIENT_CSRF_SUPPORT_ENABLED": "true",
        }

    def wait(self) -> None:
        """Wait until it answers, for as long as it lives: the first start makes the database.

        Raises:
            ServerLostError: It ended, or took too long.
        """
        begun, told = time.monotonic(), False
        most = PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS.value()
        while self._port is None or not reach.answers(self.url):
            seconds = time.monotonic() - begun
            if self._process.poll() is not None:
                remedy = f"; {_remedy()}" if self._process.returncode > 0 else ""
                raise ServerLostError(f"Prefect's server did not start ({self._why_ended()}){remedy}")
            if seconds > most:
                raise ServerLostError(
                    f"Prefect's server did not answer within {most:.0f} s; more time for it: "
                    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"
                )
            if seconds > _SECONDS_OF_SILENCE and not told:
                told = True
                log.info("waiting for Prefect's server, whose first start takes longest: it makes a database")
            time.sleep(0.1)

    def _why_ended(self) -> str:
        said = [line.strip() for line in list(self._said) if line.strip()]
        errors = [line for line in said if _ERROR.fullmatch(line)] or said
        return errors[-1][:300] if errors else str(Lost(False, self._process.returncode))

    @contextlib.contextmanager
    def watched(self, on_loss: Callable[[], None]) -> Iterator[None]:
        """Call a function from a thread if the server ends, or answers no more.

        Args:
            on_loss: What then.
        """
        over = threading.Event()
        watch = threading.Thread(target=self._watch, args=(over, on_loss), name="araflow-server-watch", daemon=True)
        watch.start()
        try:
            yield
        finally:
            over.set()
            watch.join()

    def _watch(self, over: threading.Event, on_loss: Callable[[], None]) -> None:
        heard = asked = time.monotonic()
        while not over.wait(_SECONDS_BETWEEN_LOOKS):
            now = time.monotonic()
            if self._process.poll() is not None:
                on_loss()
                return
            if now - asked > 10 * _SECONDS_BETWEEN_LOOKS:
                asked = now
                if reach.answers(self.url):
                    heard = time.monotonic()
                elif now - heard > _SECONDS_WHEN_STUCK:
                    self.stop()
                    on_loss()
                    return

    def stop(self) -> None:
        """End it. May be called again."""
        self._process.terminate()
        try:
            self._process.wait(_SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()


def _remedy() -> str:
    """Say where the history lies, and what may be wrong there."""
    home = Path(PREFECT_HOME.value())
    if f"{home}/" not in str(PREFECT_API_DATABASE_CONNECTION_URL.value()):
        return "see PREFECT_API_DATABASE_CONNECTION_URL"
    return (
        f"its database is {home / 'prefect.db'}: it must be possible to write there (PREFECT_HOME names another "
        "folder), and a damaged one may be moved away, since it holds nothing but history"
    )
