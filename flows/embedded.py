"""Make Prefect's embedded server end when it should: after the run, and not before."""

from __future__ import annotations

import contextlib
import functools
import signal
import subprocess
import sys
import types
from collections.abc import Iterator
from typing import NoReturn


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Run a flow so that Ctrl-C and SIGTERM end it within seconds, in a state that the history knows.

    Ctrl-C goes to every process of the terminal. An embedded server that ends with it leaves Prefect retrying, for
    minutes, to tell it that the run was cancelled; so the server is started in a session of its own. Prefect stops it
    when Python exits, which SIGTERM would skip; so SIGTERM becomes an exit.
    """
    from prefect.settings import PREFECT_API_URL

    if PREFECT_API_URL.value() is not None:  # a server of the user's own
        yield
        return
    from prefect.server.api import server

    apart = types.SimpleNamespace(**vars(subprocess))
    apart.Popen = functools.partial(subprocess.Popen, start_new_session=True)
    server.subprocess = apart  # type: ignore[attr-defined, assignment]
    previous = signal.signal(signal.SIGTERM, _exit)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
        server.subprocess = subprocess  # type: ignore[attr-defined]


def _exit(number: int, frame: object) -> NoReturn:
    sys.exit(128 + number)
