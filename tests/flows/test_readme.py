"""The README's walk-through, from nothing to a run in the history: its end, and all of it in a clean environment."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest
from flow_world import Served, Server
from prefect_server import Client
from readme import ROOT, UI, walk_through
from serving import until_it_serves

pytestmark = [pytest.mark.prefect, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What somebody has who clones the project; a folder of their own, and a home with nothing in it."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    if listed.returncode:
        pytest.skip("not a git checkout: nothing says which files a clone would have")
    folder = tmp_path / "araflow"
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    (tmp_path / "home").mkdir()
    return folder


def test_its_commands_lead_to_a_run_in_the_history(served: Served, server: Server):
    """The last two, with a smaller sample, and a server that is there already; the others must be what make offers."""
    commands = walk_through()
    assert len(commands) <= 5
    install, activate, up, run = commands
    assert install.split()[0] == "make" and f"\n{install.split()[1]}: .venv/" in (ROOT / "Makefile").read_text()
    assert activate == ". .venv/bin/activate"
    assert (up, run) == ("araflow up", "araflow run build-sample")
    assert "\ncompleted: " in served.said
    assert run in served.log.read_text()
    assert (served.folder / "out" / "manifest.parquet").is_file()
    assert "prefect" in httpx.get(server.url.removesuffix("/api"), follow_redirects=True).text.lower()


@pytest.mark.proof
def test_from_nothing_to_a_run_in_the_history_in_five_commands(clone: Path, need):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", 4200), timeout=1):
        need("prefect", "something listens on port 4200, which the README's server needs")
    commands = walk_through()
    assert len(commands) <= 5
    install, activate, up, run = commands
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "VIRTUAL_ENV"))}
    environment = kept | {"HOME": str(clone.parent / "home"), "PYTHON": sys.executable, "CI": "true"}

    def shell(command: str, **more: object) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["bash", "-c", command], cwd=clone, env=environment, start_new_session=True, text=True, **more
        )

    with shell(f"{install} PYTHON={sys.executable}", stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as installing:
        said, _ = installing.communicate()
    assert installing.returncode == 0, said
    with (clone / "up.log").open("w") as log:
        serving = shell(f"{activate} && exec {up}", stdout=log, stderr=log)
    try:
        until_it_serves(serving, clone / "up.log", seconds=240)
        with shell(f"{activate} && {run}", stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as running:
            said, _ = running.communicate(timeout=400)
        assert running.returncode == 0, said
        secret = (clone / "up.log").read_text().partition("asks for once: ")[2].split()[0]
        with Client(f"{UI}/api", secret) as api:
            (found,) = api.post("/flow_runs/filter", json={}).json()
        assert found["name"] == "sample-opencv-dis-balanced-120-clips"
        assert found["state"]["message"].startswith("120 clips listed: 120 done; 120 worked on")
        assert (clone / "data" / "sample" / "manifest.parquet").is_file()
        assert "prefect" in httpx.get(UI, follow_redirects=True).text.lower()
        family = psutil.Process(serving.pid).children(recursive=True)
        assert family, "the server is its child"
    finally:
        os.killpg(serving.pid, signal.SIGINT)  # Ctrl-C in the terminal
        try:
            serving.wait(60)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(serving.pid, signal.SIGKILL)
    assert not psutil.wait_procs(family, timeout=30)[1], "Ctrl-C leaves no process"
