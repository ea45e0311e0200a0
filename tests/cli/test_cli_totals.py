"""A class folder named ``all``, as the sum over all classes was once: it is counted once, and for itself."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from araflow.cli import main
from araflow.datasets._sample import draw_sample


def araflow(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips of ``all``, three of ``walk``."""
    folder = tmp_path_factory.mktemp("videos")
    drawn = tmp_path_factory.mktemp("drawn")
    draw_sample(drawn, clips_per_class=5, sources_per_class=2, width=48, height=32, seconds=(0.2, 0.3))
    for number, video in enumerate(sorted((drawn / "videos/walk").iterdir())):
        place = folder / ("all" if number < 2 else "walk") / f"{number}.avi"
        place.parent.mkdir(exist_ok=True)
        shutil.copyfile(video, place)
    return folder


@pytest.fixture(scope="module")
def out(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out") / "out"
    result = araflow("flow", videos, "--out", folder, "--set", "run.workers=1")
    assert result.exit_code == 0, result.output
    return folder


def counts(content: dict) -> dict[str, int]:
    return {row["class"]: row["listed"] for row in content["classes"]}


@pytest.mark.parametrize("command", [("status",), ("manifest", "show")])
def test_of_an_output(out: Path, command: tuple[str, ...]):
    content = json.loads(araflow(*command, out, "--json").stdout)
    assert counts(content) == {"all": 2, "walk": 3}
    assert (content["total"]["listed"], content["total"]["done"]) == (5, 5)
    lines = [line.split()[:2] for line in araflow(*command, out).stdout.splitlines()]
    at = lines.index(["all", "2"])
    assert lines[at : at + 3] == [["all", "2"], ["walk", "3"], ["(all)", "5"]]


def test_of_a_plan(videos: Path):
    settings = ("folder", f"dataset.source={videos}", "split.protocol=random", "split.test_fraction=0.4")
    content = json.loads(araflow("plan", *settings, "--json").stdout)
    assert counts(content) == {"all": 2, "walk": 3}
    assert (content["total"]["listed"], content["total"]["train"], content["total"]["test"]) == (5, 4, 1)
    assert (content["total"]["leaked"], content["total"]["source unknown"]) == (None, 1)
    shown = araflow("plan", *settings).stdout
    assert "source is also in training: unknown: no groups" in shown and "videos at hand: 5 of 5 listed" in shown


def test_of_what_is_tried_again(out: Path):
    refused = araflow("retry", out, "--class", "(all)", "--dry-run")
    assert refused.exit_code == 1 and "allowed: all, walk" in refused.output
