"""A Prefect server of the user's own: start it, wait until it answers, and tell it what it should know of araflow.

What it is told: the automation that ends runs whose process is gone, which a self-hosted Prefect does not have.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from prefect.client.orchestration import get_client
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectNotFound, TerminationSignal
from prefect.runner import Runner
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_URL,
    PREFECT_SERVER_CORS_ALLOWED_ORIGINS,
    temporary_settings,
)

from araflow.core.errors import AraflowError
from araflow.core.processes import ending_signals
from flows.server import password, profile, reach, settings, standing, undo
from flows.server.automations import of_our_runs
from flows.server.deployment import Deployment
from flows.server.whose import is_ours
from flows.states import INCOMPLETE

log = logging.getLogger("araflow.flows")
_SECONDS_TO_START = 180.0
"""The first start migrates the database."""
_SECONDS_TO_STOP = 20.0
AUTOMATION = "araflow: end runs whose process is gone"
_SILENCE = 3 * settings.HEARTBEAT_SECONDS


class Running(NamedTuple):
    """A server that answers.

    Attributes:
        url: The API's address.
        password: What its pages ask for; ``None`` where the user has set it, and knows it.
    """

    url: str
    password: str | None


@contextlib.contextmanager
def running(host: str, port: int) -> Iterator[Running]:
    """Have a server at an address: the one of ours that answers there, or a new one, which ends with this.

    Prefect's profile keeps the address and the password, so that ``prefect`` and ``araflow`` commands in other
    terminals find both.

    Raises:
        AraflowError: It does not start, has no password, or the port is another program's.
    """
    shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    url = f"http://{f'[{shown}]' if ':' in shown else shown}:{port}/api"
    secret = profile.secret()
    with contextlib.ExitStack() as stack:
        _end_as_by_ctrl_c()
        reach.go_directly(url)
        undo.take_back()  # of one that was killed
        stack.callback(undo.take_back)
        if is_ours(url, secret.password):
            log.info("the Prefect server at %s is used", url)
        else:
            stack.enter_context(_started(host, port, url, secret.password))
        profile.keep(url, secret)
        os.environ |= {"PREFECT_API_URL": url} | password.for_client(secret.password)  # runs are processes of their own
        now = {PREFECT_API_URL: url, PREFECT_API_AUTH_STRING: secret.password}
        stack.enter_context(temporary_settings(now))
        yield Running(url, None if secret.is_users else secret.password)


def _end_as_by_ctrl_c() -> None:
    """Let a closed terminal, or SIGTERM before deployments are served, stop the server as well."""
    for number in ending_signals():
        signal.signal(number, _interrupt)


def _interrupt(*_: object) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a shell's background jobs
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.raise_signal(signal.SIGINT)


@contextlib.contextmanager
def _started(host: str, port: int, url: str, secret: str) -> Iterator[None]:
    origins = [url.removesuffix("/api"), f"http://localhost:{port}"]
    if (given := PREFECT_SERVER_CORS_ALLOWED_ORIGINS.value()) != "*":  # Prefect's default
        origins += [one.strip() for one in given.split(",") if one.strip()]
    environment = os.environ | password.for_server(secret, origins) | {"PREFECT_API_URL": url}
    # Where the pages find their API: on the server that they come from, by whatever name that is known to the browser.
    environment.setdefault("PREFECT_SERVER_UI_API_URL", "/api")
    log.info("starting Prefect's server at %s, which takes some ten seconds", url.removesuffix("/api"))
    command = [sys.executable, "-P", standing.__file__, host, str(port)]
    # In a session of its own: Ctrl-C goes to the whole terminal, and the runs shall still find it to say that they end.
    server = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.PIPE,  # closes with this process, however that ends
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        umask=0o077,  # its database is nobody else's
    )
    assert server.stdin is not None
    try:
        deadline = time.monotonic() + _SECONDS_TO_START
        while not is_ours(url, secret):
            if server.poll() is not None:
                raise AraflowError(
                    f"the Prefect server ended with status {server.returncode} before it answered at {url}; to see "
                    f"why: prefect server start --port {port}"
                )
            if time.monotonic() > deadline:
                raise AraflowError(f"no Prefect server answers at {url} after {_SECONDS_TO_START:.0f} s")
            time.sleep(0.3)
        yield
    finally:
        server.terminate()
        try:
            server.wait(_SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        server.stdin.close()


class _Runner(Runner):
    """Prefect's, which ends by SIGTERM as by Ctrl-C; its own way leaves work that nobody waits for, and a warning."""

    def handle_sigterm(self, *_: object, **__: object) -> None:
        """End."""
        _interrupt()


def prepare() -> None:
    """Tell the server of the automation."""
    with get_client(sync_client=True) as client:
        wanted = automation()
        known = client.read_automations_by_name(AUTOMATION)
        for one in known:
            if one.trigger.model_dump(include={"expect"}) != wanted.trigger.model_dump(include={"expect"}):
                client.update_automation(one.id, wanted)
        if not known:
            client.create_automation(wanted)


def serve(deployments: Sequence[Deployment], limit: int, on_ready: Callable[[], None]) -> None:
    """Register deployments, and run what is asked of them until interrupted.

    Args:
        deployments: Which.
        limit: Runs at once; more wait.
        on_ready: Called when the server knows all of them, before the first run; ``prefect.serve`` says it too soon.
    """
    prepare()
    # Others may serve the same deployments, and what is scheduled meanwhile runs when somebody serves again.
    runner = _Runner(limit=limit, pause_on_shutdown=False)
    for one in deployments:
        runner.add_deployment(one.for_runner())
        if not _knows_both_names(one):  # a server that is not ours, or that an earlier araflow has told
            runner.add_deployment(one.for_runner(typed=True))
    on_ready()
    with contextlib.suppress(KeyboardInterrupt, TerminationSignal):
        asyncio.run(runner.start())


def _knows_both_names(one: Deployment) -> bool:
    """Whether what is typed leads to what the list shows, as on a server of ours."""
    with get_client(sync_client=True) as client:
        try:
            return client.read_deployment_by_name(one.full_name).name != one.where
        except ObjectNotFound:
            return False


def automation() -> AutomationCore:
    """Return the automation that marks a run as crashed when its heartbeat stops.

    Of runs that carry our tag only: others may beat more slowly.
    """
    ended = ["Completed", INCOMPLETE, "Failed", "Cancelled", "Crashed"]  # names, not types
    return of_our_runs(
        AUTOMATION,
        f"No heartbeat for {_SILENCE} s: the process was killed, or its machine is gone.",
        {"posture": "Proactive", "after": ["prefect.flow-run.heartbeat"], "within": _SILENCE},
        ["heartbeat", *ended],
        {
            "type": "change-flow-run-state",
            "state": "CRASHED",
            "message": "No heartbeat: the process is gone. What is done is kept; run it again.",
        },
    )
