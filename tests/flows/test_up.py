"""``araflow up``: who gets in, and how it ends.

The cases: a page of somebody else's in a browser of this machine, and any user of it, gave the orders of the user who
had started it.
"""

import asyncio
import contextlib
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
import websockets
from prefect_server import UPGRADE, Client, free_port, is_private
from test_servers import run

pytestmark = [pytest.mark.prefect, pytest.mark.slow, pytest.mark.timeout(300)]

SOCKETS = (
    "events/in",
    "events/out",
    "logs/out",
    "task_runs/subscriptions/scheduled",
    "work_pools/araflow/workers/connect",
)


@contextlib.contextmanager
def up(folder: Path, environment: dict[str, str], port: int) -> Iterator[subprocess.Popen[str]]:
    """Start it; what it says is in ``up.log``. The block ends it, however it ends."""
    command = [sys.executable, "-m", "araflow", "up", "build-sample/local", "--port", str(port)]
    with (folder / "up.log").open("w") as log:
        # Under nohup the signal is ignored, and what tests start would ignore it, too.
        started = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=log,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
        )
    try:
        yield started
    finally:
        started.kill()
        started.wait()


def end(started: subprocess.Popen[str], family: list[psutil.Process], port: int, by: int = signal.SIGHUP) -> None:
    """Close its terminal, or end it otherwise: nothing of it lives on."""
    started.send_signal(by)
    started.wait(60)
    assert not psutil.wait_procs(family, timeout=30)[1]
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/api/health")


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="a system whose terminals send no SIGHUP")
@pytest.mark.parametrize("by", ["SIGHUP", "SIGKILL"])
def test_a_command_that_ends_while_it_starts_takes_the_server_with_it(
    home: Path, tmp_path: Path, environment: dict[str, str], by: str
):
    port = free_port()
    with up(tmp_path, environment, port) as started:
        family: list[psutil.Process] = []
        while not family:
            assert started.poll() is None, (tmp_path / "up.log").read_text()
            family = psutil.Process(started.pid).children(recursive=True)
            time.sleep(0.1)
        end(started, family, port, getattr(signal, by))


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="a system whose terminals send no SIGHUP")
def test_only_who_has_the_password_gets_in_and_other_terminals_have_it(
    home: Path, tmp_path: Path, environment: dict[str, str], profiles: Path
):
    port, log = free_port(), tmp_path / "up.log"
    with up(tmp_path, environment, port) as started:
        while "serving;" not in log.read_text():
            assert started.poll() is None, log.read_text()
            time.sleep(0.2)
        family = psutil.Process(started.pid).children(recursive=True)
        url = f"http://127.0.0.1:{port}"
        assert f"Prefect UI: {url}\n" in log.read_text()
        (secret,) = re.findall(r"password.*: (araflow:\S{32})\n", log.read_text())

        # Kept for this user alone, and on no command line, which everybody reads.
        assert secret in profiles.read_text() and is_private(profiles) and is_private(profiles.parent)
        assert not any(secret in word for one in [psutil.Process(started.pid), *family] for word in one.cmdline())
        listening = {(one.laddr.ip, one.laddr.port) for process in family for one in process.net_connections()}
        assert {one for one in listening if one[1] == port} == {("127.0.0.1", port)}

        with Client(f"{url}/api", secret) as known:
            hostile(known, port)

        # Another terminal, in which nothing is set.
        other = {name: value for name, value in environment.items() if name != "PREFECT_CLIENT_MAX_RETRIES"}
        asked = run("-m", "prefect", "deployment", "run", "build-sample/local", cwd=tmp_path, environment=other)
        assert asked.returncode == 0, asked.stdout + asked.stderr
        assert "Created flow run" in asked.stdout
        with Client(f"{url}/api", secret) as client:
            (kept,) = client.post("/flow_runs/filter", json={"deployments": {"name": {"any_": ["sample"]}}}).json()
            client.post(f"/flow_runs/{kept['id']}/set_state", json={"state": {"type": "CANCELLED"}, "force": True})
            everything = json.dumps([kept, client.get("/admin/settings").json()])
            assert secret not in everything
        end(started, family, port, signal.SIGTERM)
    assert not profiles.exists(), "as it was"
    assert "never awaited" not in log.read_text() and "Traceback" not in log.read_text()


def hostile(known: Client, port: int) -> None:
    """Ask as others do: each is refused, and nothing has changed."""
    api = str(known.base_url).rstrip("/")
    deployment = known.get("/deployments/name/build-sample/local").raise_for_status().json()
    orders = {"pull_steps": [{"prefect.deployments.steps.run_shell_script": {"script": "touch CODE_RAN"}}]}
    patched = f"{api}/deployments/{deployment['id']}"
    tokens = {name: value for name, value in known.headers.items() if name.startswith("prefect-csrf")}
    origins = [{"Origin": one} for one in ("http://evil.example", "null", "http://127.0.0.1:8888")]
    names = [{"Host": one} for one in ("evil.example", f"evil.example:{port}", f"127.0.0.1.evil.example:{port}")]
    right = httpx.BasicAuth(*known.secret.split(":", 1))
    wrong = httpx.BasicAuth("araflow", "guessed")
    with httpx.Client() as stranger:
        for auth in (None, wrong, right):
            for headers in ({}, *origins, *names):
                from_a_page = stranger.patch(patched, json=orders, headers=headers, auth=auth)
                assert from_a_page.status_code == 403, (auth, headers)
                if auth is right and not headers:
                    continue
                for token in ({}, tokens):
                    asked = stranger.get(f"{api}/admin/settings", headers=headers | token, auth=auth)
                    assert asked.status_code in (401, 403) and "home" not in asked.text, (auth, headers)
        for origin in origins:
            wanted = {"Access-Control-Request-Method": "PATCH", "Access-Control-Request-Headers": "content-type"}
            preflight = stranger.options(patched, headers=origin | wanted)
            assert preflight.is_client_error and "access-control-allow-origin" not in preflight.headers
        for path in SOCKETS:
            for headers in ({}, *origins, *names):
                with stranger.stream("GET", f"{api}/{path}", headers=UPGRADE | headers) as answer:
                    assert answer.status_code == 403, (path, headers)
            asyncio.run(talked(f"{api.replace('http', 'ws')}/{path}"))
    assert known.get(f"/deployments/{deployment['id']}").json()["pull_steps"] == deployment["pull_steps"]
    own = known.get("/admin/settings", headers={"Origin": f"http://127.0.0.1:{port}"})
    assert own.headers["access-control-allow-origin"] == f"http://127.0.0.1:{port}"


async def talked(url: str) -> None:
    """Speak Prefect's protocol to a WebSocket without the password: it is closed before it says anything."""
    for token in (None, "", "araflow:guessed"):
        async with websockets.connect(url, subprotocols=["prefect"]) as connected:
            await connected.send(json.dumps({"type": "auth", "token": token}))
            with pytest.raises(websockets.ConnectionClosed):
                await connected.recv()
