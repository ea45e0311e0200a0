"""Runs at set times, a message when one fails, and both names of a deployment: what Prefect's server is told."""

import http.server
import json
import queue
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import Commands
from flow_world import Server

pytestmark = [pytest.mark.prefect, pytest.mark.slow, pytest.mark.timeout(300)]

REGISTER = """
from flows import deployments
(one,) = deployments.find(["build-folder"])
one.for_runner().apply()
"""
TYPED = "build-folder/local"


@pytest.fixture(scope="module")
def deployment(
    server: Server, commands: Commands, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Any]]:
    with server.keeping(TYPED):
        done = commands.python(tmp_path_factory.mktemp("register"), REGISTER)
        assert done.returncode == 0, done.stderr
        known: dict[str, Any] = server.api.get(f"/deployments/name/{TYPED}").raise_for_status().json()
        yield known


@pytest.fixture
def receiver() -> Iterator[tuple[str, queue.Queue[Any]]]:
    """A web server's address, and what is posted to it."""
    posted: queue.Queue[Any] = queue.Queue()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{web.server_port}/hook", posted
        web.shutdown()


def test_a_deployment_has_the_name_that_is_shown_and_the_one_that_is_typed(server: Server, deployment: dict[str, Any]):
    assert deployment["name"] == "folder"
    shown = server.api.get("/deployments/name/build-folder/folder").json()
    assert shown["id"] == deployment["id"]
    for nothing in ("build-folder/dask", "nothing/local", "nothing/nothing"):
        answer = server.api.get(f"/deployments/name/{nothing}")
        assert (answer.status_code, answer.json()["detail"]) == (404, "Deployment not found")


def test_the_form_says_what_a_run_takes(deployment: dict[str, Any]):
    form = deployment["parameter_openapi_schema"]["properties"]
    assert form["source"]["description"].endswith("folder: videos.")
    assert form["preset"]["description"] == "Speed against error. Configured in folder: balanced."
    assert form["out"]["description"].endswith("folder: data/folder.")
    assert form["classes"]["description"].endswith("folder: not set.")


def test_a_schedule_is_made_listed_and_removed(
    server: Server, deployment: dict[str, Any], commands: Commands, tmp_path: Path
):
    def said(*arguments: str) -> str:
        done = commands.run(tmp_path, *arguments, TZ="Europe/Berlin")
        assert done.returncode == 0, done.stderr
        return done.stdout

    (made,) = json.loads(said("run", "build-folder", "-p", "source=/v", "--cron", "0 3 * * *", "--json"))
    assert (made["flow"], made["when"], made["timezone"]) == ("build-folder", "0 3 * * *", "Europe/Berlin")
    assert "T03:00:00+0" in made["next"] and made["parameters"] == {"source": "/v"}
    (kept,) = server.api.get(f"/deployments/{deployment['id']}").json()["schedules"]
    assert (kept["schedule"]["cron"], kept["schedule"]["timezone"]) == ("0 3 * * *", "Europe/Berlin")
    assert kept["active"] and kept["parameters"] == {"source": "/v"}
    assert "0 3 * * * (Europe/Berlin)" in said("schedules")
    assert json.loads(said("schedules", "--json")) == [made]

    for wrong, why in (
        (("--cron", "0 3 * *"), "expected minute, hour, day, month, weekday"),
        (("--cron", "0 3 * * *", "-p", "backend=nope"), "'nope' is not one of"),
        (("--cron", "0 3 * * *", "-p", "source=https://me:S3CRET@host/x"), "may be secret"),
    ):
        refused = commands.run(tmp_path, "run", "build-folder", *wrong)
        assert refused.returncode == 1 and why in refused.stderr and "Traceback" not in refused.stderr
    assert commands.run(tmp_path, "schedules", "--remove", "nothing").returncode == 1
    assert json.loads(said("schedules", "--json")) == [made]

    assert said("schedules", "--remove", made["id"]) == "removed: build-folder at 0 3 * * *\n"
    assert said("schedules") == "nothing is scheduled\n"


def test_a_message_comes_of_a_run_that_fails_and_of_no_other(
    server: Server,
    deployment: dict[str, Any],
    commands: Commands,
    tmp_path: Path,
    receiver: tuple[str, "queue.Queue[Any]"],
):
    url, posted = receiver
    for told in (url, url):  # the second time takes the first one's place
        done = commands.python(tmp_path, f"from flows.server import notify\nnotify.tell({told!r})")
        assert done.returncode == 0, done.stderr

    def end(name: str, kind: str, message: str) -> None:
        body = {"name": name, "tags": ["araflow"], "state": {"type": "RUNNING"}}
        run = server.api.post(f"/deployments/{deployment['id']}/create_flow_run", json=body).raise_for_status().json()
        state = {"state": {"type": kind, "message": message}, "force": True}
        server.api.post(f"/flow_runs/{run['id']}/set_state", json=state).raise_for_status()

    end("good", "COMPLETED", "")
    end("bad", "FAILED", 'no "videos"\nin /v')
    assert posted.get(timeout=60) == {"text": 'build-folder bad: failed: no "videos"\nin /v'}
    done = commands.python(tmp_path, "from flows.server import notify\nnotify.tell('')")
    assert done.returncode == 0, done.stderr
    assert posted.empty()
    body = {"automations": {"name": {"any_": ["araflow: tell of runs that fail"]}}}
    assert server.api.post("/automations/filter", json=body).json() == []


def test_every_end_of_a_run_is_one_to_the_automation_that_looks_for_dead_ones(
    server: Server, deployment: dict[str, Any], commands: Commands, tmp_path: Path
):
    code = "from flows.server import own\nfrom flows.states import INCOMPLETE\n"
    code += "print(INCOMPLETE, *own.automation().trigger.expect)"
    incomplete, *expected = commands.python(tmp_path, code).stdout.split()
    for state in ({"type": "COMPLETED", "name": incomplete}, {"type": "FAILED"}, {"type": "CANCELLED"}):
        body = {"tags": ["araflow"], "state": {"type": "RUNNING"}}
        run = server.api.post(f"/deployments/{deployment['id']}/create_flow_run", json=body).raise_for_status().json()
        server.api.post(f"/flow_runs/{run['id']}/set_state", json={"state": state, "force": True}).raise_for_status()
        body = {"filter": {"resource": {"id": [f"prefect.flow-run.{run['id']}"]}}}
        for _ in range(100):
            events = {one["event"] for one in server.api.post("/events/filter", json=body).json()["events"]}
            if events & set(expected):
                break
            time.sleep(0.1)
        assert events & set(expected), events
