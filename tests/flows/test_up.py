"""``araflow up``: who gets in, what it keeps for other terminals, what it uses of what is there, and how it ends.

The cases: a page of somebody else's in a browser of this machine, and any user of it, gave the orders of the user who
had started it.
"""

import asyncio
import contextlib
import http.server
import json
import os
import pwd
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest
import websockets
from commands import Commands, clean
from prefect_server import UPGRADE, Client
from test_servers import answering, run

pytestmark = [pytest.mark.prefect, pytest.mark.slow, pytest.mark.timeout(300)]

CompletedProcess = subprocess.CompletedProcess[str]
Do = Callable[..., CompletedProcess]
SOCKETS = (
    "events/in",
    "events/out",
    "logs/out",
    "task_runs/subscriptions/scheduled",
    "work_pools/araflow/workers/connect",
)
AS_A_USER = """
import os, sys
import prefect.context
from araflow import cli
from flows.server import profile
for name in [name for name in os.environ if name.startswith("PREFECT_")]:
    del os.environ[name]
os.environ.update({environment!r})
prefect.context.GLOBAL_SETTINGS_CONTEXT = None  # whose profile would be looked for where it was
prefect.context.refresh_global_settings_context()
"""
KEEP = """
secret = profile.secret()
profile.keep({url!r}, secret)
print(secret.password)
"""
UP = "sys.argv = ['araflow', 'up', 'build-sample/local', *{arguments!r}]\ncli.main()"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return clean(PREFECT_HOME=str(tmp_path / "prefect"), PREFECT_CLIENT_MAX_RETRIES="0")


@pytest.fixture
def profiles(tmp_path: Path) -> Path:
    """Prefect's file of profiles."""
    return tmp_path / "prefect" / "profiles.toml"


@pytest.fixture
def do(commands: Commands, tmp_path: Path, environment: dict[str, str]) -> Do:
    """Run code as a user who has set some variables of Prefect's and no others."""

    def run_it(code: str, **more: str) -> CompletedProcess:
        given = {name: value for name, value in (environment | more).items() if name.startswith("PREFECT_")}
        return commands.python(tmp_path, AS_A_USER.format(environment=given) + code)

    return run_it


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def is_private(path: Path) -> bool:
    """Whether nobody else may read or write a file."""
    return stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


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
    """Close its terminal: nothing of it lives on."""
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
            (kept,) = client.post("/flow_runs/filter", json={"deployments": {"name": {"any_": ["local"]}}}).json()
            client.post(f"/flow_runs/{kept['id']}/set_state", json={"state": {"type": "CANCELLED"}, "force": True})
            everything = json.dumps([kept, client.get("/admin/settings").json()])
            assert secret not in everything
        end(started, family, port)


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


@pytest.mark.parametrize(
    ("health", "status", "said"),
    [
        ("<html>", 200, "is port {port} taken? What answers there is no Prefect server"),
        ("true", 200, "the Prefect server there asks for no password"),
        ("true", 401, "does not take our password: it is somebody else's"),
    ],
)
def test_what_sits_on_the_port_is_not_used(do: Do, profiles: Path, health: str, status: int, said: str):
    with answering(health, status) as url:
        port = url.rpartition(":")[2]
        ended = do(UP.format(arguments=["--port", port]))
    assert ended.returncode == 1
    assert said.format(port=port) in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not profiles.exists()


@pytest.mark.parametrize("name", ["PREFECT_SERVER_API_AUTH_STRING", "PREFECT_API_AUTH_STRING"])
def test_a_server_without_a_password_is_not_started(do: Do, name: str):
    ended = do(UP.format(arguments=["--host", "0.0.0.0", "--port", str(free_port())]), **{name: " "})
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith(
        f"error: {name} is empty: whoever reaches a server without a password"
    )


def test_the_profile_keeps_one_password_and_what_is_the_users_stays(do: Do, profiles: Path):
    def keep(url: str, **more: str) -> str:
        kept = do(KEEP.format(url=url), **more)
        assert kept.returncode == 0, kept.stderr
        return kept.stdout.strip()

    profiles.parent.mkdir()
    # Of another machine: it stays, and what is ours lies beside it.
    team = 'active = "team"\n\n[profiles.team]\nPREFECT_API_URL = "https://team.example/api"\n'
    profiles.write_text(team + 'PREFECT_API_AUTH_STRING = "team:secret"\n')
    profiles.chmod(0o644)
    first = keep("http://[::1]:4/api")
    assert first.startswith("araflow:") and is_private(profiles)
    assert "https://team.example/api" in profiles.read_text() and '"team:secret"' in profiles.read_text()
    assert keep("http://[::1]:4/api", PREFECT_PROFILE="araflow") == first
    # Of this machine.
    profiles.write_text(team.replace("https://team.example", "http://127.0.0.1:4200"))
    second = keep("http://[::1]:4/api")
    assert second.startswith("araflow:") and second != first
    assert "http://[::1]:4/api" in profiles.read_text() and second in profiles.read_text()
    assert keep("http://[::1]:5/api") == second, "so that browsers and workers need not be told again"
    # In the environment: it is the user's, and stays there.
    for name in ("PREFECT_API_AUTH_STRING", "PREFECT_SERVER_API_AUTH_STRING"):
        profiles.write_text(team.replace("https://team.example", "http://127.0.0.1:4200"))
        assert keep("http://[::1]:4/api", **{name: "me:mine"}) == "me:mine"
        assert "me:mine" not in profiles.read_text()


def test_a_profile_behind_a_link_is_written_where_it_lies(tmp_path: Path, do: Do, profiles: Path):
    kept = tmp_path / "dotfiles" / "profiles.toml"
    for folder in (kept.parent, profiles.parent):
        folder.mkdir()
    kept.write_text('active = "mine"\n\n[profiles.mine]\n')
    profiles.symlink_to(kept)
    done = do(KEEP.format(url="http://127.0.0.1:4/api"))
    assert done.returncode == 0, done.stderr
    assert profiles.is_symlink() and "http://127.0.0.1:4/api" in kept.read_text() and is_private(kept)
    assert list(kept.parent.iterdir()) == [kept]


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root starts another user's program")
def test_another_users_program_on_the_port_is_sent_nothing(do: Do):
    asked = []

    class Stranger(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, self.headers["Authorization"]))
            self.send_response(200 if self.path == "/api/health" else 401)
            self.end_headers()
            self.wfile.write(b"true")

        def log_message(self, *_: object) -> None: ...

    os.seteuid(pwd.getpwnam("nobody").pw_uid)  # whose socket it is
    try:
        listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Stranger)
    finally:
        os.seteuid(0)
    with listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        port = str(listening.server_port)
        known = {"PREFECT_API_AUTH_STRING": "me:mine", "PREFECT_API_URL": f"http://127.0.0.1:{port}/api"}
        ended = do(UP.format(arguments=["--port", port]), **known)
        assert ended.returncode == 1 and "another user's program listens there" in ended.stderr
        ended = do("sys.argv = ['araflow', 'serve']\ncli.main()", **known)
        assert ended.returncode == 1 and "no Prefect server: another user's program listens" in ended.stderr
        listening.shutdown()
    assert set(asked) <= {("/api/health", None)}
