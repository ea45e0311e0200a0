"""What a terminal shows of a build with Prefect: a bar on the way, and in the end araflow's own lines alone."""

import re
import shutil
from pathlib import Path

import pytest
from commands import Commands
from flow_world import Built, Server, write_config
from pseudo_terminal import in_terminal

pytestmark = [pytest.mark.prefect, pytest.mark.slow]
_COMMANDS = re.compile(r"\x1b\[[\d;?]*[A-Za-z]")


def left(said: str) -> list[str]:
    """Return the lines that stay: what was written after each was last cleared."""
    lines, row = [""], 0
    for part in re.findall(r"\x1b\[[\d;?]*[A-Za-z]|\n|[^\x1b\n]+", said.replace("\r", "")):
        if part == "\n":
            row += 1
            lines += [""] * (row == len(lines))
        elif part == "\x1b[1A":
            row -= 1
        elif part == "\x1b[2K":
            lines[row] = ""
        elif not part.startswith("\x1b"):
            lines[row] += part
    return lines


@pytest.mark.parametrize("width", [60, pytest.param(80, marks=pytest.mark.proof)])
def test_a_build_shows_a_bar_and_leaves_its_own_lines(built: Built, server: Server, tmp_path: Path, width: int):
    write_config(tmp_path)
    shutil.copytree(built.folder / "out", tmp_path / "out")
    victim = next((tmp_path / "out" / ".araflow").glob("drawn-*/videos/walk/*.avi"))
    victim.write_bytes(victim.read_bytes()[:3000])
    status, said = in_terminal(tmp_path, width, server.environment, "build", "tiny.yaml")
    assert status == 3, said
    drawn = [_COMMANDS.sub("", one) for one in re.split(r"[\r\n]+", said) if " of 6 clips " in one]
    assert drawn, said
    assert max(map(len, drawn)) <= width, "a longer bar would be drawn again and again below itself"
    lines = [line for line in left(said) if line]
    began, table, ended = lines[:4], lines[4:-3], lines[-3:]
    assert [line.split()[0] for line in began] == ["optical", "sample", "6", f"walk/{victim.stem}:"], lines
    assert [line.split()[0] for line in table] == ["tiny", "class", "walk", "push", "(all)"]
    assert [line.split()[0] for line in ended] == ["manifest:", "picture:", "6"]
    assert ended[-1].startswith("6 clips listed: 5 done, 1 quarantined (1 truncated); 1 worked on, ")


def test_a_first_build_without_a_terminal_says_three_lines_and_the_result(built: Built):
    lines = [line for line in built.run.stderr.splitlines() if not line.startswith("waiting for Prefect's server")]
    assert [line.split()[0] for line in lines] == ["optical", "sample", "6"], lines
    assert len(built.run.stdout.splitlines()) == 8


def test_what_fails_within_a_run_is_one_message(tmp_path: Path, commands: Commands):
    (tmp_path / "clips.zip").write_bytes(b"PK\3\4" + b"no archive " * 50)
    run = commands.run(tmp_path, "build", "folder", "dataset.source=clips.zip", "split.protocol=random", "out=out")
    assert run.returncode == 1
    assert run.stdout == ""
    flow, error = run.stderr.splitlines()
    assert flow.startswith("optical flow: ")
    assert error.startswith("error: ")
    assert "clips.zip" in error
