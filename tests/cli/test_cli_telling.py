"""How much commands tell: ``-q``, ``-v``, a bar or a line a minute; help that fits, and what shells complete."""

import io
import json
import logging
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete, get_completion_class
from click.testing import CliRunner, Result

from araflow.cli import console, main
from araflow.core import telling
from araflow.core.words import counted, duration
from araflow.datasets._sample import draw_sample

LONG = {"build", "flow", "retry", "fetch", "unpack", "train-eval", "evaluate", "sweep", "predict", "export", "engine"}
"""Commands that take their time."""


def araflow(*arguments: str | Path, **environment: str) -> Result:
    return CliRunner(env=environment).invoke(main, [str(argument) for argument in arguments], prog_name="araflow")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip, and a file that is none."""
    folder = tmp_path_factory.mktemp("videos")
    small = {"clips_per_class": 1, "sources_per_class": 1, "width": 48, "height": 32, "seconds": (0.2, 0.3)}
    draw_sample(folder / "drawn", **small, classes=["walk"])
    (folder / "videos" / "walk").mkdir(parents=True)
    shutil.copy(next((folder / "drawn" / "videos" / "walk").iterdir()), folder / "videos" / "walk" / "one.avi")
    (folder / "videos" / "walk" / "two.avi").write_text("not a video " * 100)
    return folder / "videos"


def test_quiet_says_what_is_wrong_and_verbose_says_all(videos: Path, tmp_path: Path):
    said = {}
    for option in ("-q", "-v", None):
        result = araflow(
            "flow", videos, "--out", tmp_path / str(option), "--workers", "1", *([option] if option else [])
        )
        assert result.exit_code == 3
        assert result.stdout.splitlines()[-1].startswith("2 clips listed: 1 done, 1 quarantined")
        said[option] = result.stderr.splitlines()
    bad = "walk/two: quarantined: not-a-video: Invalid data found when processing input"
    assert said["-q"] == [bad]
    assert [line.partition(":")[0] for line in said[None]] == ["optical flow", "walk/two"]
    assert [line.partition(":")[0] for line in said["-v"]] == ["optical flow", "absent", "walk/two", "audit"]
    assert telling.amount() is telling.Amount.USUAL, "it ends with the command"


def test_of_quiet_and_verbose_one_is_taken(videos: Path, tmp_path: Path):
    result = araflow("flow", videos, "--out", tmp_path / "out", "-q", "-v")
    assert result.exit_code == 2
    assert "-q and -v: give one of them" in result.stderr
    assert telling.amount() is telling.Amount.USUAL


def test_every_command_that_takes_its_time_can_be_quiet():
    able = {name for name, command in main.commands.items() if any("-q" in one.opts for one in command.params)}
    assert able >= LONG
    assert able.isdisjoint({"status", "doctor", "completion"}), "which have nothing to say on the way"


def test_without_a_terminal_a_line_a_minute_says_how_far_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    now = 0.0
    monkeypatch.setattr(console.time, "monotonic", lambda: now)
    with console.bar() as shown:
        shown.begin(120)
        for _ in range(118):
            now += 5.0
            shown.advance()
        shown.advance(2)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "13 of 120 clips, about 9 minutes left"
    assert len(lines) == 9
    assert lines[-1] == "117 of 120 clips, about 15 seconds left"


def test_within_a_bar_a_line_is_said_once(capsys: pytest.CaptureFixture[str]):
    root = logging.StreamHandler(io.StringIO())  # as Prefect's, once a flow is imported
    logging.getLogger().addHandler(root)
    try:
        with console.bar(), console.logged():
            logging.getLogger("araflow.flows").info("5 clips listed")
    finally:
        logging.getLogger().removeHandler(root)
    assert capsys.readouterr().err == "5 clips listed\n"
    assert root.stream.getvalue() == ""


@pytest.mark.parametrize("width", [60, 80])
def test_the_list_of_commands_is_whole_lines(width: int):
    result = CliRunner().invoke(main, ["--help"], terminal_width=width)
    listed = result.stdout.partition("Commands:\n")[2].partition("\n\n")[0].splitlines()
    assert len(listed) == len(main.commands)
    assert all(re.fullmatch(r"  [a-z-]+ +[A-Z].*\.", line) and len(line) <= width for line in listed), listed


def test_an_option_that_is_a_setting_gets_a_hint():
    assert "Settings are given as KEY=VALUE: run.workers=2." in araflow("build", "sample", "--worker", "2").stderr
    assert "KEY=VALUE" not in araflow("status", "--worker", "2").stderr


def test_a_manifest_of_an_unfinished_build_points_to_its_status(tmp_path: Path):
    (tmp_path / "out" / ".araflow").mkdir(parents=True)
    result = araflow("manifest", "show", tmp_path / "out")
    assert result.stderr.endswith(f"no such manifest; the build is unfinished: araflow status {tmp_path}/out\n")
    assert "unfinished" not in araflow("manifest", "show", tmp_path).stderr


def completed(shell: type[ShellComplete], words: list[str], begun: str) -> set[str]:
    found = shell(main, {}, "araflow", "_ARAFLOW_COMPLETE").get_completions(words, begun)
    return {item.value for item in found if item.type == "plain"}


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_a_shell_completes_commands_options_and_names_of_shipped_files(name: str):
    shell = get_completion_class(name)
    script = araflow("completion", name).stdout
    assert script.strip() == shell(main, {}, "araflow", "_ARAFLOW_COMPLETE").source().strip()
    assert completed(shell, [], "bui") == {"build"}
    assert completed(shell, ["build"], "hmdb") == {"hmdb5", "hmdb51"}
    assert completed(shell, ["train-eval", "--spec"], "sample_") == {"sample_flow", "sample_joint", "sample_rgb"}
    assert "--verify" in completed(shell, ["build", "sample"], "--v")


def test_bash_takes_the_script_and_completes_names_before_files(tmp_path: Path):
    if not shutil.which("bash"):
        pytest.skip("bash is absent")
    (tmp_path / "hmdb_file.yaml").touch()
    code = (
        'eval "$(araflow completion bash)"; COMP_WORDS=(araflow build hmdb); COMP_CWORD=2; '
        "_araflow_completion araflow 2>/dev/null; echo ${COMPREPLY[*]}"
    )
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    ended = subprocess.run(
        ["bash", "-c", code], cwd=tmp_path, env=os.environ | {"PATH": path}, capture_output=True, text=True
    )
    assert ended.stdout.split() == ["hmdb5", "hmdb51"], ended.stderr


def test_numbers_have_their_noun():
    assert [counted(number, "clip") for number in (0, 1, 2000)] == ["0 clips", "1 clip", "2,000 clips"]
    assert counted(2, "process", "processes") == "2 processes"
    assert [duration(seconds) for seconds in (1, 89, 90, 5399, 5400)] == [
        *("1 second", "89 seconds", "2 minutes", "90 minutes", "1.5 hours"),
    ]


def test_json_lines_are_fewer_when_quiet(videos: Path, tmp_path: Path):
    result = araflow("--log-json", "flow", videos, "--out", tmp_path / "out", "--workers", "1", "-q")
    (line,) = map(json.loads, result.stderr.splitlines())
    assert line["outcome"] == "quarantined"
