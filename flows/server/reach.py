"""Whether a Prefect server answers, and where; and the way to one on this machine, which leads through no proxy."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping
from urllib.parse import urlsplit

import httpx
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_KEY, PREFECT_API_URL

from araflow.core.errors import AraflowError
from flows.server import whose
from flows.server.guarded import is_loopback

log = logging.getLogger("araflow.flows")
_SECONDS_TO_ANSWER = 5.0


def server_url() -> str:
    """Return the address of the server that commands ask.

    Raises:
        AraflowError: There is none, it does not answer, or it does not take our password.
    """
    url: str | None = PREFECT_API_URL.value()
    if url is None or not answers(url):
        where = "PREFECT_API_URL is not set" if url is None else whose.why_not(url)
        raise AraflowError(f"no Prefect server: {where}; start one with araflow up (in another terminal)")
    go_directly(url)
    in_the_cloud = PREFECT_API_KEY.value() is not None
    if not in_the_cloud and not whose.check_let_in(url, PREFECT_API_AUTH_STRING.value()):
        log.warning("the Prefect server at %s asks for no password: whoever reaches it can run programs by it", url)
    return url


def answers(url: str) -> bool:
    """Whether a Prefect server answers at an API address, such as ``http://127.0.0.1:4200/api``.

    A stranger's on this machine is none: it would learn our password.
    """
    try:
        if whose.is_strangers(url):
            return False
        return whose.is_healthy(ask_health(url))
    except (httpx.HTTPError, httpx.InvalidURL, ImportError, ValueError):  # the last two: of proxies that httpx lacks
        return False


def ask_health(url: str) -> httpx.Response:
    """Ask a Prefect server whether it is well.

    Raises:
        httpx.HTTPError: No server answers.
    """
    return httpx.get(f"{url.rstrip('/')}/health", timeout=_SECONDS_TO_ANSWER, trust_env=not is_here(url))


def is_here(url: str) -> bool:
    """Whether an address leads to this machine."""
    try:
        return is_loopback(urlsplit(url).hostname or "")
    except ValueError:
        return False


def go_directly(url: str) -> None:
    """Let Prefect's clients go to a server on this machine without a proxy, whatever the environment names.

    ``NO_PROXY`` (``settings.apply``) is not enough: a client makes its way through each proxy beforehand, and where it
    does not know the protocol, as with ``socks5``, it cannot be made at all. Downloads go on using the proxy.
    """
    if is_here(url):
        _ignore_proxies()


@functools.cache
def _ignore_proxies() -> None:
    from prefect.client.base import PrefectHttpxAsyncClient, PrefectHttpxSyncClient

    for client in (PrefectHttpxAsyncClient, PrefectHttpxSyncClient):
        made = functools.partialmethod(client.__init__, trust_env=False)
        client.__init__ = made  # type: ignore[method-assign, assignment]


def without_proxies(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment for a process that asks nobody."""
    return {name: value for name, value in environment.items() if not name.lower().endswith("_proxy")}
