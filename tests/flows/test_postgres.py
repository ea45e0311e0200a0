"""Prefect's server on a real Postgres, with the settings that compose.yaml gives it."""

import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml
from prefect_server import serving

from flows.server import settings

pytestmark = [pytest.mark.prefect, pytest.mark.postgres, pytest.mark.slow, pytest.mark.proof]

ROOT = Path(__file__).parents[2]
SECRET = "araflow:secret"
PASSWORD = "p@ss:w/rd%41 #?"  # every character that an address would take for something else
CONFIG = """
name: tiny
dataset:
  name: sample
  classes: [walk, push]
  sample: {clips_per_class: 3, sources_per_class: 3, width: 96, height: 64}
rgb: {max_frames: 6}
run: {shard_size: 2, workers: 1}
out: OUT
"""


def program(name: str) -> str:
    """Debian keeps Postgres's programs off the path."""
    found = shutil.which(name) or max(map(str, Path("/usr/lib/postgresql").glob(f"*/bin/{name}")), default=None)
    assert found is not None
    return found


class Postgres:
    """A database server of the test's own, on a free port of the loopback address."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # Postgres refuses to run as root.
        self._user = "postgres" if os.getuid() == 0 else None
        self._name = self._user or pwd.getpwuid(os.getuid()).pw_name
        if self._user:
            shutil.chown(folder, self._user)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        secret = folder / "secret"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        self._do("initdb", "--pgdata", "data", "--username=admin", f"--pwfile={secret}", "-A", "scram-sha-256", "-N")
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
        self._do("pg_ctl", "--pgdata", "data", "--wait", "--log", "log", "--options", options, "start")
        try:
            # Not a superuser, as docs/cluster.md has it.
            self.ask(f"create role prefect login password '{PASSWORD}'", "postgres", "admin")
            self.ask("create database prefect owner prefect", "postgres", "admin")
        except BaseException:
            self.stop()
            raise

    def ask(self, query: str, database: str = "prefect", user: str = "prefect") -> list[str]:
        address = ["--host=127.0.0.1", f"--port={self.port}", f"--username={user}", f"--dbname={database}"]
        return self._do("psql", *address, "--tuples-only", "--no-align", "--command", query).split("\n")[:-1]

    def stop(self) -> None:
        self._do("pg_ctl", "--pgdata", "data", "--mode=immediate", "--wait", "stop")

    def _do(self, name: str, *arguments: str) -> str:
        with (self._folder / f"{name}.out").open("w+") as out:  # not a pipe: the server would keep it open
            run = subprocess.run(
                [program(name), *arguments],
                cwd=self._folder,
                user=self._user,
                env={"PATH": os.defpath, "LC_ALL": "C", "PGPASSWORD": PASSWORD},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                timeout=120,
                check=False,
            )
            out.seek(0)
            text = out.read()
        assert run.returncode == 0, text
        return text


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    # Not pytest's own folder, into which another user than root cannot look.
    with tempfile.TemporaryDirectory(prefix="araflow-postgres-") as folder:
        server = Postgres(Path(folder))
        yield server
        server.stop()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("postgres")


@pytest.fixture(scope="module")
def environment(home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return kept | {"PREFECT_HOME": str(home / "prefect")}


@pytest.fixture(scope="module")
def api(postgres: Postgres, home: Path, environment: dict[str, str]) -> Iterator[httpx.Client]:
    """The server of compose.yaml, but for where Postgres is and what its password is."""
    service = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["server"]
    given = {name: value for name, value in service["environment"].items() if "_UI_" not in name}
    given |= {
        "PREFECT_SERVER_DATABASE_HOST": "127.0.0.1",
        "PREFECT_SERVER_DATABASE_PORT": str(postgres.port),
        "PREFECT_SERVER_DATABASE_PASSWORD": PASSWORD,
        "PREFECT_SERVER_API_AUTH_STRING": SECRET,
    }
    with serving(home, environment | settings.DEFAULTS | given) as client:
        yield client


def test_a_build_and_all_its_tasks_are_kept_in_postgres(
    postgres: Postgres, home: Path, environment: dict[str, str], api: httpx.Client
):
    (home / "tiny.yaml").write_text(CONFIG.replace("OUT", str(home / "out")))
    run = subprocess.run(
        [sys.executable, "-m", "araflow", "build", "tiny.yaml"],
        cwd=home,
        env=environment | {"PREFECT_API_URL": str(api.base_url).rstrip("/"), "PREFECT_API_AUTH_STRING": SECRET},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr + (home / "server.log").read_text()
    names = ["audit", "extract-shard", "extract-shard", "extract-shard", "fetch", "manifest", "select"]
    for _ in range(60):  # the server writes task runs after the flow has told it
        tasks = api.post("/task_runs/filter", json={}).json()
        if [task["state_type"] for task in tasks] == ["COMPLETED"] * len(names):
            break
        time.sleep(0.5)
    assert sorted(task["name"].rpartition("-")[0] for task in tasks) == names
    (kept,) = api.post("/flow_runs/filter", json={}).json()
    assert (kept["name"], kept["state_type"]) == ("tiny-opencv-dis-balanced-6-clips", "COMPLETED")
    # The same, from Postgres itself: the server has no other place.
    assert postgres.ask("select name, state_type from flow_run") == ["tiny-opencv-dis-balanced-6-clips|COMPLETED"]
    assert postgres.ask("select state_type, count(*) from task_run group by 1") == [f"COMPLETED|{len(names)}"]
    assert not list((home / "prefect").glob("*.db*"))
