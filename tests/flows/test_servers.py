"""Servers that are not what they should be, what they keep of a user's own, and how they end."""

import contextlib
import http.server
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from commands import Commands
from flow_world import Server

pytestmark = [pytest.mark.prefect, pytest.mark.slow, pytest.mark.timeout(300)]

SLOTS = """
from flows.server import settings; settings.apply()
import sys, time
from flows.executors import limits
"""


@contextlib.contextmanager
def answering(health: str, status: int) -> Iterator[str]:
    """Yield the address of a server that says ``health`` of its health, and to all else only a status."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = health.encode() if self.path.endswith("/health") else b"{}"
            self.send_response(200 if self.path.endswith("/health") else status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def run(*arguments: str, cwd: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_a_server_that_refuses_ends_the_command_with_one_message(tmp_path: Path, environment: dict[str, str]):
    with answering("true", 401) as url:
        known = environment | {"PREFECT_API_URL": f"{url}/api"}
        refused = run("-m", "araflow", "build", "sample", "out=out", cwd=tmp_path, environment=known)
    assert refused.returncode == 1
    last = refused.stderr.splitlines()[-1]
    assert last.startswith(f"error: the Prefect server at {url}/api refuses: ")
    assert "401" in last and "PREFECT_API_AUTH_STRING" in last
    assert "Traceback" not in refused.stderr and "starts again" not in refused.stderr


def test_a_slot_that_the_server_cannot_give_does_not_end_the_work(tmp_path: Path, environment: dict[str, str]):
    code = SLOTS + "limits._ensure = lambda kind: None\nwith limits.slot('disk'): print('working')"
    with answering("true", 500) as url:
        known = environment | {"PREFECT_API_URL": f"{url}/api"}
        worked = run("-c", code, cwd=tmp_path, environment=known)
    assert (worked.returncode, worked.stdout) == (0, "working\n"), worked.stderr
    assert "going on without" in worked.stderr


@pytest.fixture
def ucf101(server: Server) -> Iterator[str]:
    """The name of a deployment that a test may change."""
    with server.keeping("build-ucf101/local"):
        yield "build-ucf101/local"


def test_what_a_user_has_set_on_the_server_stays(tmp_path: Path, server: Server, commands: Commands, ucf101: str):
    register = "from flows import deployments\n"
    register += f"for one in deployments.find(['{ucf101}']):\n    one.for_runner().apply()\n"
    assert commands.python(tmp_path, register).returncode == 0
    name = f"/deployments/name/{ucf101}"
    deployment = server.api.get(name).json()
    assert (deployment["schedules"], deployment["paused"]) == ([], False)
    schedule = [{"schedule": {"cron": "0 3 * * *"}, "active": True}]
    server.api.post(f"/deployments/{deployment['id']}/schedules", json=schedule).raise_for_status()
    server.api.post(f"/deployments/{deployment['id']}/pause_deployment").raise_for_status()

    # Registered again, and with one slot, which is held: a build that waits for it hears that it is stopped.
    wait = "with limits.slot('gpu'):\n    def stop(): raise RuntimeError('stopped')\n"
    wait += "    try:\n        with limits.slot('gpu', stop): print('held twice')\n"
    wait += "    except RuntimeError as error: print(error)"
    known = server.environment | {"PREFECT_API_URL": f"{server.url}/"}  # some people write it so
    waited = run("-c", SLOTS + register + wait, cwd=tmp_path, environment=known)
    assert (waited.returncode, waited.stdout) == (0, "stopped\n"), waited.stderr
    assert "failed" not in waited.stderr
    deployment = server.api.get(name).json()
    assert [one["schedule"]["cron"] for one in deployment["schedules"]] == ["0 3 * * *"]
    assert deployment["paused"]

    shown = commands.run(tmp_path, "run", "build-nothing")
    assert "no deployment 'build-nothing'" in shown.stderr


def test_a_run_of_the_command_is_cancelled_from_the_server(tmp_path: Path, server: Server, commands: Commands):
    build = commands.start(tmp_path, "build", "sample", "out=out", "optical.preset=accurate")
    while not (tmp_path / "out" / "clips").exists():
        assert psutil.pid_exists(build.pid)
        time.sleep(0.1)
    family = psutil.Process(build.pid).children(recursive=True)
    asked = server.runs()[0]
    cancelling = {"state": {"type": "CANCELLING"}}
    server.api.post(f"/flow_runs/{asked['id']}/set_state", json=cancelling).raise_for_status()
    begun = time.monotonic()
    ended = build.wait()
    assert time.monotonic() - begun < 60
    assert ended.returncode == 128 + signal.SIGTERM, ended.stderr
    assert not psutil.wait_procs(family, timeout=10)[1]
    assert "on the server: cancelled" in ended.stderr and "Traceback" not in ended.stderr
    state = server.api.get(f"/flow_runs/{asked['id']}").json()["state"]
    assert (state["type"], state["message"]) == ("CANCELLED", "cancelled; what is done is kept: run it again")
    assert not (tmp_path / "out" / "manifest.parquet").exists()
    assert not (tmp_path / "out" / ".araflow" / "work").exists()
