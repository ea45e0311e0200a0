"""A build of six clips, what a Prefect server knows of runs, and a run that somebody has asked it for."""

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx

CONFIG = """
name: tiny
dataset:
  name: sample
  classes: [walk, push]
  sample: {clips_per_class: 3, sources_per_class: 3, width: 96, height: 64}
rgb: {max_frames: 6}
run: {shard_size: 2, workers: 2}
out: OUT
"""


class Built(NamedTuple):
    """A build of six clips, and how it ran."""

    folder: Path
    run: subprocess.CompletedProcess[str]


def write_config(folder: Path) -> None:
    """Write the settings of six clips as ``tiny.yaml``; the output is ``out`` beside it."""
    (folder / "tiny.yaml").write_text(CONFIG.replace("OUT", str(folder / "out")))


class Server:
    """A real ``prefect server start`` on the database of the first build, and commands that use it.

    Attributes:
        api: A client of its API.
        url: The API's address.
        environment: A user's, by which ``araflow`` and ``prefect`` find it.
        folder: Where its log is.
    """

    def __init__(self, api: httpx.Client, folder: Path, environment: dict[str, str]) -> None:
        self.api, self.folder, self.environment = api, folder, environment
        self.url = str(api.base_url).rstrip("/")

    def runs(self, **filters: Any) -> list[dict[str, Any]]:
        """Return flow runs, the latest first."""
        body = {"sort": "START_TIME_DESC", **filters}
        found: list[dict[str, Any]] = self.api.post("/flow_runs/filter", json=body).json()
        return found

    def tasks(self, run: dict[str, Any], number: int) -> list[dict[str, Any]]:
        """Return the task runs of a flow run, once there are as many and all have ended.

        The server writes them after the flow has told it.
        """
        body = {"flow_runs": {"id": {"any_": [run["id"]]}}}
        for _ in range(100):
            found: list[dict[str, Any]] = self.api.post("/task_runs/filter", json=body).json()
            if len(found) >= number and not {task["state_type"] for task in found} & {"RUNNING", "PENDING"}:
                break
            time.sleep(0.2)
        return found

    def artifacts(self, run: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Return what a flow run has published, by key."""
        body = {"flow_runs": {"id": {"any_": [run["id"]]}}}
        return {one["key"]: one for one in self.api.post("/artifacts/filter", json=body).json()}

    @contextlib.contextmanager
    def keeping(self, name: str) -> Iterator[None]:
        """Leave a deployment as it was before, and there: ``araflow up`` of other tests may serve it, by its id.

        Args:
            name: As in ``build-ucf101/local``.
        """
        address = f"/deployments/name/{name}"
        was = self.api.get(address)
        yield
        now = self.api.get(address).raise_for_status().json()
        own = f"/deployments/{now['id']}"
        if was.status_code == 404:
            self.api.delete(own).raise_for_status()
            return
        assert now["id"] == was.json()["id"]
        for schedule in now["schedules"]:
            if schedule not in was.json()["schedules"]:
                self.api.delete(f"{own}/schedules/{schedule['id']}").raise_for_status()
        if now["paused"] and not was.json()["paused"]:
            self.api.post(f"{own}/resume_deployment").raise_for_status()


def edges(tasks: list[dict[str, Any]], name: Callable[[str], str]) -> set[tuple[str, str]]:
    """Return the edges of a run's graph, between tasks whose names ``name`` shortens."""
    name_of = {task["id"]: name(task["name"]) for task in tasks}
    return {
        (name_of[item["id"]], name_of[task["id"]])
        for task in tasks
        for inputs in task["task_inputs"].values()
        for item in inputs
        if item["input_type"] == "task_run"
    }


class Served(NamedTuple):
    """A run of ``build-sample/local``, asked for as the README has it, of ``araflow up``.

    Attributes:
        api: A client of the server's API.
        up: The process of ``araflow up``, which still serves.
        log: What that says.
        said: What ``araflow run`` said.
        folder: Where the output is.
        clips: How many.
    """

    api: httpx.Client
    up: subprocess.Popen[bytes]
    log: Path
    said: str
    folder: Path
    clips: int
