"""The build flow of Kinetics by the real command: a task per part, one part on disk, killed, failing, finished."""

import itertools
import os
import shutil
import signal

import psutil
import pytest
from commands import Command, Commands
from flow_world import Server, edges
from kinetics_world import World, rows, send, statuses, tree

from araflow.store.manifest import Manifest

pytestmark = [pytest.mark.prefect, pytest.mark.slow]

SETTINGS = ("rgb.max_frames=2", "optical.preset=fastest", "run.shard_size=2", "run.workers=2")


@pytest.fixture
def world(web, tmp_path, monkeypatch) -> World:
    made = World(web, tmp_path, monkeypatch)
    made.serve_true(cut=[2])
    return made


def arguments(world: World) -> list[str]:
    return ["build", "kinetics400", "--accept-licence", f"out={world.out}", f"dataset.folder={world.data}", *SETTINGS]


def test_it_runs_from_download_to_manifest_part_by_part(world, tmp_path, commands: Commands, server: Server):
    library = world.build(tmp_path / "library", folder=str(tmp_path / "other"))
    world.requests()
    seen = []
    for path in [path for path in world.web.files if path.endswith(("gz", "tgz"))]:
        world.before(path, lambda: seen.append((world.archives(), world.videos())))

    run = commands.run(tmp_path, *arguments(world))
    assert run.returncode == 3, run.stdout + run.stderr
    assert run.stdout.splitlines()[-1].startswith("9 clips listed: 7 done, 2 quarantined (1 missing, 1 truncated)")
    assert seen == [([], [])] * 4
    assert (world.archives(), world.videos()) == ([], [])
    manifest = Manifest.read(world.out)
    assert manifest.table.to_pylist() == library.table.to_pylist()
    assert sorted(statuses(manifest).values()) == ["corrupt", "missing", *["ok"] * 6, "replaced"]
    assert {row["split"] for row in rows(manifest).values()} == {"train", "val"}
    assert tree(world.out / "clips") == tree(tmp_path / "library" / "clips")
    assert world.parts_asked() == ["replacement", "train/part_0", "train/part_1", "val/part_0"]

    flow_run = server.runs()[0]
    assert flow_run["state_type"] == "COMPLETED"
    assert {"kinetics400", "dis"} <= set(flow_run["tags"])
    tasks = server.tasks(flow_run, 15)
    assert {task["state_type"] for task in tasks} == {"COMPLETED"}
    names = {task["name"] for task in tasks}
    assert {name for name in names if "part" in name} == {
        "fetch-part 1 of 4: replacement.tgz",
        "fetch-part 2 of 4: part_0.tar.gz",
        "fetch-part 3 of 4: part_1.tar.gz",
        "fetch-part 4 of 4: part_0.tar.gz",
    }
    # Of the parts 1, 3, 1 and 3 clips, and the one in no part: shards of two.
    assert {name for name in names if "shard" in name} == {f"extract-shard-{number:04d}" for number in range(7)}

    found = edges(tasks, lambda name: "fetch-part" if name.startswith("fetch-part") else name.rpartition("-")[0])
    chain = ["fetch", "select", "extract-shard", "manifest", "audit"]
    assert set(itertools.pairwise(chain)) <= found
    assert ("fetch-part", "extract-shard") in found

    before = tree(world.out)
    again = commands.run(tmp_path, *arguments(world))
    assert again.returncode == 3, again.stderr
    assert "nothing to do" in again.stdout.splitlines()[-1]
    assert world.requests() == []
    assert tree(world.out) == before


def test_a_failing_part_and_kill_9_leave_what_a_rerun_completes(world, tmp_path, commands: Commands):
    undisturbed = world.build(tmp_path / "undisturbed", folder=str(tmp_path / "other"))
    path = "/400/train/part_1.tar.gz"
    good = world.web.files.pop(path)
    failing = commands.run(tmp_path, *arguments(world))
    assert failing.returncode == 3, failing.stdout + failing.stderr
    assert "part_1.tar.gz: download failed" in failing.stderr
    manifest = Manifest.read(world.out)
    assert manifest.outcomes()["failed"] > 0
    assert "missing" not in [row["status"] for row in manifest.table.to_pylist() if row["subset"] == "train"]
    made = tree(world.out / "clips")

    started: list[Command] = []
    family: list[psutil.Process] = []

    def killing(handler) -> None:
        send(handler, good)
        family.extend(psutil.Process(started[0].pid).children(recursive=True))
        os.kill(started[0].pid, signal.SIGKILL)

    world.web.files[path] = killing
    started.append(commands.start(tmp_path, *arguments(world)))
    assert started[0].wait().returncode == -signal.SIGKILL
    assert not psutil.wait_procs(family, timeout=30)[1], "its processes end with it"
    world.web.files[path] = good
    world.requests()
    last = commands.run(tmp_path, *arguments(world))
    assert last.returncode == 3, last.stdout + last.stderr
    assert set(world.parts_asked()) <= {"train/part_1"}
    finished = Manifest.read(world.out)
    assert finished.table.to_pylist() == undisturbed.table.to_pylist()
    assert tree(world.out / "clips") == tree(tmp_path / "undisturbed" / "clips")
    assert made.items() <= tree(world.out / "clips").items()
    assert (world.archives(), world.videos()) == ([], [])


def test_parts_that_fail_in_a_row_end_in_one_clear_message_as_does_a_list_that_is_none(
    world, tmp_path, commands: Commands
):
    for path in ("/400/train/part_0.tar.gz", "/400/train/part_1.tar.gz", "/400/val/part_0.tar.gz"):
        del world.web.files[path]
    run = commands.run(tmp_path, *arguments(world))
    assert run.returncode == 1
    assert "Traceback" not in run.stdout + run.stderr
    assert run.stderr.splitlines()[-2].startswith("error: part_0.tar.gz: download failed")
    assert not (world.out / "manifest.parquet").exists()

    shutil.rmtree(world.data)
    world.web.files["/400/annotations/train.csv"] = b"<!DOCTYPE html><html></html>"
    run = commands.run(tmp_path, *arguments(world))
    assert run.returncode == 1
    assert "Traceback" not in run.stdout + run.stderr
    assert run.stderr.splitlines()[-2].startswith("error: train.csv: download failed")
