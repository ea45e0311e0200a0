"""What a guarded server answers, and to whom; against Prefect's own server in test_up.py."""

import socket
import threading
import time
from collections.abc import Iterator

import httpx
import pytest
import uvicorn
from prefect_server import UPGRADE
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from flows.server import guarded, password


async def page(_: object) -> PlainTextResponse:
    return PlainTextResponse("reached")


async def talk(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.close()


class Guarded:
    """A guard that was told one address to listen on, on a port of this machine."""

    def __init__(self, host: str, port: int, client: httpx.Client) -> None:
        self.host, self.origin, self._client = host, f"http://127.0.0.1:{port}", client

    def lets_through(self, **headers: str) -> bool:
        """Whether GET, PATCH and a WebSocket get through: all or none shall."""
        asked = []
        for method, path, more in (("GET", "/", {}), ("PATCH", "/", {}), ("GET", "/socket", UPGRADE)):
            with self._client.stream(method, f"{self.origin}{path}", headers=more | headers) as answer:
                asked.append(answer.status_code)
        assert asked in ([200, 200, 101], [403, 403, 403])
        return asked[0] == 200


@pytest.fixture(scope="module", params=["127.0.0.1", "0.0.0.0", "head"])
def guard(request: pytest.FixtureRequest) -> Iterator[Guarded]:
    app = Starlette(routes=[Route("/", page, methods=["GET", "PATCH"]), WebSocketRoute("/socket", talk)])
    guarding = guarded.Guard(app, request.param, ["https://team.example"])
    server = uvicorn.Server(uvicorn.Config(guarding, port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    with httpx.Client() as client:
        yield Guarded(request.param, server.servers[0].sockets[0].getsockname()[1], client)
    server.should_exit = True
    thread.join()


OWN = ("127.0.0.1:4200", "localhost:4200", "LOCALHOST", "[::1]:9", "team.example")  # of another port: by way of ssh
FOREIGN = ("evil.example", "evil.example:4200", "127.0.0.1.evil.example", "localhost.evil.example", "[", "")
FOREIGN += ("127.0.0.1:4200@evil.example", "x@evil.example", "127.0.0.1, evil.example")


def test_only_names_of_this_server_are_answered(guard: Guarded):
    assert [name for name in OWN if not guard.lets_through(host=name)] == []
    assert [name for name in FOREIGN if guard.lets_through(host=name)] == []
    beyond = guard.host != "127.0.0.1"
    assert guard.lets_through(host="192.0.2.1:4200") is beyond, "an address of this machine's, for all that is known"
    assert guard.lets_through(host=f"{socket.gethostname()}:4200") is beyond
    assert guard.lets_through(host="head:4200") is (guard.host == "head")


def test_only_its_own_pages_and_those_that_are_named_may_ask(guard: Guarded):
    for origin in (guard.origin, "https://team.example"):
        assert guard.lets_through(origin=origin), origin
    another = "http://127.0.0.1:8888"
    of_a_file = "null"
    for origin in (
        another,
        of_a_file,
        "http://team.example",
        "http://evil.example",
        f"{guard.origin}.evil.example",
        "",
    ):
        assert not guard.lets_through(origin=origin), origin


def test_no_two_passwords_are_the_same_and_each_is_one_that_prefect_and_a_shell_take():
    made = {password.make() for _ in range(1000)}
    assert len(made) == 1000
    assert all(one.isascii() and one.count(":") == 1 and one == one.strip() and len(one) >= 40 for one in made)
