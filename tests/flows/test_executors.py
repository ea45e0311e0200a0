"""Local, workers and dask give the same output, byte for byte, whoever dies on the way."""

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster_world import CRASHES, Cluster, Proxy, end, family, made, tree
from commands import Commands
from flow_world import Server

from araflow.store.manifest import Manifest

pytestmark = [pytest.mark.prefect, pytest.mark.slow, pytest.mark.cluster, pytest.mark.timeout(900)]

KILLS = int(os.environ.get("ARAFLOW_KILLS", "15"))
"""Kills of a build, over all executors. The long test is ARAFLOW_KILLS=100."""
EXECUTORS = ("local", "workers", "dask")


@pytest.fixture(scope="module", params=["short", pytest.param("long", marks=pytest.mark.proof)])
def cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, server: Server, commands: Commands
) -> Iterator[Cluster]:
    clips, machines = (8, 1) if request.param == "short" else (64, 3)
    with Cluster(tmp_path_factory.mktemp("cluster"), server, commands, clips, machines) as started:
        yield started


@pytest.fixture(scope="module")
def undisturbed(cluster: Cluster) -> Path:
    run = cluster.run("undisturbed")
    assert run.returncode == 3, run.stdout + run.stderr
    return cluster.folder / "undisturbed"


def test_a_decoder_that_dies_costs_its_clip_and_no_neighbour(cluster: Cluster, undisturbed: Path):
    rows = Manifest.read(undisturbed).table.to_pylist()
    assert len(rows) == cluster.clips
    (crashed,) = (row for row in rows if row["outcome"] != "done")
    assert CRASHES in crashed["key"]
    assert crashed["outcome"] == "quarantined"
    assert crashed["reason"] == "crashed: the decoding process ended with exit code 42, twice"


@pytest.mark.parametrize("executor", ["dask", "workers"])
def test_other_machines_give_the_same_output(cluster: Cluster, undisturbed: Path, executor: str):
    run = cluster.run(executor, *cluster.on(executor))
    assert run.returncode == 3, run.stdout + run.stderr
    assert tree(cluster.folder / executor) == tree(undisturbed)


@pytest.mark.proof
@pytest.mark.parametrize("cluster", ["long"], indirect=True)
@pytest.mark.parametrize("executor", ["dask", "workers"])
def test_a_machine_that_dies_changes_nothing(cluster: Cluster, undisturbed: Path, executor: str):
    settings = cluster.on(executor)
    out = cluster.folder / f"{executor}-dies"
    run = cluster.build(out.name, *settings)
    while made(out) < 6 and run.poll() is None:
        time.sleep(0.05)
    machines = cluster.workers if executor == "workers" else cluster.dask[1:]
    busy = [machine for machine in machines if any("spawn_main" in " ".join(p.cmdline()) for p in family(machine))]
    assert busy, "no machine is at work"
    end(busy[0])
    (cluster.workers if executor == "workers" else cluster.dask).remove(busy[0])
    said, _ = run.communicate(timeout=600)
    assert run.returncode == 3, said
    assert (out / "manifest.parquet").read_bytes() == (undisturbed / "manifest.parquet").read_bytes()
    assert tree(out) == tree(undisturbed)


@pytest.mark.parametrize("executor", ["local", *(pytest.param(one, marks=pytest.mark.proof) for one in EXECUTORS[1:])])
def test_a_build_killed_again_and_again_ends_as_if_it_had_not_been(cluster: Cluster, undisturbed: Path, executor: str):
    settings = cluster.on(executor)
    rng = random.Random(executor)
    out = cluster.folder / f"{executor}-killed"
    kills = KILLS // len(EXECUTORS) + (executor == "local") * (KILLS % len(EXECUTORS)) if cluster.machines > 1 else 1
    at_kill = []
    for number in range(kills):
        run = cluster.build(out.name, *settings)
        if number % 5 == 4:  # from the beginning: the kills before may have let the build get far
            time.sleep(rng.uniform(0, 4))
        else:
            aim = max(1, round(cluster.clips * (number % 5 + rng.random()) / 5))
            while made(out) < aim and run.poll() is None:
                time.sleep(0.02)
            time.sleep(rng.uniform(0, 0.3))
        at_kill.append(made(out))
        if rng.random() < 0.5:
            end(run)
        else:  # its workers find out by themselves
            run.send_signal(signal.SIGKILL)
            run.communicate()
    again = cluster.run(out.name, *settings)
    assert again.returncode == 3, again.stdout + again.stderr
    print(executor, "clips made at each kill:", at_kill)
    assert tree(out) == tree(undisturbed)


def test_a_server_that_does_not_answer_costs_no_more_than_the_place_of_the_history(
    cluster: Cluster, undisturbed: Path, home: Path
):
    nowhere = {"PREFECT_API_URL": "http://127.0.0.1:1/api", "PREFECT_HOME": str(home)}
    run = cluster.build("unanswered", **nowhere)
    said, _ = run.communicate(timeout=300)
    assert run.returncode == 3, said
    assert "no Prefect server answers at http://127.0.0.1:1/api" in said
    assert tree(cluster.folder / "unanswered") == tree(undisturbed)
    run = cluster.build("refused", "run.engine=workers", **nowhere)
    said, _ = run.communicate(timeout=300)
    assert run.returncode == 1
    assert said.splitlines()[-1].startswith("error: run.engine: workers needs a Prefect server")


def test_a_server_that_is_lost_on_the_way_costs_history_and_no_data(cluster: Cluster, undisturbed: Path, home: Path):
    with Proxy(cluster.server) as proxy:
        run = cluster.build("lost", PREFECT_API_URL=proxy.url, PREFECT_HOME=str(home))
        while made(cluster.folder / "lost") < 3 and run.poll() is None:
            time.sleep(0.05)
        proxy.lose()
        said, _ = run.communicate(timeout=600)
    assert run.returncode == 3, said
    assert "the command starts again without it" in said
    assert tree(cluster.folder / "lost") == tree(undisturbed)
