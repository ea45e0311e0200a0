"""A real `prefect server start`, to ask what a user would see afterwards."""

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
}
"""Headers that ask for a WebSocket; the answer is 101."""


class Client(httpx.Client):
    """Asks again where the server says 503, since SQLite is being written to, as Prefect's own client does."""

    def request(self, *args: Any, **options: Any) -> httpx.Response:
        for _ in range(40):
            response = super().request(*args, **options)
            if response.status_code != 503:
                break
            time.sleep(0.5)
        return response


@contextlib.contextmanager
def serving(folder: Path, environment: dict[str, str]) -> Iterator[httpx.Client]:
    """Yield a client of its API, once it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with (folder / "server.log").open("wb") as log:
        # Its pages look for the API at port 4200, unless they are told.
        told = environment | {"PREFECT_SERVER_UI_API_URL": f"http://127.0.0.1:{port}/api"}
        server = subprocess.Popen(command, cwd=folder, env=told, stdout=log, stderr=log)
        try:
            with Client(base_url=f"http://127.0.0.1:{port}/api", timeout=30) as client:
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
