"""A run whose Prefect server cannot come up, dies, or lies behind a proxy: the same data, with or without a history."""

import filecmp
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from commands import Command, Commands, clean
from flow_world import Built, Server, write_config

from flows.server import attached

pytestmark = [pytest.mark.prefect, pytest.mark.slow]

ON_ITS_OWN = """
from prefect.context import refresh_global_settings_context
os.environ.pop("PREFECT_API_URL")
refresh_global_settings_context()
cli.main()
"""
"""A command that has no server but one of its own, in a process that has already learnt of another one."""
CLIENT = """
from flows.server import reach
import httpx
from prefect.client.orchestration import get_client
print(reach.server_url())
with get_client(sync_client=True) as client:
    print(client.hello().json())
"""
DOWNLOAD = """
from flows.server import reach
from pathlib import Path
from araflow.acquire import fetch
reach.go_directly("http://127.0.0.1:4200/api")
fetch.download(["http://mirror.example/file"], Path("file"), kind="text")
"""


def same(one: Path, other: Path) -> bool:
    """Whether two builds are the same, manifest and clips."""
    names = [path.relative_to(one) for path in (one / "clips").rglob("*") if path.is_file()]
    _, differ, absent = filecmp.cmpfiles(one, other, [*map(str, names), "manifest.parquet"], shallow=False)
    return bool(names) and not differ and not absent


def server_of(pid: int) -> psutil.Process:
    """The server that a command has started, as soon as there is one."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for one in psutil.Process(pid).children():
            if attached.__file__ in one.cmdline():
                return one
        time.sleep(0.05)
    raise AssertionError("no server was started")


def build(commands: Commands, folder: Path, home: Path, *arguments: str, **environment: str) -> Command:
    given = ("build", "tiny.yaml", "run.workers=1", *arguments)
    return commands.start(folder, *given, code=ON_ITS_OWN, PREFECT_HOME=str(home), **environment)


def test_a_server_that_does_not_come_up_in_time_costs_the_history_alone(
    built: Built, tmp_path: Path, commands: Commands
):
    write_config(tmp_path)
    patience = {"PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "1"}
    run = build(commands, tmp_path, tmp_path / "home", **patience).wait()
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1].startswith("6 clips listed: 6 done; 6 worked on")
    assert "no history of this run: Prefect's server did not answer within 1 s" in run.stderr
    assert "Traceback" not in run.stderr
    assert same(built.folder / "out", tmp_path / "out")


def test_a_server_that_is_killed_on_the_way_costs_the_history_alone(
    built: Built, home: Path, tmp_path: Path, commands: Commands
):
    write_config(tmp_path)
    run = build(commands, tmp_path, home, "run.shard_size=1")
    server = server_of(run.pid)
    while not (tmp_path / "out" / ".araflow" / "build.json").exists():
        assert server.is_running()
        time.sleep(0.02)
    server.kill()
    ended = run.wait()
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1].startswith("6 clips listed: 6 done; ")
    assert ended.stderr.count("Prefect's server was lost; going on from what is done") == 1
    assert "Traceback" not in ended.stderr
    assert same(built.folder / "out", tmp_path / "out")


def test_a_server_ends_with_the_process_that_started_it_even_while_it_starts():
    command = [sys.executable, "-P", attached.__file__]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=clean()) as server:
        port = int(server.stdout.readline())
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            assert server.poll() is None
        server.stdin.close()  # as the kernel does when the other process is killed
        assert server.wait(30) == -signal.SIGTERM


PROXIES = {"http_proxy": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9", "ALL_PROXY": "socks5://127.0.0.1:9"}


@pytest.mark.parametrize("proxies", [PROXIES, {"all_proxy": "gopher://127.0.0.1:9", "NO_PROXY": "intranet"}])
def test_no_proxy_lies_before_a_server_on_this_machine(
    tmp_path: Path, server: Server, commands: Commands, proxies: dict[str, str]
):
    asked = commands.start(tmp_path, code=CLIENT, **proxies).wait()
    assert asked.returncode == 0, asked.stderr
    assert asked.stdout.splitlines()[0] == server.url


def test_downloads_go_on_using_the_proxy(tmp_path: Path, web: Any, commands: Commands):
    web.files["http://mirror.example/file"] = b"by proxy"
    run = commands.start(tmp_path, code=DOWNLOAD, http_proxy=web.url(""), NO_PROXY="intranet").wait()
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "file").read_text() == "by proxy"


def _garbage(home: Path) -> None:
    (home / "prefect.db").write_bytes(os.urandom(100_000))


def _cut(home: Path) -> None:
    with (home / "prefect.db").open("r+b") as file:
        file.truncate(300_000)


def _a_folder(home: Path) -> None:
    (home / "prefect.db").unlink()
    (home / "prefect.db").mkdir()


def _no_folder(home: Path) -> None:
    home.rename(home.with_name("moved"))
    home.write_text("a file")


def _a_bad_profile(home: Path) -> None:
    (home / "profiles.toml").write_text("[[garbage")


@pytest.mark.proof
@pytest.mark.parametrize("spoil", [_garbage, _cut, _a_folder, _no_folder, _a_bad_profile])
def test_a_folder_of_prefects_that_is_spoilt_costs_the_history_alone(
    built: Built, home: Path, tmp_path: Path, spoil: Callable[[Path], None]
):
    write_config(tmp_path)
    spoil(home)
    command = [sys.executable, "-m", "araflow", "build", "tiny.yaml"]
    environment = clean(PREFECT_HOME=str(home))
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240)
    assert run.returncode == 0, run.stderr
    (said,) = [line for line in run.stderr.splitlines() if "no history of this run" in line]
    assert ("profiles.toml" if spoil is _a_bad_profile else f"{home}/prefect.db") in said
    assert "Traceback" not in run.stderr and len(run.stderr) < 3000
    assert same(built.folder / "out", tmp_path / "out")


@pytest.mark.proof
def test_a_server_that_answers_no_more_is_given_up(built: Built, home: Path, tmp_path: Path, commands: Commands):
    write_config(tmp_path)
    run = build(commands, tmp_path, home, "run.shard_size=1")
    server = server_of(run.pid)
    while not (tmp_path / "out" / ".araflow" / "build.json").exists():
        time.sleep(0.02)
    server.suspend()
    ended = run.wait()
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("Prefect's server was lost; going on from what is done") == 1
    assert same(built.folder / "out", tmp_path / "out")


@pytest.mark.proof
def test_a_killed_command_takes_its_server_along_and_holds_no_pipe_open(home: Path, tmp_path: Path):
    write_config(tmp_path)
    command = [sys.executable, "-m", "araflow", "build", "tiny.yaml"]
    pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(command, cwd=tmp_path, env=clean(PREFECT_HOME=str(home)), **pipe) as run:
        server = server_of(run.pid)
        while not (tmp_path / "out" / ".araflow" / "build.json").exists():
            time.sleep(0.02)
        run.kill()
        run.stdout.read()  # ends only when nobody holds it any more
        assert psutil.wait_procs([server], timeout=30)[1] == []
