"""A Prefect server of a benchmark's own, what its history says, and what processes take."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import psutil

from flows.server import password, settings, standing

_SECONDS_OF_SILENCE = 60.0
"""After which task runs that are not in the history are taken to be lost."""


@contextlib.contextmanager
def serving(
    folder: Path, environment: dict[str, str]
) -> Iterator[tuple[subprocess.Popen[bytes], httpx.Client, dict[str, str]]]:
    """Have a Prefect server of one's own, a client of its API, and the environment of commands that use it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url, secret = f"http://127.0.0.1:{port}/api", password.make()
    known = environment | password.for_client(secret) | {"PREFECT_API_URL": url}
    command = [sys.executable, "-P", standing.__file__, "127.0.0.1", str(port)]  # as araflow up does
    log = folder / "server.log"
    with log.open("wb") as file, httpx.Client(base_url=url, timeout=120, auth=tuple(secret.split(":"))) as api:
        own = environment | settings.DEFAULTS | password.for_server(secret)
        server = subprocess.Popen(command, cwd=folder, env=own, stdin=subprocess.PIPE, stdout=file, stderr=file)
        try:
            for _ in range(240):
                with contextlib.suppress(httpx.TransportError):
                    if api.get("/health").status_code == 200:
                        break
                time.sleep(0.5)
            else:
                raise SystemExit(f"no server answers: {log.read_text(errors='replace')[-3000:]}")
            token = api.get("/csrf-token", params={"client": "benchmark"}).raise_for_status().json()["token"]
            api.headers.update({"Prefect-Csrf-Client": "benchmark", "Prefect-Csrf-Token": token})
            yield server, api, known
        finally:
            kill(server)


def history(api: httpx.Client, expected: int) -> list[dict[str, Any]]:
    """Return the task runs of the only flow run, once all have ended, or none has for a minute."""
    (flow_run,) = api.post("/flow_runs/filter", json={}).raise_for_status().json()
    if flow_run["state_type"] != "COMPLETED":
        raise SystemExit(f"the flow run is {flow_run['state_type']}")
    of_flow: dict[str, Any] = {"flow_runs": {"id": {"any_": [flow_run["id"]]}}}
    ended = of_flow | {"task_runs": {"state": {"type": {"any_": ["COMPLETED", "FAILED", "CRASHED", "CANCELLED"]}}}}
    seen, last = -1, time.monotonic()
    while seen < expected and time.monotonic() - last < _SECONDS_OF_SILENCE:
        count = api.post("/task_runs/count", json=ended).raise_for_status().json()
        if count != seen:
            seen, last = count, time.monotonic()
        if seen < expected:
            time.sleep(0.2)
    runs: list[dict[str, Any]] = []
    while page := api.post(
        "/task_runs/filter", json=of_flow | {"limit": 200, "offset": len(runs), "sort": "ID_DESC"}
    ).json():
        runs += page
    return runs


def durations(runs: list[dict[str, Any]]) -> dict[str, float]:
    """Return the wall seconds of each stage, from its first task's start to its last task's end."""
    spans = defaultdict(list)
    for run in runs:
        if run["start_time"] and run["end_time"]:
            stage = run["name"].partition("-")[0]
            spans[stage].append([datetime.fromisoformat(run[name]) for name in ("start_time", "end_time")])
    return {
        stage: (max(end for _, end in own) - min(start for start, _ in own)).total_seconds()
        for stage, own in spans.items()
    }


def family(pid: int) -> list[int]:
    return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]


def cpu_of(pid: int) -> float:
    """Return the CPU seconds so far of a process and those that it started."""
    return sum(sum(psutil.Process(one).cpu_times()[:2]) for one in family(pid))


def peak(pid: int) -> float:
    """Return a process's largest resident memory in MB; where the system does not say, what it is now."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    return float(psutil.Process(pid).memory_info().rss / 1e6)


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a process and all that it started."""
    if process.poll() is None:
        for pid in reversed(family(process.pid)):
            with contextlib.suppress(psutil.NoSuchProcess):
                psutil.Process(pid).kill()
        process.wait()
    if process.stdin is not None:
        process.stdin.close()
