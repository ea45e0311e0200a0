"""Real Prefect workers on a server's pool and a real Dask cluster, all on this machine; and builds on them."""

import contextlib
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
from commands import Commands
from flow_world import Server

from araflow.datasets._sample import draw_sample

ROOT = Path(__file__).parents[2]
POOL = "/work_pools/araflow"
CRASHES = "Crashing_walk"
"""In the name of the clip whose decoder ends its process."""

# Python imports a module of this name at every start, in every process of every executor.
SITE = f"""
import os
from araflow.media import video
whole = video.read
def read(source, **how):
    if {CRASHES!r} in source.name:
        os._exit(42)
    return whole(source, **how)
video.read = read
"""

CONFIG = """
name: small
dataset: {{name: hmdb51, classes: [walk, run], source: {drawn}/videos, splits: {drawn}/splits}}
optical: {{preset: accurate}}
run: {{workers: 1, shard_size: 8, range_size: {range_size}}}
out: {out}
"""


class Cluster:
    """Processes that belong to one test file. A context manager.

    Attributes:
        folder: Where everything lies.
        clips: How many there are.
        machines: how many workers an executor has.
        workers: Processes of ``prefect worker``, by name.
        dask: Processes of ``dask worker``.
    """

    def __init__(self, folder: Path, server: Server, commands: Commands, clips: int, machines: int) -> None:
        self.folder, self.server, self.clips, self.machines = folder, server, clips, machines
        self.drawn = folder / "drawn"
        self._commands = commands
        self.workers: list[subprocess.Popen[bytes]] = []
        self.dask: list[subprocess.Popen[bytes]] = []
        (folder / "site").mkdir()
        (folder / "site" / "sitecustomize.py").write_text(SITE)
        self._own = {
            "PYTHONPATH": f"{folder / 'site'}{os.pathsep}{ROOT}",
            "PREFECT_WORKER_QUERY_SECONDS": "2",
            "OMP_NUM_THREADS": "1",
        }
        self.environment = server.environment | self._own

    def __enter__(self) -> "Cluster":
        draw_sample(
            self.drawn,
            clips_per_class=self.clips // 2,
            sources_per_class=max(2, self.clips // 8),
            width=96,
            height=64,
            seconds=(0.4, 0.6),
            classes=["walk", "run"],
        )
        victim = min((self.drawn / "videos" / "walk").iterdir())
        crashing = victim.with_name(f"{CRASHES}{victim.name.partition('_walk')[2]}")
        victim.rename(crashing)
        for split in (self.drawn / "splits").iterdir():
            split.write_text(split.read_text().replace(victim.name, crashing.name))
        # A killed run's slots come back after a minute, which tests that kill one after the other would wait for.
        limit = {"name": f"araflow-disk-{platform.node()}", "limit": 1000, "active": True}
        self.server.api.post("/v2/concurrency_limits/", json=limit)  # there may be one
        self._had_pool = self.server.api.get(POOL).status_code != 404
        return self

    def __exit__(self, *_: object) -> None:
        for process in (*self.workers, *self.dask):
            end(process)
        if not self._had_pool:  # other tests look at a server whose user has asked for no workers yet
            found = self.server.api.get("/deployments/name/extract-range/workers")
            if found.status_code != 404:
                self.server.api.delete(f"/deployments/{found.json()['id']}").raise_for_status()
            self.server.api.delete(POOL)

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        """Start a process of its own group, which ``end`` kills with all that it started."""
        with (self.folder / f"{command[0]}.log").open("ab") as log:
            return subprocess.Popen(
                [str(Path(sys.executable).parent / command[0]), *command[1:]],
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def start_workers(self, number: int) -> None:
        """Start Prefect workers on the pool, until there are so many."""
        kind = ("--pool", "araflow", "--type", "process", "--install-policy", "never", "--limit", "1")
        while len(self.workers) < number:
            self.workers.append(self.start("prefect", "worker", "start", *kind, "--name", f"worker {time.time()}"))

    def start_dask(self, number: int) -> str:
        """Start a Dask scheduler and workers, until there are so many, and return its address."""
        if not self.dask:
            self.dask.append(
                self.start("dask", "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", *self._told())
            )
        while not (self.folder / "scheduler.json").is_file():
            time.sleep(0.2)
        while len(self.dask) < 1 + number:
            self.dask.append(self.start("dask", "worker", "--nthreads", "1", "--no-dashboard", *self._told()))
        return str(json.loads((self.folder / "scheduler.json").read_text())["address"])

    def _told(self) -> tuple[str, str]:
        return ("--scheduler-file", str(self.folder / "scheduler.json"))

    def configure(self, out: str) -> str:
        """Write a configuration for an output, and return its path."""
        file = self.folder / f"{out}.yaml"
        file.write_text(CONFIG.format(drawn=self.drawn, out=self.folder / out, range_size=self.clips // 3 + 1))
        return str(file)

    def build(self, out: str, *settings: str, **environment: str) -> subprocess.Popen[str]:
        """Begin ``araflow build``, with this server."""
        return subprocess.Popen(
            [sys.executable, "-m", "araflow", "build", self.configure(out), *settings],
            cwd=self.folder,
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, out: str, *settings: str) -> subprocess.CompletedProcess[str]:
        """Run ``araflow build`` without waiting for its imports, with this server."""
        return self._commands.run(self.folder, "build", self.configure(out), *settings, **self._own)

    def on(self, executor: str) -> list[str]:
        """Return the settings of an executor, whose machines are started."""
        settings = [f"run.engine={executor}"]
        if executor == "workers":
            self.start_workers(self.machines)
        elif executor == "dask":
            settings.append(f"run.dask_address={self.start_dask(self.machines)}")
        return settings


def made(out: Path) -> int:
    """How many clips are whole."""
    return sum(1 for _ in out.glob("clips/*/*/.araflow.json"))


def family(process: subprocess.Popen[bytes] | subprocess.Popen[str]) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        parent = psutil.Process(process.pid)
        return [parent, *parent.children(recursive=True)]
    return []


def end(process: subprocess.Popen[bytes] | subprocess.Popen[str]) -> None:
    """Kill a process and all that it started, as when a machine dies."""
    killed = family(process)
    for one in killed:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.send_signal(signal.SIGKILL)
    psutil.wait_procs(killed, timeout=10)
    process.communicate()


def tree(folder: Path) -> dict[str, bytes]:
    """Return every file of an output but the lock, and what names the output's own place."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    own = {".araflow/lock", ".araflow/build.json", ".araflow/spec.yaml"}
    return {name: path.read_bytes() for name, path in files.items() if name not in own}


class Proxy:
    """A way to a server that can be lost, while the server stays. A context manager.

    Attributes:
        url: The server's API by this way.
    """

    def __init__(self, server: Server) -> None:
        self._to = ("127.0.0.1", server.api.base_url.port)
        self._sockets: list[socket.socket] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}/api"

    def __enter__(self) -> "Proxy":
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.lose()

    def lose(self) -> None:
        """Answer no more, as when the server is killed."""
        for one in (self._listening, *self._sockets):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                here, _ = self._listening.accept()
                there = socket.create_connection(self._to)
                self._sockets += (here, there)
                for pair in ((here, there), (there, here)):
                    threading.Thread(target=_pump, args=pair, daemon=True).start()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
