"""Paths, keys and addresses are shown whole, however narrow the terminal: what was broken in two cannot be copied."""

import json
import logging
import os
import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from pseudo_terminal import in_terminal

from araflow.cli import console, main
from araflow.datasets._sample import draw_sample
from araflow.store.manifest import Manifest

LONG = "a folder [with] :smile: and a name that is longer than any line of a terminal of eighty columns is wide"
WIDTHS = [None, 40, 60, 80]
"""Columns of a terminal; ``None``: a pipe."""


def araflow(*arguments: str | Path, width: int | None) -> Result:
    environment = {"COLUMNS": str(width or 40), "FORCE_COLOR": None if width is None else "1"}
    return CliRunner(env=environment).invoke(main, [str(argument) for argument in arguments])


def lines(result: Result) -> list[str]:
    return re.sub(r"\x1b\[[\d;]*m", "", result.output).splitlines()


def insist(result: Result, *texts: object) -> None:
    shown = lines(result)
    for text in texts:
        assert any(str(text) in line for line in shown), f"{text}\n" + "\n".join(shown)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips whose keys are long, of which one is no video."""
    folder = tmp_path_factory.mktemp("width") / LONG / "videos"
    (folder / "walk").mkdir(parents=True)
    drawn = tmp_path_factory.mktemp("drawn")
    small = {"clips_per_class": 1, "sources_per_class": 1, "width": 48, "height": 32, "seconds": (0.2, 0.3)}
    draw_sample(drawn, **small, classes=["walk"])
    shutil.copy(next((drawn / "videos" / "walk").iterdir()), folder / "walk" / f"{LONG} one.avi")
    (folder / "walk" / f"{LONG} two.avi").write_text("not a video " * 100)
    return folder


@pytest.fixture(scope="module")
def out(videos: Path) -> Path:
    """What was made of them, with a clip that no manifest lists."""
    out = videos.parent / "out"
    assert araflow("flow", videos, "--out", out, "--workers", "1", width=None).exit_code == 3
    shutil.copytree(out / "clips" / "walk" / f"{LONG} one", out / "clips" / "walk" / f"{LONG} old")
    return out


@pytest.mark.parametrize("width", WIDTHS)
def test_what_is_said_of_an_output_names_it_whole(out: Path, width: int | None):
    keys = [f"walk/{LONG} one", f"walk/{LONG} two"]
    insist(araflow("status", out, width=width), out)
    insist(araflow("manifest", "show", out, width=width), "walk")
    insist(araflow("manifest", "show", out, "--clips", width=width), *keys)
    insist(araflow("manifest", "validate", out, width=width), f"clips/walk/{LONG} old")
    insist(araflow("retry", out, "--outcome", "quarantined", "--dry-run", width=width), keys[1])
    insist(araflow("clean", out, width=width), f"clips/walk/{LONG} old")


def test_a_line_of_the_log_or_an_error_commands_no_terminal(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    with console.logged():
        logging.getLogger("araflow").warning("walk/%s: failed:\n  twice", "a [b]:smile:\x1b[2J")
    assert capsys.readouterr().err == "walk/a [b]:smile:\\x1b[2J: failed:\n  twice\n"
    result = araflow("status", tmp_path / "a\x1b[2J", width=None)
    assert f"error: {tmp_path}/a\\x1b[2J: no such folder\n" == result.stderr


def test_a_difference_shows_texts_whole(videos: Path, out: Path, tmp_path: Path):
    other = tmp_path / "videos"
    shutil.copytree(videos, other)
    (other / "walk" / f"{LONG} two.avi").unlink()
    (other / "walk" / f"{LONG} two.avi").symlink_to(tmp_path / LONG / "away.avi")
    araflow("flow", other, "--out", tmp_path / "out", "--workers", "1", "--set", "run.retries=0", width=None)
    shown = araflow("manifest", "diff", out, tmp_path / "out", width=None)
    manifest = Manifest.read(out)
    (row,) = (row for row in map(manifest.row, range(len(manifest))) if row["key"].endswith("two"))
    insist(shown, *(f'{name} "{row[name]}" -> ' for name in ("source_sha256", "reason", "software")))


@pytest.mark.parametrize("width", WIDTHS)
def test_an_error_names_the_path_whole(tmp_path: Path, width: int | None):
    insist(araflow("status", tmp_path / LONG, width=width), f"error: {tmp_path / LONG}: no such folder")
    insist(araflow("manifest", "show", tmp_path / LONG, width=width), tmp_path / LONG)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_plan_and_what_would_be_fetched_are_whole_lines(videos: Path, tmp_path: Path, width: int | None):
    plan = araflow("plan", "folder", f"dataset.source={videos}", width=width)
    insist(plan, "no test clips")
    insist(plan, "videos at hand: 2 of 2 listed")
    rows = "path,label,split,group\na.avi,walk,train,a\nb.avi,walk,test,b\n"
    (tmp_path / "mine.csv").write_text(rows)
    plan = araflow("plan", "folder", f"dataset.source={tmp_path / 'mine.csv'}", width=width)
    insist(plan, "test clips share their source title with a training clip of their class, 0 with one of any class")
    command = ("fetch", "hmdb51", "--dry-run", "--to", tmp_path / LONG)
    addresses = [file["url"] for file in json.loads(araflow(*command, "--json", width=width).stdout)["files"]]
    insist(araflow(*command, width=width), f"to:      {tmp_path / LONG}", *addresses)


@pytest.mark.parametrize("width", WIDTHS)
def test_how_to_get_what_is_absent_is_a_line_to_copy(width: int | None, monkeypatch: pytest.MonkeyPatch):
    from araflow.cli import doctor

    remedy = "not installed (asks YouTube for Kinetics clips in no archive): pip install 'araflow[youtube]'"
    monkeypatch.setattr(doctor, "examine", lambda **_: [doctor.Finding("library", "yt_dlp", False, remedy)])
    insist(araflow("doctor", width=width), remedy)


def test_a_terminal_gets_whole_lines_above_the_bar(videos: Path, tmp_path: Path):
    out = tmp_path / LONG / "out"
    status, said = in_terminal(Path.cwd(), 40, os.environ, "flow", str(videos), "--out", str(out), "--workers", "1")
    assert status == 3
    shown = [re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", line) for line in re.split(r"[\r\n]+", said)]
    assert any(line.startswith(f"walk/{LONG} two: quarantined: not-a-video") for line in shown), shown
    assert f"manifest: {out}/manifest.parquet" in shown
