"""Latency and throughput: the arithmetic against known answers, and that each kind of file can be timed."""

import time

import numpy as np
import pytest
from engine_kit import machine, model_spec, windows, write_onnx

from araflow.core.errors import SpecError
from araflow.deploy import bench, runners
from araflow.deploy.tensorrt.engine import EngineSettings, build
from araflow.deploy.tensorrt.runtime import engine_runner


class Clock:
    """A clock that moves only when a runner works."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_percentiles_are_values_that_occurred():
    hundred = [float(number) for number in range(1, 101)]
    assert [bench.percentile(hundred, share) for share in (90, 95, 99, 100, 0)] == [90, 95, 99, 100, 1]
    assert bench.percentile([7.0], 99) == 7
    assert bench.percentile([1.0, 2.0, 3.0], 90) == 3


def test_statistics_of_known_times():
    samples = [{"latency": ms / 1000, "compute": ms / 2000} for ms in (4, 1, 3, 2)]
    found = bench.summarise(samples, batch=8, seconds=0.02)
    assert (found.runs, found.median, found.mean, found.min, found.max) == (4, 2.5, 2.5, 1, 4)
    assert (found.p90, found.p99) == (4, 4)
    assert found.throughput == pytest.approx(4 * 8 / 0.02)
    assert found.parts == {"compute": pytest.approx(1.25)}
    assert bench.summarise(samples[:3], 1, 1).median == 3
    assert found.to_json()["compute"] == pytest.approx(1.25)


@pytest.mark.parametrize(("cost", "warm", "runs"), [(0.5, 1, 10), (0.01, 20, 300), (0.1, 2, 30)])
def test_it_warms_up_for_200_ms_and_measures_for_3_s_and_10_runs(cost, warm, runs):
    clock, calls = Clock(), []

    def runner(rgb):
        calls.append(len(rgb))
        clock.now += cost

    found = bench.bench(runner, lambda batch: {"rgb": np.zeros(batch)}, 4, clock=clock)
    assert found.runs == pytest.approx(runs, abs=1)
    assert len(calls) - found.runs == pytest.approx(warm, abs=1)
    assert set(calls) == {4}
    assert found.median == pytest.approx(1000 * cost)
    assert found.throughput == pytest.approx(4 / cost)


def test_the_first_runs_do_not_count():
    clock, calls = Clock(), []

    def runner():
        calls.append(1)
        clock.now += 5 if len(calls) == 1 else 0.1

    assert bench.bench(runner, lambda batch: {}, 1, clock=clock).max == pytest.approx(100)


def test_an_engine_is_timed_by_its_device(tmp_path, monkeypatch):
    _, memory = machine(monkeypatch, tick=0.002)
    build(write_onnx(tmp_path / "m.onnx"), tmp_path / "m.engine", EngineSettings(batch=(1, 2, 4)), device=memory)
    runner = engine_runner(tmp_path / "m.engine", memory=memory)
    for graph in (False, True):
        found = bench.bench(runner, bench.inputs_for(runner.spec), 2, seconds=0.05, warm_up_ms=1, cuda_graph=graph)
        assert found.median == pytest.approx(6)
        assert found.parts == {name: pytest.approx(2) for name in ("h2d", "compute", "d2h")}
    assert memory.captures == 1


def test_cuda_graphs_are_for_engines():
    with pytest.raises(SpecError, match="cuda_graph: for engines only"):
        bench.bench(lambda: None, lambda batch: {}, 1, cuda_graph=True)


def test_an_onnx_file_and_a_checkpoint_are_timed(tmp_path):
    from araflow.recognition import checkpoint
    from araflow.recognition.networks import create

    spec = model_spec("arn_3d").model_copy(update={"labels": ("a", "b")})
    checkpoint.save(tmp_path / "m.safetensors", create(spec), spec)
    write_onnx(tmp_path / "m.onnx")
    for name, by in (("m.onnx", "ONNX Runtime"), ("m.safetensors", "PyTorch")):
        runner = runners.open_runner(tmp_path / name, "cpu")
        assert runners.kind_of(tmp_path / name).by == by
        start = time.perf_counter()
        found = bench.bench(runner, bench.inputs_for(runner.spec), 2, seconds=0.01, warm_up_ms=1, min_runs=3)
        assert found.runs >= 3
        assert 0 < found.min <= found.median <= found.p99 <= found.max <= 1000 * (time.perf_counter() - start)


class Takes:
    def __init__(self, least, most):
        self.least, self.most = least, most


def test_batch_sizes_are_those_that_the_file_takes():
    assert bench.sizes(object(), None) == (1, 4, 16)
    assert bench.sizes(Takes(1, 4), None) == (1, 4)
    assert bench.sizes(Takes(5, 6), None) == (5,)
    assert bench.sizes(Takes(1, 4), (2, 3)) == (2, 3)
    with pytest.raises(SpecError, match="batch: 5 windows at once are not what this file takes: 1 to 4"):
        bench.sizes(Takes(1, 4), (2, 5))


def test_inputs_are_what_the_recogniser_takes():
    spec = model_spec("arn_2d", "joint")
    made, known = bench.inputs_for(spec)(3), windows(spec, 3)
    assert {name: (t.shape, t.dtype) for name, t in made.items()} == {n: (t.shape, t.dtype) for n, t in known.items()}


def test_the_cards_table_is_the_cards():
    rows = {(row.model, row.device): (row.batch, row.clips) for row in bench.CARD}
    assert rows["3d", "T4"] == (4, 137) and rows["3d", "Jetson Nano"] == (1, 0.57)
    assert rows["2d", "T4"] == (16, 1818) and rows["2d", "Jetson Nano"] == (1, 30)
    assert [row.model for row in bench.card_figures(model_spec("arn_2d"))] == ["2d"] * 4
    assert bench.card_figures(model_spec("arn_3d", "flow")) == ()
