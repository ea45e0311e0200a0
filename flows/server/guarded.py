"""Prefect's server behind a guard: what comes under a foreign name, or from a foreign page, gets no answer.

Prefect looks at neither. To a browser, a page whose name is made to lead to this machine (DNS rebinding) is one of the
server's own; and any page may open a WebSocket.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from flows.server.names import ByEitherName

FOREIGN_NAME = "this server has another name; see PREFECT_SERVER_CORS_ALLOWED_ORIGINS in araflow's docs/security.md"
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class Guard:
    """An application that others' pages and names do not reach."""

    def __init__(self, app: ASGIApp, host: str, origins: Collection[str]) -> None:
        """Guard an application.

        Args:
            app: What is guarded.
            host: The address that it listens on.
            origins: Whose pages may use it besides its own. Their hosts are names of this server, too.
        """
        self._app, self._origins = app, origins
        self._names = {host.lower(), *_LOOPBACK, *(urlsplit(one).hostname for one in origins)}
        self._open = not is_loopback(host)
        if self._open:
            self._names |= names_of_this_machine()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse with status 403; see ASGI."""
        if scope["type"] in ("http", "websocket"):
            headers = Headers(scope=scope)
            if wrong := self._wrong(headers.getlist("host"), headers.getlist("origin")):
                await PlainTextResponse(wrong, status_code=403)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _wrong(self, hosts: list[str], origins: list[str]) -> str:
        if len(hosts) != 1 or not self._is_ours(hosts[0]):
            return FOREIGN_NAME
        own = {*self._origins, f"http://{hosts[0]}", f"https://{hosts[0]}"}
        return "" if set(origins) <= own else "another server's page may not use this one"

    def _is_ours(self, header: str) -> bool:
        try:
            name = urlsplit(f"//{header}").hostname
        except ValueError:
            return False
        return name in self._names or (self._open and name is not None and _is_number(name))


def names_of_this_machine() -> set[str]:
    """Return the names by which other machines may know this one."""
    name = socket.gethostname().lower()
    return {name, name.partition(".")[0], socket.getfqdn().lower()}


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens on an address."""
    return host.lower() == "localhost" or (_is_number(host) and ipaddress.ip_address(host).is_loopback)


def _is_number(host: str) -> bool:
    """Whether it is an address and no name: nobody can make it lead elsewhere."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def create_app(host: str = "127.0.0.1") -> ASGIApp:
    """Return Prefect's application, guarded, with Prefect's settings of this process.

    Args:
        host: The address that it listens on.
    """
    from prefect.server.api.server import create_app as of_prefect
    from prefect.settings import PREFECT_SERVER_CORS_ALLOWED_ORIGINS

    origins = str(PREFECT_SERVER_CORS_ALLOWED_ORIGINS.value()).split(",")
    return Guard(ByEitherName(of_prefect(final=True)), host, [one for one in origins if one])
