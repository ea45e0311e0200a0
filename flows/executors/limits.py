"""Slots of Prefect's concurrency limits: how many downloads, runs that write and GPU users there are at once.

A limit is made with its default when it is first needed and then belongs to the user, who changes it on the UI's page
Concurrency. GPU and disk are counted per machine, downloads over all of them. A process that is killed gives its slot
back when its lease ends.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import platform
import threading
from collections.abc import Callable, Iterator
from typing import Literal

import httpx
from prefect.client.orchestration import get_client
from prefect.concurrency.asyncio import AcquireConcurrencySlotTimeoutError, ConcurrencySlotAcquisitionError
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

from araflow import optical
from flows.server import history

log = logging.getLogger("araflow.flows")

Kind = Literal["download", "disk", "gpu"]
DEFAULTS: dict[Kind, int] = {"download": 2, "disk": 4, "gpu": 1}
"""Slots: datasets being downloaded; runs that make clips, per machine; users of the GPU, per machine."""
_LEASE_SECONDS = 60.0
"""Prefect's least."""
_SECONDS_BETWEEN_LOOKS = 3.0
_SECONDS_OF_SILENCE = 5.0
"""After which the log says what is waited for."""


# Prefect would log an error at every look.
logging.getLogger("prefect._internal.concurrency").addFilter(
    lambda record: "raised TimeoutError" not in record.getMessage()
)


def name_of(kind: Kind) -> str:
    """Return the limit's name, such as ``araflow-download`` or ``araflow-gpu-box1``."""
    return f"araflow-{kind}" if kind == "download" else f"araflow-{kind}-{platform.node()}"


@contextlib.contextmanager
def of_making(backend: str, while_waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the slots that making clips needs.

    For a run and not for each shard: Prefect's server on SQLite answers requests that come at once with "busy", after
    which its client waits for two seconds.

    Args:
        backend: The optical-flow backend.
        while_waiting: See ``slot``.
    """
    with contextlib.ExitStack() as slots:
        slots.enter_context(slot("disk", while_waiting))
        if optical.needs_device(backend):
            slots.enter_context(slot("gpu", while_waiting))
        yield


@contextlib.contextmanager
def slot(kind: Kind, while_waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold a slot, waiting for one if need be.

    Without a server of the user's own there is one run, and nothing to share. Where the server cannot be reached, the
    work goes on without a slot: the server may cost history, never data.

    Args:
        kind: Of what.
        while_waiting: Called every few seconds; what it raises ends the waiting.
    """
    if not history.is_shared():
        yield
        return
    held = contextlib.ExitStack()
    text = "waiting for a slot of %s (page Concurrency); one whose process was killed comes back within %.0f s"
    waiting = threading.Timer(_SECONDS_OF_SILENCE, log.info, (text, name_of(kind), _LEASE_SECONDS))
    waiting.start()
    try:
        _ensure(kind)
        while not _held(kind, held):
            while_waiting()
    except (httpx.HTTPError, OSError, ConcurrencySlotAcquisitionError) as error:
        log.warning("no slot of %s could be asked for (%s); going on without", name_of(kind), error)
    finally:
        waiting.cancel()
    try:
        yield
    finally:
        try:
            held.close()
        except (httpx.HTTPError, OSError) as error:
            log.warning("the slot of %s could not be given back (%s); it ends by itself", name_of(kind), error)


def _held(kind: Kind, held: contextlib.ExitStack) -> bool:
    """Wait a little for a slot; return whether it is held now."""
    try:
        held.enter_context(
            concurrency(
                name_of(kind),
                timeout_seconds=_SECONDS_BETWEEN_LOOKS,
                lease_duration=_LEASE_SECONDS,
                raise_on_lease_renewal_failure=False,
            )
        )
    except AcquireConcurrencySlotTimeoutError:
        return False
    return True


@functools.cache
def _ensure(kind: Kind) -> None:
    name = name_of(kind)
    with get_client(sync_client=True) as client:
        try:
            client.read_global_concurrency_limit_by_name(name)
        except ObjectNotFound:
            from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate

            with contextlib.suppress(ObjectAlreadyExists):  # another process was faster
                client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=name, limit=DEFAULTS[kind]))
