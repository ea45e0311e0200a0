"""What the tests of flows share, once a session: a first build, which makes Prefect's database, and a server on it."""

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import Commands, clean
from flow_world import Built, Served, Server, write_config
from prefect_server import serving
from serving import until_it_serves

_while_flows_are_tested = contextlib.ExitStack()
"""What ends with the last of these tests. A session goes on, and servers would poll through all of it."""
SAMPLE = {"clips_per_class": 8, "sources_per_class": 8, "width": 96, "height": 64}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> Iterator[None]:
    yield
    if nextitem is None or Path(__file__).parent not in nextitem.path.parents:
        _while_flows_are_tested.close()


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """A user's first build: the real command, Prefect's embedded server, and no database before it."""
    folder = tmp_path_factory.mktemp("flow")
    write_config(folder)
    command = [sys.executable, "-m", "araflow", "build", "tiny.yaml"]
    environment = clean(PREFECT_HOME=str(folder / "prefect"))
    # Not from the checkout, so that prefect.toml is not there to help.
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=240)
    shutil.copytree(folder / "prefect", folder / "home")
    return Built(folder, run)


@pytest.fixture
def home(built: Built, tmp_path: Path) -> Path:
    """Prefect's folder after a first build, of the test's own: to make the database takes longer than to build."""
    return Path(shutil.copytree(built.folder / "home", tmp_path / "prefect"))


@pytest.fixture(scope="session")
def server(built: Built) -> Server:
    return _while_flows_are_tested.enter_context(_server(built))


@contextlib.contextmanager
def _server(built: Built) -> Iterator[Server]:
    from flows.server import settings

    folder = built.folder
    environment = clean(PREFECT_HOME=str(folder / "prefect"))
    with serving(folder, environment | settings.DEFAULTS) as api:
        started = Server(api, folder, environment)
        environment |= {"PREFECT_API_URL": started.url, "PREFECT_API_AUTH_STRING": api.secret}
        yield started


@pytest.fixture(scope="session")
def commands(server: Server) -> Commands:
    """Commands that keep their history on the server."""
    return _while_flows_are_tested.enter_context(Commands(server.environment))


@pytest.fixture(scope="session")
def first_run(server: Server) -> dict[str, Any]:
    """What the server knows of the first build, which had a server of its own."""
    return server.runs()[-1]


@pytest.fixture(scope="session")
def served(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Served:
    return _while_flows_are_tested.enter_context(_served(server, tmp_path_factory.mktemp("served")))


@contextlib.contextmanager
def _served(server: Server, folder: Path) -> Iterator[Served]:
    import readme

    log = folder / "up.log"
    *_, up, run = readme.walk_through()
    overrides = [f"dataset.sample.{size}={number}" for size, number in SAMPLE.items()] + ["rgb.max_frames=4"]
    for name, value in (("shard_size", 8), ("out", folder / "out"), ("overrides", json.dumps(overrides))):
        run = f"{run} -p {name}={shlex.quote(str(value))}"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = server.environment | {"PATH": path, "OMP_NUM_THREADS": "1"}
    # The server that answers at this port is used.
    with log.open("wb") as out:
        command = f"exec {up} --port {server.api.base_url.port}"
        started = subprocess.Popen(["bash", "-c", command], cwd=folder, env=environment, stdout=out, stderr=out)
    try:
        until_it_serves(started, log, seconds=120)
        ended = subprocess.run(["bash", "-c", run], cwd=folder, env=environment, capture_output=True, text=True)
        assert ended.returncode == 0, ended.stdout + ended.stderr + log.read_text()
        yield Served(server.api, started, log, ended.stdout, folder, 5 * SAMPLE["clips_per_class"])
    finally:
        started.send_signal(signal.SIGINT)
        try:
            started.wait(60)
        finally:
            started.kill()


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return clean(PREFECT_HOME=str(tmp_path / "prefect"), PREFECT_CLIENT_MAX_RETRIES="0")


@pytest.fixture
def profiles(tmp_path: Path) -> Path:
    """Prefect's file of profiles."""
    return tmp_path / "prefect" / "profiles.toml"
