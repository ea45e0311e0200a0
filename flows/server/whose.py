"""Whose server it is that answers: nobody gets our password, or gives us orders, who only sits on the port."""

from __future__ import annotations

import base64
import contextlib
import os
from pathlib import Path

import httpx

from araflow.core.errors import AraflowError
from flows.server.guarded import FOREIGN_NAME, is_loopback

_SECONDS_TO_ANSWER = 30.0
_LISTENS = "0A"
"""State of a socket, in Linux's list of them."""


def is_ours(url: str, password: str) -> bool:
    """Whether what answers at an address is a Prefect server that asks for our password; ``False`` if nothing does.

    The password is sent to nothing but a Prefect server, run by this user or root where that can be known, that has
    refused without it.

    Raises:
        AraflowError: Something else answers; says what, and what to do.
    """
    try:
        answer = _ask(url, "health")
    except httpx.ConnectError:
        return False
    except httpx.HTTPError:
        answer = None
    otherwise = "end it, or take another --port"
    if is_strangers(url):
        raise AraflowError(f"{url}: another user's program listens there; take another --port")
    if answer is None or not is_healthy(answer):
        raise AraflowError(
            f"{url}: is port {httpx.URL(url).port} taken? What answers there is no Prefect server; {otherwise}"
        )
    if not check_let_in(url, password):
        raise AraflowError(
            f"{url}: the Prefect server there asks for no password: whoever reaches it could run programs here; "
            f"{otherwise}"
        )
    return True


def check_let_in(url: str, password: str | None) -> bool:
    """Make sure that a Prefect server takes our password, if it asks for one; return whether it does.

    Raises:
        AraflowError: It does not take ours, or answers no more.
    """
    try:
        if _ask(url, "admin/version").status_code != httpx.codes.UNAUTHORIZED:
            return False
        if not password:
            raise AraflowError(f"the Prefect server at {url} asks for a password: set PREFECT_API_AUTH_STRING")
        if not _ask(url, "admin/version", password).is_success:
            raise AraflowError(
                f"the Prefect server at {url} does not take our password: it is somebody else's, or has a new one; set "
                "PREFECT_API_AUTH_STRING"
            )
    except httpx.HTTPError as error:
        raise AraflowError(f"the Prefect server at {url} does not answer any more: {error}") from error
    return True


def why_not(url: str) -> str:
    """Return why no Prefect server of ours answers at an address."""
    with contextlib.suppress(httpx.HTTPError, httpx.InvalidURL, ImportError, ValueError):  # see reach.answers
        if is_strangers(url):
            return f"another user's program listens at {url}"
        answer = _ask(url, "health")
        if answer.status_code == httpx.codes.FORBIDDEN and answer.text == FOREIGN_NAME:
            return f"the one at {url} says: {answer.text}"
        return f"what answers at {url} is none"
    return f"nothing answers at {url}"


def _ask(url: str, path: str, password: str | None = None) -> httpx.Response:
    own = is_loopback(httpx.URL(url).host)
    headers = {} if password is None else {"Authorization": f"Basic {base64.b64encode(password.encode()).decode()}"}
    # A proxy has no part in what stays on this machine.
    return httpx.get(f"{url.rstrip('/')}/{path}", timeout=_SECONDS_TO_ANSWER, headers=headers, trust_env=not own)


def is_healthy(answer: httpx.Response) -> bool:
    """Whether an answer to ``/health`` is that of a Prefect server."""
    return answer.is_success and answer.text.strip() == "true"  # another server may answer everything with a page


def is_strangers(url: str) -> bool:
    """Whether another user than this one or root listens at an address of this machine, as far as Linux says."""
    address = httpx.URL(url)
    if not is_loopback(address.host):
        return False
    owners = set()
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in Path("/proc/net", name).read_text().splitlines()[1:]:
                _, local, _, state, _, _, _, user, *_ = line.split()
                if state == _LISTENS and int(local.rpartition(":")[2], 16) == address.port:
                    owners.add(int(user))
    return bool(owners) and not owners <= {0, os.getuid()}
