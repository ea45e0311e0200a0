"""A real Prefect server with a password, to ask what a user would see afterwards."""

import contextlib
import socket
import stat
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from flows.server import password, standing

UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
}
"""Headers that ask for a WebSocket; the answer is 101."""

ASK = """async ([api, socket, deployment]) => {
    const asked = async (...how) => { try { return (await fetch(...how)).status } catch (error) { return error.name } }
    const opened = new Promise(done => {
        const one = new WebSocket(socket)
        one.onopen = () => done("opened")
        one.onerror = () => done("refused")
    })
    const json = {method: "PATCH", headers: {"Content-Type": "application/json"}, body: '{"pull_steps": []}'}
    return [
        await asked(api + "/health"),
        await asked(api + "/deployments/" + deployment, json),
        await asked(api + "/flows/", {method: "POST", mode: "no-cors", body: '{"name": "evil"}'}),
        await opened,
    ]
}"""
"""What a page asks of a server: to read, to change, to change without reading the answer, and a WebSocket."""


class Client(httpx.Client):
    """Knows the password and Prefect's token against forged requests, and asks again where the server says 503.

    That is where SQLite is being written to; Prefect's own client does the same.
    """

    def __init__(self, url: str, secret: str) -> None:
        super().__init__(base_url=url, timeout=30, auth=tuple(secret.split(":", 1)))
        self.secret = secret

    def request(self, method: str, url: Any, **options: Any) -> httpx.Response:
        if method != "GET" and "Prefect-Csrf-Token" not in self.headers:
            client = str(uuid.uuid4())
            token = self.get("/csrf-token", params={"client": client}).raise_for_status().json()["token"]
            self.headers.update({"Prefect-Csrf-Client": client, "Prefect-Csrf-Token": token})
        for _ in range(40):
            response = super().request(method, url, **options)
            if response.status_code != 503:
                break
            time.sleep(0.5)
        return response


def free_port() -> int:
    """Return a port of this machine at which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def is_private(path: Path) -> bool:
    """Whether nobody else may read or write a file."""
    return stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


@contextlib.contextmanager
def serving(folder: Path, environment: dict[str, str]) -> Iterator[Client]:
    """Yield a client of its API, once it answers. It is started as ``araflow up`` starts it."""
    port = free_port()
    secret = environment.get("PREFECT_SERVER_API_AUTH_STRING") or password.make()
    command = [sys.executable, "-P", standing.__file__, "127.0.0.1", str(port)]
    with (folder / "server.log").open("wb") as log:
        told = environment | password.for_server(secret) | {"PREFECT_SERVER_UI_API_URL": "/api"}
        server = subprocess.Popen(command, cwd=folder, env=told, stdin=subprocess.PIPE, stdout=log, stderr=log)
        try:
            with Client(f"http://127.0.0.1:{port}/api", secret) as client:
                for _ in range(240):
                    try:
                        if client.get("/health").status_code == 200:
                            break
                    except httpx.TransportError:
                        time.sleep(0.5)
                yield client
        finally:
            server.terminate()
            server.wait(30)
            server.stdin.close()
