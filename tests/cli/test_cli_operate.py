"""``araflow status``, ``retry``, ``clean`` and ``--log-json``, as a user runs them, on real builds."""

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from pseudo_terminal import in_terminal

from araflow.build import clean as _rubbish
from araflow.build import resolved
from araflow.build import run as build
from araflow.build.pool import WorkerPool
from araflow.cli import main
from araflow.core import json_log
from araflow.core.clip import ClipRecord, Outcome
from araflow.datasets._sample import draw_sample
from araflow.store import layout
from araflow.store.address import open_store

DRAFT = f".araflow-{'0' * 24}{hashlib.sha256(b'araflow ' + b'0' * 24).hexdigest()[:8]}.draft"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    draw_sample(
        folder, clips_per_class=2, sources_per_class=2, width=96, height=64, seconds=(0.3, 0.5), classes=["walk", "run"]
    )
    return folder


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    with WorkerPool(2) as pool:
        yield pool


@pytest.fixture(autouse=True)
def _warm(pool: WorkerPool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Builds share their worker processes, which take a second to start."""
    monkeypatch.setattr(build, "WorkerPool", lambda workers: contextlib.nullcontext(pool))


@pytest.fixture
def videos(drawn: Path, tmp_path: Path) -> Path:
    """Four clips, of which one fails, since its file is elsewhere, and one is no video."""
    folder = tmp_path / "videos"
    shutil.copytree(drawn / "videos", folder)
    first, second = sorted((folder / "walk").iterdir())
    shutil.move(first, tmp_path / "away.avi")
    first.symlink_to(tmp_path / "here.avi")
    second.write_text("not a video " * 100)
    return folder


def araflow(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def tree(folder: Path) -> dict[str, bytes]:
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    own = {".araflow/lock", ".araflow/build.json"}
    return {name: path.read_bytes() for name, path in files.items() if name not in own}


def lines(text: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("command", ["status", "retry", "clean"])
def test_help_has_an_example(command: str):
    result = araflow(command, "--help")
    assert result.exit_code == 0
    assert f"\n  araflow {command} data/hmdb5\n" in result.output
    assert "\b" not in result.output


def test_help_says_that_nothing_is_told_to_anyone():
    assert "Prefect's telemetry is off" in araflow("--help").output


@pytest.mark.parametrize("command", ["status", "retry", "clean"])
@pytest.mark.parametrize(
    ("name", "said"),
    [("absent", "no such folder"), ("other", "is no output of araflow"), ("memory://nothing/name", "nothing is there")],
)
def test_what_is_no_output_is_said_to_be_none(command: str, name: str, said: str, tmp_path: Path):
    (tmp_path / "other").mkdir()
    result = araflow(command, name if "://" in name else tmp_path / name)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    assert said in result.stderr
    assert not list((tmp_path / "other").iterdir())


# --- status ---


def test_status_ends_with_a_line_and_a_status_that_say_how_it_is(videos: Path, tmp_path: Path):
    out = tmp_path / "out"
    araflow("flow", videos, "--out", out, "--set", "run.retries=0")
    result = araflow("status", out)
    assert result.exit_code == 3
    assert re.search(r"^walk +2 +0 +1 +1$", result.stdout, re.M), result.stdout
    assert "quarantined: 1 not-a-video\n" in result.stdout
    assert "failed: 1 io-error\n" in result.stdout
    last = result.stdout.splitlines()[-1]
    assert last.startswith("complete: 4 clips listed: 2 done, 1 quarantined, 1 failed; araflow retry ")
    content = json.loads(araflow("status", out, "--json").stdout)
    assert (content["listed"], content["done"], content["left"], content["complete"]) == (4, 2, 0, True)
    for path in (videos / "walk").iterdir():
        path.unlink()
    shutil.rmtree(out)
    araflow("flow", videos, "--out", out)
    assert araflow("status", out).exit_code == 0


def test_watching_ends_with_the_run(videos: Path, tmp_path: Path):
    out = tmp_path / "out"
    araflow("flow", videos, "--out", out, "--set", "run.retries=0")
    command = [sys.executable, "-m", "araflow", "status", str(out), "--watch", "0.1", "--json"]
    with contextlib.ExitStack() as run:
        run.enter_context(open_store(out).locked())
        watching = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert watching.stdout is not None
        seen = [json.loads(watching.stdout.readline()) for _ in range(2)]
        run.close()
        last = json.loads(watching.communicate()[0].splitlines()[-1])
    assert [now["running"] for now in seen] == [True, True]
    assert not last["running"]
    assert watching.returncode == 3


# --- retry ---


def test_what_failed_is_made_when_its_cause_is_gone(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(build, "WorkerPool", WorkerPool)  # those that are warm have another working directory
    araflow("flow", "videos", "--out", "out", "--bound", "7", "--set", "run.retries=0")
    before = tree(tmp_path / "out")
    monkeypatch.chdir("/")
    shown = araflow("retry", tmp_path / "out", "--dry-run")
    assert shown.exit_code == 0
    assert shown.stdout.splitlines()[-1] == "1 clip would be tried again"
    assert (
        json.loads(araflow("retry", tmp_path / "out", "--dry-run", "--json").stdout)["clips"][0]["key"] in shown.stdout
    )
    assert tree(tmp_path / "out") == before
    shutil.move(tmp_path / "away.avi", tmp_path / "here.avi")
    result = araflow("retry", tmp_path / "out")
    assert result.exit_code == 3, result.output
    assert "trying again 1 clip (1 io-error)" in result.stderr
    assert "3 done, 1 quarantined (1 not-a-video); 1 worked on" in result.stdout.splitlines()[-1]
    shutil.copy(tmp_path / "here.avi", sorted((videos / "walk").iterdir())[1])
    # The source has changed, so that any run would make it.
    assert araflow("retry", tmp_path / "out", "--outcome", "quarantined").exit_code == 0
    araflow("flow", videos, "--out", tmp_path / "at_once", "--bound", "7")
    assert tree(tmp_path / "out") == tree(tmp_path / "at_once")
    again = araflow("retry", tmp_path / "out")
    assert again.exit_code == 0
    assert "4 done; nothing to do" in again.stdout.splitlines()[-1]


def test_what_was_refused_is_tried_again_only_when_asked(videos: Path, tmp_path: Path):
    araflow("flow", videos, "--out", tmp_path / "out", "--set", "run.retries=0")
    (tmp_path / "away.avi").rename(tmp_path / "here.avi")
    ask = ("retry", tmp_path / "out", "--json", "--outcome", "quarantined")
    assert json.loads(araflow("retry", tmp_path / "out", "--json").stdout)["made"] == 1
    assert json.loads(araflow("retry", tmp_path / "out", "--json").stdout)["made"] == 0
    assert json.loads(araflow(*ask, "--reason", "missing").stdout)["made"] == 0
    assert json.loads(araflow(*ask, "--class", "run").stdout)["made"] == 0
    assert json.loads(araflow(*ask, "--class", "walk", "--reason", "not-a-video").stdout)["made"] == 1


def test_a_moved_output_is_finished_where_it_is(videos: Path, tmp_path: Path):
    araflow("flow", videos, "--out", tmp_path / "out", "--set", "run.retries=0")
    (tmp_path / "away.avi").rename(tmp_path / "here.avi")
    (tmp_path / "out").rename(tmp_path / "moved")
    assert "3 done" in araflow("retry", tmp_path / "moved").stdout.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_retried_says_why_and_forgets_nothing(videos: Path, tmp_path: Path):
    out = tmp_path / "out"
    araflow("flow", videos, "--out", out, "--set", "run.retries=0")
    before = tree(out)
    for arguments, said in (
        (("--class", "wlk"), "--class wlk: allowed: run, walk; did you mean walk?"),
        (("--reason", "io"), "--reason io: allowed: complete, missing"),
    ):
        result = araflow("retry", out, *arguments)
        assert (result.exit_code, said in result.stderr) == (1, True), result.output
    with open_store(out).locked():
        assert "a run is at work here" in araflow("retry", out).stderr
    videos.rename(tmp_path / "gone")
    assert str(videos) in araflow("retry", out).stderr
    assert tree(out) == before
    (out / ".araflow" / "build.json").unlink()
    assert "an older araflow" in araflow("retry", out).stderr
    (out / "manifest.parquet").unlink()
    assert "stopped before its clips were listed" in araflow("retry", out).stderr


def test_a_machine_that_would_make_done_clips_in_another_way_makes_none(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    out = tmp_path / "out"
    araflow("flow", videos, "--out", out, "--set", "run.retries=0")
    before = tree(out)
    whole = resolved.resolve

    def elsewhere(*arguments: object, **more: object) -> object:
        return dataclasses.replace(whole(*arguments, **more), fingerprint="another", why="the GPU is gone", absent="")

    monkeypatch.setattr(resolved, "resolve", elsewhere)
    refused = araflow("retry", out)
    assert refused.exit_code == 1
    assert "in another way (the GPU is gone), and 2 done ones anew" in refused.stderr
    assert tree(out) == before


# --- clean ---


def made(key: str) -> ClipRecord:
    """The proof of a clip of two frames of 100 bytes."""
    fields = {"source_sha256": "ab" * 32, "fingerprint": "f", "width": 96, "height": 64, "frames": 2, "flows": 1}
    return ClipRecord(key, Outcome.DONE, "complete", rgb_bytes=200, flow_bytes=200, bound=20.0, **fields)


def plant(out: Path) -> dict[str, int]:
    """Put one of each kind of rubbish into an output; return path and size."""
    state = out / ".araflow"
    planted: dict[str, int] = {}

    def write(path: Path, size: int, item: Path | None = None) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * size)
        name = (item or path).relative_to(out).as_posix()
        planted[name] = planted.get(name, 0) + size

    dead = state / "work" / ("d" * 32)
    write(dead / "half" / "rgb" / "0000.png", 1000, dead)
    write(dead.with_suffix(".lock"), 0)
    write(out / DRAFT, 11)
    write(state / DRAFT, 12)
    write(state / "ranges" / DRAFT, 13)
    write(state / "ranges" / "range-0001.json", 14)
    for old in (out / "clips" / "walk" / "old", out / "clips" / "jump" / "over" / "old"):
        for name in ("rgb/0000.png", "rgb/0001.png", "u/0000.jpg", "v/0000.jpg"):
            write(old / name, 100, old)
        proof = layout.encode(made(old.relative_to(out / "clips").as_posix()))
        (old / ".araflow.json").write_bytes(proof)
        planted[old.relative_to(out).as_posix()] += len(proof)
    for kind in ("drawn", "unpacked"):
        write(state / f"{kind}-{'0' * 16}" / "videos" / "walk" / "a.avi", 15, state / f"{kind}-{'0' * 16}")
    record = ClipRecord("walk/old", Outcome.FAILED, "io-error: gone", fingerprint="f")
    with open_store(out).session() as store:
        store.write_record(record)
    (path,) = (path for path in (state / "records").glob("*.json") if "walk/old" in path.read_text())
    planted[path.relative_to(out).as_posix()] = path.stat().st_size
    return planted


def test_rubbish_is_shown_then_removed_and_nothing_else(videos: Path, tmp_path: Path):
    out = tmp_path / "out"
    araflow("flow", videos, "--out", out, "--set", "run.retries=0")
    # What looks alike but is none: folders of the user's own, and the work of a process that lives.
    for own in (
        "clips/mine/rgb/a.png",
        "clips/walk/notes.part",
        "notes/a.part",
        ".araflow/unpacked",
        "clips/half/rgb/a",
        "holiday.mp4.part",
        "manifest.parquet.part",
        ".araflow/records/notes.json",
        ".araflow/ranges/notes.json",
        ".araflow/work/notes/mine",
        f".araflow/work/{'e' * 32}/mine",
        ".araflow/drawn-by-hand/mine",
        ".araflow/unpacked-0/mine",
        "clips/walk/half/.araflow.json",
        "clips/walk/half/rgb/0000.png",
    ):
        (out / own).parent.mkdir(parents=True, exist_ok=True)
        (out / own).write_text("mine")
    before = tree(out)
    assert araflow("clean", out).stdout == "can go: 0 items, 0 bytes\n"
    planted = plant(out)
    with_rubbish = tree(out)
    shown = araflow("clean", out)
    assert tree(out) == with_rubbish
    assert shown.stdout.splitlines()[-1] == f"can go: 11 items, {sum(planted.values()):,} bytes; --yes removes them"
    content = json.loads(araflow("clean", out, "--json").stdout)
    assert {item["path"]: item["bytes"] for item in content["items"]} == planted
    assert not content["removed"]
    with open_store(out).session() as alive:
        (alive.work / "half" / "rgb").mkdir(parents=True)
        (alive.work / "half" / "rgb" / "0.png").write_text("being written")
        done = araflow("clean", out, "--yes")
        assert done.exit_code == 0, done.output
        assert done.stdout.splitlines()[-1] == f"removed: 11 items, {sum(planted.values()):,} bytes"
        assert (alive.work / "half" / "rgb" / "0.png").exists()
    assert tree(out) == before
    assert not (out / "clips" / "jump").exists(), "no empty class folders stay"
    assert araflow("clean", out, "--yes").stdout == "removed: 0 items, 0 bytes\n"


def test_removing_a_clip_that_is_cut_short_leaves_no_half_of_it(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    out = tmp_path / "out"
    araflow("flow", videos, "--out", out, "--set", "run.retries=0")
    plant(out)

    def cut(path: Path, **_: object) -> None:
        if (Path(path) / "rgb").is_dir():
            (Path(path) / ".araflow.json").unlink()
            raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(_rubbish.shutil, "rmtree", cut)
        assert araflow("clean", out, "--yes").exit_code == 1
    assert len(list(out.glob("clips/**/old"))) == 1, "one is gone, and the other is whole"
    assert all((path / ".araflow.json").is_file() for path in out.glob("clips/**/old"))
    assert araflow("clean", out, "--yes").exit_code == 0
    assert not list(out.glob("clips/**/old"))


def test_a_run_at_work_is_left_alone(videos: Path, tmp_path: Path):
    out = tmp_path / "out"
    araflow("flow", videos, "--out", out, "--set", "run.retries=0")
    planted = plant(out)
    with open_store(out).locked():
        (out / DRAFT).write_text("being written")
        for option in ((), ("--yes",)):
            result = araflow("clean", out, *option)
            assert result.exit_code == 1
            assert "a run is at work here" in result.stderr
        assert (out / DRAFT).exists()
    assert (out / "clips" / "walk" / "old").exists()
    assert len(planted) == 11


def test_what_the_manifest_or_the_note_lists_stays(videos: Path, tmp_path: Path):
    out = tmp_path / "out"
    araflow("flow", videos, "--out", out, "--set", "run.retries=0")
    clips = sorted((out / "clips" / "run").iterdir())
    gone = out / ".araflow" / "build.json"
    note = gone.read_text()
    gone.unlink()
    assert json.loads(araflow("clean", out, "--json").stdout)["items"] == []
    gone.write_text(note)
    (out / "manifest.parquet").unlink()
    assert json.loads(araflow("clean", out, "--json").stdout)["items"] == []
    gone.unlink()
    assert json.loads(araflow("clean", out, "--yes", "--json").stdout)["items"] == []
    assert sorted((out / "clips" / "run").iterdir()) == clips
    for broken in ("manifest.parquet", ".araflow/build.json"):
        (out / broken).write_text("broken")
        result = araflow("clean", out, "--yes")
        assert (result.exit_code, "all of them stay" in result.stderr) == (0, True)
        (out / broken).unlink()
    assert sorted((out / "clips" / "run").iterdir()) == clips


def test_clips_of_a_class_that_is_no_longer_built_can_go_once_the_manifest_is_without_them(
    videos: Path, tmp_path: Path
):
    out = tmp_path / "out"
    araflow("flow", videos, "--out", out, "--set", "run.retries=0")
    keys = sorted(path.relative_to(out).as_posix() for path in out.glob("clips/run/*"))
    shutil.rmtree(videos / "run")
    (tmp_path / "away.avi").rename(tmp_path / "here.avi")
    araflow("flow", videos, "--out", out)
    found = json.loads(araflow("clean", out, "--json").stdout)["items"]
    assert [item["path"] for item in found if item["kind"] == "clip that is not listed"] == keys
    araflow("clean", out, "--yes")
    assert [path.name for path in (out / "clips").iterdir()] == ["walk"]


def test_the_sample_that_is_drawn_for_other_settings_can_go(tmp_path: Path):
    small = ["dataset.sample.clips_per_class=1", "dataset.classes=[walk]", "split.protocol=random"]
    for width in (64, 96):
        options = [option for text in [*small, f"dataset.sample.width={width}"] for option in ("--set", text)]
        araflow("flow", "--config", "sample", "--out", tmp_path / "out", *options)
    drawn = sorted((tmp_path / "out" / ".araflow").glob("drawn-*"), key=lambda path: path.stat().st_mtime)
    found = json.loads(araflow("clean", tmp_path / "out", "--yes", "--json").stdout)["items"]
    assert [(item["kind"], item["path"]) for item in found] == [
        ("superseded source", drawn[0].relative_to(tmp_path / "out").as_posix())
    ]
    assert [path.exists() for path in drawn] == [False, True]


# --- log lines ---


def test_log_lines_are_json_and_standard_output_is_what_it_was(videos: Path, tmp_path: Path):
    options = ("--set", "run.retries=0", "--json")
    plain = araflow("flow", videos, "--out", tmp_path / "a", *options)
    result = araflow("--log-json", "flow", videos, "--out", tmp_path / "b", *options)
    said = lines(result.stderr)
    assert len(said) == 5
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"]) for line in said)
    assert (said[0]["level"], said[0]["logger"]) == ("info", "araflow.build.resolved")
    bad = {line["outcome"]: line for line in said[2:4]}
    assert said[4]["message"].startswith("audit: ")
    assert bad["failed"]["reason"].startswith("io-error: ")
    assert bad["quarantined"]["clip"].startswith("walk/")
    assert f"{bad['quarantined']['clip']}: quarantined: not-a-video" in bad["quarantined"]["message"]
    assert bad["quarantined"]["message"] in plain.stderr.splitlines()
    first, second = (json.loads(one.stdout) for one in (plain, result))
    assert {**first, "seconds": 0, "manifest": "", "picture": ""} == {
        **second,
        "seconds": 0,
        "manifest": "",
        "picture": "",
    }
    assert not json_log.wanted(), "it ends with the command"


def test_errors_are_json_too_by_option_or_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (by_option,) = lines(araflow("--log-json", "status", tmp_path / "no").stderr)
    assert (by_option["level"], by_option["message"]) == ("error", f"{tmp_path}/no: no such folder")
    monkeypatch.setenv("ARAFLOW_LOG_JSON", "1")
    (by_variable,) = lines(araflow("status", tmp_path / "no").stderr)
    assert by_variable["message"] == by_option["message"]
    monkeypatch.setenv("ARAFLOW_LOG_JSON", "0")
    assert araflow("status", tmp_path / "no").stderr.startswith("error: ")


def test_there_is_no_bar_on_a_terminal(videos: Path, tmp_path: Path):
    command = ["--log-json", "flow", str(videos), "--out", str(tmp_path / "out"), "--set", "run.retries=0"]
    status, said = in_terminal(Path.cwd(), 80, os.environ, *command, piped=True)
    assert status == 3
    assert len(lines(said)) == 5  # which backend, those that are absent, two clips, what the audit has read
