"""Ask a Prefect server for a run of a deployment, and watch it: ``araflow run``."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL, PREFECT_UI_URL

from araflow.core.addresses import masked_all
from araflow.core.errors import ServerLostError, SpecError
from flows.server.reach import server_url
from flows.states import INCOMPLETE

_SECONDS_WITHOUT_SERVER = 120.0


@dataclasses.dataclass(frozen=True, slots=True)
class Asked:
    """A run that was asked for.

    Attributes:
        id: Its identifier.
        name: Its name.
        state: ``COMPLETED``, ``FAILED``, ``CRASHED``, ``CANCELLED``, or where it is on the way.
        message: What the run says of its state.
        url: Its page, where the server has one.
        is_whole: It has completed, and of a build every clip is done.
    """

    id: str
    name: str
    state: str
    message: str
    url: str | None
    is_whole: bool = False

    @classmethod
    def of(cls, run: FlowRun) -> Asked:
        """Take what a person wants to know of a run."""
        state = run.state
        base = PREFECT_UI_URL.value() or str(PREFECT_API_URL.value()).rstrip("/").removesuffix("/api")
        url = f"{base}/runs/flow-run/{run.id}"
        if state is None:
            return cls(str(run.id), run.name, "PENDING", "", url)
        is_whole = state.is_completed() and state.name != INCOMPLETE
        return cls(str(run.id), run.name, state.type.value, state.message or "", url, is_whole)


def ask(name: str, parameters: dict[str, Any], called: str) -> Asked:
    """Ask for a run.

    Args:
        name: ``FLOW/DEPLOYMENT``.
        parameters: The flow's arguments, which the server checks before the run exists.
        called: The run's name, until more is known of it.

    Raises:
        SpecError: The server has no such deployment, or an argument is wrong.
        AraflowError: No server answers.
        ServerLostError: It stops answering.
    """
    url = server_url()
    refuse_secrets(parameters)
    with explained(url, name):
        run = run_deployment(name, parameters=parameters, timeout=0, flow_run_name=called)
    return Asked.of(cast(FlowRun, run))


def refuse_secrets(parameters: dict[str, Any]) -> None:
    """Refuse what the server should not know.

    Raises:
        SpecError: An argument holds a secret, as far as can be told.
    """
    if (kept := masked_all(parameters)) != parameters:
        secret = ", ".join(name for name, value in parameters.items() if kept[name] != value)
        raise SpecError(
            f"{secret}: holds an address with a user, a query or a fragment, which may be secret, and the server keeps "
            "and shows what a run is given; fetch it first and name the file, or use araflow build"
        )


@contextlib.contextmanager
def explained(url: str, name: str) -> Iterator[None]:
    """Say what a server's refusal, or its silence, means.

    Args:
        url: The server's API.
        name: What it was asked for.

    Raises:
        SpecError: It has no such deployment, or an argument is wrong.
        ServerLostError: It stops answering.
    """
    try:
        yield
    except ObjectNotFound as error:
        raise SpecError(f"the server at {url} has no deployment {name}: register it with araflow serve") from error
    except PrefectHTTPStatusError as error:
        try:
            detail = error.response.json()["detail"]
        except (ValueError, KeyError, TypeError):
            detail = error
        raise SpecError(f"{name}: {detail}") from error
    except httpx.HTTPError as error:
        raise ServerLostError(f"the Prefect server at {url} does not answer any more ({error})") from error
    except ValueError as error:  # Prefect's own check of names
        raise SpecError(f"{name}: {error}") from error


def watch(asked: Asked, on_change: Callable[[Asked], None]) -> Asked:
    """Wait until a run has ended.

    Args:
        asked: The run.
        on_change: Called when its state has changed.

    Raises:
        ServerLostError: The server does not answer any more.
    """
    heard = time.monotonic()
    while True:
        try:
            with get_client(sync_client=True) as client:
                run = client.read_flow_run(asked.id)  # type: ignore[arg-type] # takes text as well
            heard = time.monotonic()
        except httpx.HTTPError as error:
            if time.monotonic() - heard > _SECONDS_WITHOUT_SERVER:
                silence = f"the Prefect server has not answered for {_SECONDS_WITHOUT_SERVER:.0f} s"
                raise ServerLostError(f"{silence} ({error}); the run may go on") from error
            time.sleep(2)
            continue
        now = Asked.of(run)
        if now != asked:
            on_change(now)
            asked = now
        if run.state is not None and run.state.is_final():
            return asked
        time.sleep(1)
