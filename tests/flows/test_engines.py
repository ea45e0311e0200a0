"""Local, workers and dask give the same output, byte for byte, whoever dies on the way."""

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster_world import CLIPS, CRASHES, Cluster, end, family, made, tree

from araflow.store.manifest import Manifest

pytestmark = [pytest.mark.prefect, pytest.mark.slow, pytest.mark.cluster, pytest.mark.timeout(900)]

KILLS = int(os.environ.get("ARAFLOW_KILLS", "15"))
"""Kills of a build, over all engines. The long test is ARAFLOW_KILLS=100."""
ENGINES = ("local", "workers", "dask")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster")) as started:
        yield started


@pytest.fixture(scope="module")
def undisturbed(cluster: Cluster) -> Path:
    run = cluster.build("undisturbed")
    said, _ = run.communicate(timeout=300)
    assert run.returncode == 3, said
    return cluster.folder / "undisturbed"


def test_a_decoder_that_dies_costs_its_clip_and_no_neighbour(undisturbed: Path):
    rows = Manifest.read(undisturbed).table.to_pylist()
    assert len(rows) == CLIPS
    (crashed,) = (row for row in rows if row["outcome"] != "done")
    assert CRASHES in crashed["key"]
    assert crashed["outcome"] == "quarantined"
    assert crashed["reason"] == "crashed: the decoding process ended with exit code 42, twice"


@pytest.mark.parametrize("engine", ["dask", "workers"])
def test_a_machine_that_dies_changes_nothing(cluster: Cluster, undisturbed: Path, engine: str):
    settings = cluster.on(engine)
    run = cluster.build(engine, *settings)
    out = cluster.folder / engine
    while made(out) < 6 and run.poll() is None:
        time.sleep(0.05)
    machines = cluster.workers if engine == "workers" else cluster.dask[1:]
    busy = [machine for machine in machines if any("spawn_main" in " ".join(p.cmdline()) for p in family(machine))]
    assert busy, "no machine is at work"
    end(busy[0])
    (cluster.workers if engine == "workers" else cluster.dask).remove(busy[0])
    said, _ = run.communicate(timeout=600)
    assert run.returncode == 3, said
    assert (out / "manifest.parquet").read_bytes() == (undisturbed / "manifest.parquet").read_bytes()
    assert tree(out) == tree(undisturbed)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_build_killed_again_and_again_ends_as_if_it_had_not_been(cluster: Cluster, undisturbed: Path, engine: str):
    settings = cluster.on(engine)
    rng = random.Random(engine)
    out = cluster.folder / f"{engine}-killed"
    kills = KILLS // len(ENGINES) + (engine == "local") * (KILLS % len(ENGINES))
    at_kill = []
    for number in range(kills):
        run = cluster.build(out.name, *settings)
        if number % 5 == 4:  # from the beginning: the kills before may have let the build get far
            time.sleep(rng.uniform(0, 4))
        else:
            aim = round(CLIPS * (number % 5 + rng.random()) / 5)
            while made(out) < aim and run.poll() is None:
                time.sleep(0.02)
            time.sleep(rng.uniform(0, 0.3))
        at_kill.append(made(out))
        if rng.random() < 0.5:
            end(run)
        else:  # its workers find out by themselves
            run.send_signal(signal.SIGKILL)
            run.communicate()
    run = cluster.build(out.name, *settings)
    said, _ = run.communicate(timeout=300)
    assert run.returncode == 3, said
    print(engine, "clips made at each kill:", at_kill)
    assert tree(out) == tree(undisturbed)


def test_a_server_that_does_not_answer_costs_no_more_than_the_place_of_the_history(cluster: Cluster, undisturbed: Path):
    run = cluster.build("unanswered", PREFECT_API_URL="http://127.0.0.1:1/api")
    said, _ = run.communicate(timeout=300)
    assert run.returncode == 3, said
    assert "no Prefect server answers at http://127.0.0.1:1/api" in said
    assert tree(cluster.folder / "unanswered") == tree(undisturbed)
    run = cluster.build("refused", "run.engine=workers", PREFECT_API_URL="http://127.0.0.1:1/api")
    said, _ = run.communicate(timeout=300)
    assert run.returncode == 1
    assert said.splitlines()[-1].startswith("error: run.engine: workers needs a Prefect server")


def test_a_server_that_is_lost_on_the_way_costs_history_and_no_data(cluster: Cluster, undisturbed: Path):
    """The last test: it takes the server away."""
    run = cluster.build("lost")
    while made(cluster.folder / "lost") < 6 and run.poll() is None:
        time.sleep(0.05)
    cluster.lose_server()
    said, _ = run.communicate(timeout=600)
    assert run.returncode == 3, said
    assert "the command starts again without it" in said
    assert tree(cluster.folder / "lost") == tree(undisturbed)
