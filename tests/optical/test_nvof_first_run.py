"""The script for the first GPU, against a FAKE one: its steps run, and would notice a wrong answer."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from fakes.nvof_machine import installed

import araflow

ROOT = Path(araflow.__file__).parents[1]
pytestmark = pytest.mark.skipif(not (ROOT / "benchmarks").is_dir(), reason="benchmarks are in a checkout alone")


@pytest.fixture
def first_run(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.nvof_first_run")


@pytest.fixture
def scenes(first_run):
    return sys.modules["benchmarks.nvof_scenes"]


def test_scenes_have_the_shift_that_they_say_and_the_same_bytes_everywhere(scenes):
    first, second = scenes.shifted(1, 40, 30, (3, -2))
    np.testing.assert_array_equal(first[2:, :-3], second[:-2, 3:])
    assert (int(first.sum()), int(second[7, 9]), int(first[29, 39])) == (132379, 122, 86)
    quarter = scenes.shifted(1, 40, 30, (0.25, 0))[1].astype(int)
    assert 0 < np.abs(quarter - first).max() < np.abs(scenes.shifted(1, 40, 30, (1, 0))[1].astype(int) - first).max()


def test_drawn_pairs_move_as_their_truth_says(scenes):
    for motion in ("small", "large"):
        first, second, truth, edge = scenes.drawn(0, motion)
        y, x = np.mgrid[30:210:7, 30:290:7]
        calm = ~edge[y, x]
        u, v = np.moveaxis(truth[y, x], 2, 0)
        there = second[np.rint(y + v).astype(int), np.rint(x + u).astype(int)].astype(int)
        moved, still = (
            np.abs(other - first[y, x].astype(int))[calm].mean() for other in (there, second[y, x].astype(int))
        )
        assert moved < 0.6 * still


def test_what_step_four_says_of_an_engine_that_is_right(first_run, tmp_path):
    with installed(reach=4):
        answer = first_run.meaning(tmp_path)
    for name in ("shift (3, 0) grid 1", "shift (3, 0) grid 2", "shift (3, 0) grid 4", "GRAY8", "NV12", "ABGR8"):
        assert answer[name] == {"median": [3, 0], "within 0.25 px": 1}, name
    assert answer["bytes (right: byte 0 is red)"]["median"] == [3, 0]
    assert answer["zoom"]["du/dx"] == pytest.approx(answer["zoom"]["if anchored on the first"], abs=0.01)
    assert "error" not in json.dumps(answer)


def test_what_step_four_says_of_an_engine_that_looks_back(first_run, tmp_path):
    def backwards(first, second):
        return np.broadcast_to(np.int16([-96, 0]), (*first.shape, 2))

    with installed(answer=backwards):
        answer = first_run.meaning(tmp_path)
    assert answer["shift (3, 0) grid 1"] == {"median": [-3, 0], "within 0.25 px": 0}


def nothing(first, second):
    return np.zeros((*first.shape, 2), np.int16)


def test_the_other_steps_run_and_give_json(first_run, tmp_path):
    with installed(answer=nothing, largest=(640, 480)) as fake:
        answers = {
            "find": first_run.find(tmp_path),
            "symbols": first_run.symbols(tmp_path),
            "caps": first_run.caps(tmp_path),
            "repeatability": first_run.repeatability(tmp_path),
            "speed": first_run.speed(tmp_path, sizes=((64, 48),), seconds=0.005),
            "quality": first_run.quality(tmp_path, count=1),
        }
        assert fake.violations == []
    json.dumps(answers)
    assert answers["symbols"]["tables"] == {version: {"status": 0, "functions": 12} for version in ("0x20", "0x50")}
    assert answers["caps"]["grids"] == (1, 2, 4)
    assert answers["repeatability"]["hints on, new session"] is True
    assert answers["speed"]["64x48 fast grid 4"]["four sessions"] > 0
    still, dis = answers["quality"]["small nvof slow grid 1"], answers["quality"]["small dis balanced"]
    assert still["all"] == pytest.approx(still["mean motion"], abs=0.01)
    assert dis["all"] < 0.5 * still["all"]


def test_goldens_are_small_and_say_what_made_them(first_run, scenes, tmp_path):
    with installed(answer=nothing):
        told = first_run.goldens(tmp_path)
    kept = np.load(tmp_path / "goldens.npz")
    assert told["fields"] == 3 * len(scenes.GOLDEN_SHIFTS) == 36
    assert (kept["fast_4_0"].shape, kept["slow_1_11"].shape) == ((18, 24, 2), (72, 96, 2))
    assert kept["slow_1_11"].dtype == np.int16
    assert "Fake GPU" in json.loads(str(kept["about"]))["software"]
    assert sum(kept[name].nbytes for name in kept.files) < 1_000_000


def test_a_step_that_fails_or_crashes_leaves_the_others(first_run, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    real = first_run.subprocess.run

    def run(command, **options):
        code = {"find": "print('{\"a\": 1}')", "caps": "import os; os.abort()"}[command[-1]]
        return real([command[0], "-c", code], **options)

    monkeypatch.setattr(first_run.subprocess, "run", run)
    answers = dict(first_run.run(tmp_path, ["find", "caps", "find"]))
    assert answers["caps"]["exit"] == -6
    assert answers["find"]["a"] == 1
