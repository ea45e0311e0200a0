"""What a person sees: a real server, a real worker, `prefect deployment run build-sample/local`, and a real browser.

``ARAFLOW_SCREENSHOTS=docs`` keeps the pictures that the documentation shows.
"""

import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from commands import clean
from flow_world import edges
from prefect_server import ASK, serving
from test_servers import answering

from flows.server import settings

pytestmark = [pytest.mark.prefect, pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
CLIPS = 40
SMALL = [
    "dataset.sample.clips_per_class=8",
    "dataset.sample.sources_per_class=8",
    "dataset.sample.width=160",
    "dataset.sample.height=120",
    "rgb.max_frames=12",
]
TRAINING = {
    "name": "small_flow",
    "manifest": "unused",
    "network": {"architecture": "arn_2d", "modality": "flow", "flow": {"frames": 4, "width": 48, "height": 48}},
    "data": {"sampler": "consecutive", "crop": "none", "workers": 0},
    "split": {"protocol": "group", "test_fraction": 0.25},
    "training": {"epochs": 2, "batch_size": 8, "accelerator": "cpu", "tensorboard": False},
    "evaluation": {"mode": "center"},
}
# Without the flags on background networking, the browser looks for its maker's hosts.
BROWSER = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking")
BROWSER += ("--disable-component-update", "--disable-sync", "--no-first-run")
BROWSER += ("--host-resolver-rules=MAP evil.example 127.0.0.1",)  # as its owner makes it lead here

HIDE = r"""([from, to]) => {
    const cut = /\/\S{7,}…/g
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
    while (texts.nextNode()) {
        const shorter = part => from.startsWith(part.slice(0, -1)) ? to + "…" : part
        texts.currentNode.data = texts.currentNode.data.replaceAll(from, to).replace(cut, shorter)
    }
}"""


class Ran:
    """A run that somebody has asked a server for.

    Attributes:
        api: A client of the server's API.
        said: What the command said that asked for it.
        run: The run, as the server knows it.
        folder: Where its output is.
        clips: How many it made.
        trains: It goes on to a training.
        worker: Process of the worker that ran it.
        ui: Address of the pages.
    """

    def __init__(self, api: Any, said: str, folder: Path, clips: int, trains: bool, worker: int) -> None:
        self.api, self.said, self.folder, self.clips, self.trains, self.worker = (
            api,
            said,
            folder,
            clips,
            trains,
            worker,
        )
        self.ui = str(api.base_url).rstrip("/").removesuffix("/api")
        runs = api.post("/flow_runs/filter", json={"flows": {"name": {"any_": ["build-sample"]}}}).json()
        (self.run,) = (run for run in runs if run["parameters"].get("out") == str(folder / "out"))


@pytest.fixture(scope="module", params=["short", pytest.param("long", marks=pytest.mark.proof)])
def ran(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    if request.param == "short":
        served = request.getfixturevalue("served")
        yield Ran(served.api, served.said, served.folder, served.clips, trains=False, worker=served.up.pid)
        return
    folder = tmp_path_factory.mktemp("ui")
    (folder / "train.yaml").write_text(yaml.safe_dump(TRAINING | {"out": str(folder / "run")}))
    environment = clean(**settings.DEFAULTS, PREFECT_HOME=str(folder / "prefect"), OMP_NUM_THREADS="2")
    with serving(folder, environment) as api:
        environment |= {"PREFECT_API_URL": str(api.base_url).rstrip("/"), "PREFECT_API_AUTH_STRING": api.secret}

        def prefect(*arguments: str) -> str:
            command = [sys.executable, "-m", "prefect", *arguments]
            done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
            assert done.returncode == 0, done.stdout + done.stderr
            return done.stdout

        with (folder / "worker.log").open("wb") as log:
            pool = ("--pool", settings.POOL, "--type", "process", "--install-policy", "never", "--limit", "1")
            command = [sys.executable, "-m", "prefect", "worker", "start", *pool]
            worker = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        try:
            while api.get(f"/work_pools/{settings.POOL}").status_code != 200:
                assert worker.poll() is None, (folder / "worker.log").read_text()
            prefect("--no-prompt", "deploy", "--all")
            arguments = {"shard_size": 8, "out": folder / "out", "train": folder / "train.yaml"}
            given = [f"{name}={value}" for name, value in arguments.items()] + [f"overrides={json.dumps(SMALL)}"]
            flags = [flag for one in given for flag in ("-p", one)]
            said = prefect("deployment", "run", "build-sample/local", *flags, "--watch")
            yield Ran(api, said, folder, CLIPS, trains=True, worker=worker.pid)
        finally:
            worker.terminate()
            worker.wait(30)


@pytest.fixture(scope="module")
def page(ran: Ran) -> Iterator[Any]:
    """A browser that has been asked for the password, as a person's is at the first page, and has been let in."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=list(BROWSER))
        opened = browser.new_page(viewport={"width": 1280, "height": 860})
        opened.set_default_timeout(30_000)
        opened.goto(f"{ran.ui}/runs")
        asked = opened.get_by_placeholder("admin:pass")
        asked.fill("araflow:guessed")
        asked.press("Enter")
        opened.get_by_text("Authentication failed").first.wait_for()
        asked.fill(ran.api.secret)
        asked.press("Enter")
        opened.get_by_text(ran.run["name"]).first.wait_for()
        yield opened
        browser.close()


def ask(ran: Ran, flow: str, **arguments: Any) -> dict[str, Any]:
    """Ask for a run on this machine."""
    deployment = ran.api.get(f"/deployments/name/{flow}/local").json()
    body = {"state": {"type": "SCHEDULED"}, "parameters": arguments}
    asked: dict[str, Any] = ran.api.post(f"/deployments/{deployment['id']}/create_flow_run", json=body).json()
    return asked


def state_of(ran: Ran, run: dict[str, Any]) -> str:
    return str(ran.api.get(f"/flow_runs/{run['id']}").json()["state_type"])


def until(done: Callable[[], bool], seconds: float = 300.0) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def keep(ran: Ran, page: Any, name: str) -> None:
    """Keep a picture of a page, where the folder of this test is a person's own."""
    if folder := os.environ.get("ARAFLOW_SCREENSHOTS"):
        page.evaluate(HIDE, [str(ran.folder), "/home/you"])
        page.screenshot(path=Path(folder) / f"ui-{name}.png")


def test_the_run_completes_and_its_name_says_dataset_backend_and_size(ran: Ran):
    n = ran.clips
    assert ran.run["state_type"] == "COMPLETED", ran.run["state"]["message"]
    assert ran.run["name"] == f"sample-opencv-dis-balanced-{ran.clips}-clips"
    assert ran.run["state"]["message"].startswith(f"{n} clips listed: {n} done; {n} worked on")
    assert ("small_flow: top-1 " in ran.run["state"]["message"]) == ran.trains
    assert "completed" in ran.said.lower()


def test_a_wrong_argument_is_refused_before_a_run_exists(ran: Ran):
    deployment = ran.api.get("/deployments/name/build-sample/local").json()
    for wrong in ({"backend": "nope"}, {"fold": 9}):
        answer = ran.api.post(f"/deployments/{deployment['id']}/create_flow_run", json={"parameters": wrong})
        assert answer.status_code in (409, 422), answer.text
    body = {"deployments": {"id": {"any_": [deployment["id"]]}}}
    assert len(ran.api.post("/flow_runs/filter", json=body).json()) == 1


def test_the_graph_goes_from_fetch_to_engine(ran: Ran):
    body = {"flow_runs": {"id": {"any_": [ran.run["id"]]}}}
    tasks = ran.api.post("/task_runs/filter", json=body).json()
    found = edges(tasks, lambda name: name.partition("-")[0])
    chain = ["fetch", "select", "extract", "manifest", "audit", *["train", "evaluate"] * ran.trains]
    assert set(itertools.pairwise(chain)) <= found
    if ran.trains:
        assert {("train", "export"), ("export", "engine"), ("export", "bench")} <= found


def test_the_page_of_runs_shows_it(ran: Ran, page: Any):
    page.goto(f"{ran.ui}/runs")
    name = page.get_by_text(f"sample-opencv-dis-balanced-{ran.clips}-clips").first
    name.wait_for()
    name.scroll_into_view_if_needed()  # its tasks are counted when it comes into view
    tasks = ran.clips // 8 + (9 if ran.trains else 4)
    for shown in ("build-sample", "Completed", f"{tasks} Task runs", *["1 run"] * ran.trains):
        page.get_by_text(shown).first.wait_for()
    keep(ran, page, "runs")


def test_the_page_of_the_run_shows_the_graph_and_a_line_per_shard(ran: Ran, page: Any):
    page.goto(f"{ran.ui}/runs/flow-run/{ran.run['id']}")
    page.get_by_text("Finished in state Completed()").first.wait_for()
    text = page.inner_text("body")
    assert f"{ran.clips} clips of 5 classes listed" in text
    for shard in range(ran.clips // 8):
        assert f"shard {shard}: 8 done (8 worked on" in text
    box = page.locator("canvas").first.bounding_box()
    assert box["width"] > 400 and box["height"] > 200, "the graph is drawn"
    page.wait_for_timeout(1500)  # it comes into view with a movement
    keep(ran, page, "run")


def test_the_artifacts_show_counts_and_pictures(ran: Ran, page: Any):
    page.goto(f"{ran.ui}/runs/flow-run/{ran.run['id']}")
    page.get_by_text("Artifacts", exact=True).first.click()
    page.get_by_text("progress", exact=True).first.wait_for()
    page.mouse.move(760, 700)
    page.mouse.wheel(0, 2000)  # the page fetches what its tasks have made when it comes into view
    of_training = ["curves", "metrics", "confusion"] * ran.trains
    for key in ("contact-sheet", "manifest", "lineage", "outcomes", *of_training):
        page.get_by_text(key, exact=True).first.wait_for()
    keep(ran, page, "artifacts")
    body = {"flow_runs": {"id": {"any_": [ran.run["id"]]}}}
    artifacts = {one["key"]: one["id"] for one in ran.api.post("/artifacts/filter", json=body).json()}
    for key in ("contact-sheet", *["confusion", "curves"] * ran.trains):
        page.goto(f"{ran.ui}/artifacts/artifact/{artifacts[key]}")
        image = page.locator("img[src^='data:image']").first
        image.wait_for()
        page.wait_for_function("image => image.complete && image.naturalWidth > 200", arg=image.element_handle())
        if key == "contact-sheet":
            keep(ran, page, "contact-sheet")
    page.goto(f"{ran.ui}/artifacts/artifact/{artifacts['outcomes']}")
    page.get_by_text("fall_floor").first.wait_for()
    assert f"in all: {ran.clips} listed" in page.inner_text("body")
    page.goto(f"{ran.ui}/artifacts/artifact/{artifacts['progress']}")
    page.get_by_text(f"{ran.clips} of {ran.clips} clips").first.wait_for()


def test_the_form_has_drop_downs_bounds_and_help(ran: Ran, page: Any):
    deployment = ran.api.get("/deployments/name/build-sample/local").json()
    properties = deployment["parameter_openapi_schema"]["properties"]
    page.goto(f"{ran.ui}/deployments/deployment/{deployment['id']}/run")
    page.get_by_text("What computes optical flow").first.wait_for()
    text = page.inner_text("body")
    for shown in ("Dataset; sample needs no data at all.", "Official fold, 1 to 3", "Speed against error."):
        assert shown in text
    keep(ran, page, "form")
    drop_downs = sum(one.get("enum", [""])[0] == "configured" for one in properties.values())
    assert page.get_by_text("configured", exact=True).count() >= drop_downs > 7
    assert properties["backend"]["enum"][:2] == ["configured", "auto"]
    assert (properties["fold"]["minimum"], properties["fold"]["maximum"]) == (0, 3)


@pytest.mark.parametrize("ran", ["short"], indirect=True)  # the other one has the names of prefect.yaml
def test_the_list_of_deployments_names_what_a_person_wants(ran: Ran, page: Any):
    page.goto(f"{ran.ui}/deployments")
    page.get_by_text("build-ucf101", exact=True).first.wait_for()
    lines = page.inner_text("body").splitlines()
    shown = [line for line in lines if line in ("folder", "hmdb5", "sample", "train-eval", "ucf101")]
    assert shown == ["folder", "hmdb5", "sample", "train-eval", "train-eval", "ucf101"]  # train-eval is also its flow's
    assert not {"local", "workers", "dask"} & set(lines)
    keep(ran, page, "deployments")
    page.goto(f"{ran.ui}/work-pools")
    page.get_by_text("Create a work pool to get started").first.wait_for()  # so none is red


def test_a_refused_run_shows_its_one_sentence(ran: Ran, page: Any):
    run = ask(ran, "build-folder", source="/home/you/video")
    until(lambda: state_of(ran, run) == "FAILED")
    page.goto(f"{ran.ui}/runs/flow-run/{run['id']}")
    page.get_by_text("no such folder").first.wait_for()
    text = page.inner_text("body")
    assert "folder source=/home/you/video" in text
    assert "/home/you/video: no such folder" in text
    assert "Traceback" not in text and "unexpected exception" not in text
    keep(ran, page, "failed")


def test_a_page_of_somebody_else_in_the_same_browser_gets_nothing(ran: Ran, page: Any):
    """One of another program of this machine, and one whose name leads here."""
    api, port = f"{ran.ui}/api", ran.api.base_url.port
    socket = f"ws://127.0.0.1:{port}/api/events/out"
    deployment = ran.api.get("/deployments/name/build-sample/local").json()
    with answering("<html>", 200) as elsewhere:
        page.goto(f"{elsewhere}/health")
        assert page.evaluate(ASK, [api, socket, deployment["id"]]) == ["TypeError", "TypeError", 0, "refused"]
        assert page.goto(f"http://evil.example:{elsewhere.rpartition(':')[2]}/health").ok, "so that this can fail"
    assert page.goto(f"http://evil.example:{port}/runs").status == 403
    socket = socket.replace("127.0.0.1", "evil.example")
    assert page.evaluate(ASK, ["/api", socket, deployment["id"]]) == [403, 403, 403, "refused"]
    assert ran.api.get("/deployments/name/build-sample/local").json()["pull_steps"] == deployment["pull_steps"]
    assert ran.api.get("/flows/name/evil").status_code == 404


@pytest.mark.proof  # its short version is in test_servers.py: cancelled by the API, as the button does
def test_cancel_in_the_ui_ends_all_processes_and_the_rerun_completes(ran: Ran, page: Any):
    out = ran.folder / "cancelled"
    clips = 20  # of some seconds each
    fewer = ["rgb.max_frames=4", "dataset.sample.clips_per_class=4", "dataset.sample.sources_per_class=4"]
    overrides = SMALL + fewer
    slow = {
        "backend": "opencv",
        "algorithm": "tvl1",
        "out": str(out),
        "overrides": overrides,
        "shard_size": 4,
    }
    before = psutil.Process(ran.worker).children(recursive=True)
    run = ask(ran, "build-sample", **slow)
    until((out / "clips").is_dir)
    family = [one for one in psutil.Process(ran.worker).children(recursive=True) if one not in before]
    assert len(family) >= 2, "the run and its decoding processes"
    page.goto(f"{ran.ui}/runs/flow-run/{run['id']}")
    page.get_by_role("button", name="Cancel").first.click()
    page.get_by_role("button", name="Confirm").first.click()
    begun = time.monotonic()
    assert not psutil.wait_procs(family, timeout=60)[1]
    print(f"gone after {time.monotonic() - begun:.1f} s")
    until(lambda: state_of(ran, run) == "CANCELLED")
    assert not (out / "manifest.parquet").exists()
    assert not (out / ".araflow" / "work").exists()
    page.goto(f"{ran.ui}/runs/flow-run/{run['id']}")
    page.get_by_text("Cancelled").first.wait_for()
    page.get_by_text("sample dataset").first.wait_for()
    page.wait_for_timeout(5000)  # as above
    keep(ran, page, "cancelled")
    again = ask(ran, "build-sample", **slow)
    until(lambda: state_of(ran, again) == "COMPLETED")
    message = ran.api.get(f"/flow_runs/{again['id']}").json()["state"]["message"]
    assert message.startswith(f"{clips} clips listed: {clips} done; ")
    assert f"; {clips} worked on" not in message, "what was done before the cancellation is kept"
