"""``araflow fetch`` as a user meets it: questions, exit statuses, what is shown, and what an interrupt leaves."""

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mirrors
import pytest
from click.testing import CliRunner, Result
from rar_writer import rar4

from araflow.acquire import archives
from araflow.cli import main

LISTED = 15
COMMAND = [sys.executable, "-m", "araflow", "fetch"]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[mirrors.Files, mirrors.Files]:
    return mirrors.draw(tmp_path_factory.mktemp("drawn"))


@pytest.fixture
def served(web, drawn, tmp_path, monkeypatch):
    videos, splits = drawn
    web.files |= mirrors.hmdb51(videos, splits) | mirrors.ucf101(videos)
    monkeypatch.setenv("ARAFLOW_REGISTRY", str(mirrors.registry(tmp_path / "registry", web.files, web.url)))
    monkeypatch.setenv("ARAFLOW_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "300")
    return web


def run(*arguments: str | Path, **options: Any) -> Result:
    result = CliRunner().invoke(main, ["fetch", *map(str, arguments)], **options)
    assert "Traceback" not in result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def videos_in(folder: Path) -> dict[str, bytes]:
    root = folder / "videos"
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*.avi"))}


# --- the licence ---


def test_without_a_terminal_and_without_the_flag_the_terms_are_shown_and_nothing_is_done(served, tmp_path):
    result = run("hmdb51", "--to", tmp_path / "to")
    assert result.exit_code == 2
    for shown in ("CC0 of the drawn", "nobody, 2026", served.url("/hmdb51_org.rar"), str(tmp_path / "to"), "GB free"):
        assert shown in result.stderr
    assert "--accept-licence" in result.stderr
    assert result.stdout == ""
    assert served.requests == []
    assert not (tmp_path / "to").exists()


def test_accepted_once_is_enough(served, tmp_path):
    assert run("hmdb51", "--to", tmp_path / "to", "--only", "walk", "--accept-licence").exit_code == 0
    assert run("hmdb51", "--to", tmp_path / "to").exit_code == 0
    assert len(videos_in(tmp_path / "to")) == LISTED


def test_a_licence_that_changed_asks_again(served, tmp_path):
    assert run("hmdb51", "--to", tmp_path / "to", "--accept-licence").exit_code == 0
    path = tmp_path / "registry" / "hmdb51.yaml"
    path.write_text(path.read_text().replace("CC0 of the drawn", "All rights reserved"))
    result = run("hmdb51", "--to", tmp_path / "to")
    assert result.exit_code == 2
    assert "All rights reserved" in result.stderr
    assert run("hmdb51", "--to", tmp_path / "to", "--accept-licence").exit_code == 0
    assert run("hmdb51", "--to", tmp_path / "to").exit_code == 0


def on_a_terminal(answer: bytes, *arguments: str | Path) -> tuple[int, str, str]:
    """Run with a terminal for standard input and answer the question; return status, output, errors."""
    keyboard, terminal = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        os.close(terminal)
        os.write(keyboard, answer)
        output, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        os.close(keyboard)
    return process.returncode, output, errors


def test_on_a_terminal_the_question_is_asked_once_and_y_accepts(served, tmp_path):
    status, output, errors = on_a_terminal(b"y\n", "hmdb51", "--to", tmp_path / "to")
    assert status == 0, errors
    assert "CC0 of the drawn" in errors
    assert "Do you accept this licence? [y/N]" in errors
    assert output.splitlines()[-1].startswith(f"{tmp_path / 'to'}: 15 clips listed: 15 ok")
    status, _, errors = on_a_terminal(b"", "hmdb51", "--to", tmp_path / "to")
    assert status == 0
    assert "accept" not in errors


@pytest.mark.parametrize("answer", [b"\n", b"\x04"], ids=["enter", "end of input"])
def test_on_a_terminal_anything_but_yes_refuses_and_nothing_is_requested(served, tmp_path, answer):
    status, output, errors = on_a_terminal(answer, "hmdb51", "--to", tmp_path / "to")
    assert status == (130 if answer == b"\x04" else 1)  # click tells the end of input from an interrupt no more than we
    assert "Traceback" not in errors
    assert output == ""
    assert served.requests == []
    assert not (tmp_path / "to").exists()


# --- what is shown ---


def test_the_last_line_says_what_is_there_and_a_table_each_class(served, tmp_path):
    result = run("hmdb51", "--to", tmp_path / "to", "--accept-licence")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert re.fullmatch(rf"{tmp_path / 'to'}: 15 clips listed: 15 ok; \d+\.\d kB", lines[-1])
    assert lines[-2] == f"per clip: {tmp_path / 'to' / 'clips.csv'}"
    for label in mirrors.CLASSES:
        assert any(label in line and "3" in line for line in lines)


def test_json_is_all_that_standard_output_holds(served, tmp_path):
    result = run("hmdb51", "--to", tmp_path / "to", "--accept-licence", "--json")
    content = json.loads(result.stdout)
    assert content["name"] == "hmdb51"
    assert content["folder"] == str(tmp_path / "to")
    assert content["total"] == {"listed": 15, "ok": 15, "replaced": 0, "corrupt": 0, "missing": 0}
    assert len(content["classes"]) == 5
    assert content["bytes"] > 0
    assert content["remarks"] == []


@pytest.mark.parametrize("also", [[], ["--json"], ["--accept-licence"], ["--accept-licence", "--json"]], ids=" ".join)
def test_a_dry_run_asks_no_server_and_writes_nothing(served, tmp_path, also):
    before = sorted(tmp_path.rglob("*"))
    result = run("hmdb51", "--to", tmp_path / "to", "--dry-run", *also)
    assert result.exit_code == 0
    assert served.requests == []
    assert sorted(tmp_path.rglob("*")) == before
    if "--json" in also:
        content = json.loads(result.stdout)
        assert [file["what"] for file in content["files"]] == ["videos", "splits"]
        assert content["licence"] == "CC0 of the drawn"
        assert content["licence_accepted"] is False
    else:
        for shown in ("CC0 of the drawn", "nobody, 2026", served.url("/hmdb51_org.rar"), "splits: "):
            assert shown in result.stdout


def test_a_dry_run_after_a_fetch_says_that_all_is_there(served, tmp_path):
    run("hmdb51", "--to", tmp_path / "to", "--accept-licence")
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    result = run("hmdb51", "--to", tmp_path / "to", "--dry-run")
    assert "nothing to download: it is there" in result.stdout
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == before


def test_a_dry_run_with_files_of_ones_own_names_them_and_no_download_of_videos(served, tmp_path):
    (tmp_path / "mine.rar").write_bytes(served.files["/hmdb51_org.rar"])
    result = run("hmdb51", "--from", tmp_path / "mine.rar", "--dry-run")
    assert f"{tmp_path / 'mine.rar'} (yours)" in result.stdout
    assert "/hmdb51_org.rar" not in result.stdout
    content = json.loads(run("hmdb51", "--from", tmp_path / "mine.rar", "--dry-run", "--json").stdout)
    assert [file["what"] for file in content["files"]] == ["splits"]


def test_a_dry_run_with_a_file_that_is_not_there_says_so(served, tmp_path):
    result = run("hmdb51", "--from", tmp_path / "nowhere.rar", "--dry-run")
    assert result.exit_code != 0
    assert "nowhere.rar" in result.stderr


def test_the_help_has_examples_and_exit_statuses():
    text = " ".join(run("--help").output.split())
    for shown in ("araflow fetch hmdb51 --dry-run", "--from hmdb51_org.rar", "Exit status: 0", "130 interrupted"):
        assert shown in text
    for name in ("hmdb51", "ucf101", "kinetics400", "kinetics600", "kinetics700_2020"):
        assert name in text


# --- what may be asked for ---


@pytest.mark.parametrize("only", [["walk,push"], ["walk", "push"], [" walk , push,"], ["walk,", "push"]], ids=str)
def test_classes_are_named_by_commas_or_repeatedly(served, tmp_path, only):
    options = [word for text in only for word in ("--only", text)]
    result = run("hmdb51", "--to", tmp_path / "to", "--accept-licence", *options)
    assert result.exit_code == 0
    assert {name.partition("/")[0] for name in videos_in(tmp_path / "to")} == {"walk", "push"}
    assert "6 clips listed: 6 ok" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["hmdb51", "--only", "wlak"], "'wlak' is not a class of hmdb51; did you mean walk?"),
        (["hmdb51", "--only", "walk,walk"], "walk"),
        (["hmdb51", "--mirror", "nowhere"], "known: 127.0.0.1"),
        (["hmdb52"], "did you mean hmdb51?"),
        (["sample"], "sample: nothing to fetch; datasets with an address: hmdb51, ucf101"),
        (["folder"], "folder: nothing to fetch"),
        (["kinetics400"], "kinetics400"),
        (["hmdb51", "--split", "val"], "for Kinetics"),
        (["hmdb51", "--clips-per-class", "2"], "for Kinetics"),
        (["hmdb51", "--clips-per-class", "many"], "clips_per_class"),
        (["hmdb51", "--split", "nowhere"], "nowhere"),
        ([], "NAME"),
        (["hmdb51", "--nonsense"], "--nonsense"),
    ],
    ids=" ".join,
)
def test_a_wrong_option_is_refused_with_what_would_be_right_and_nothing_is_asked_for(
    served, tmp_path, arguments, message
):
    result = run(*arguments, "--accept-licence")
    assert result.exit_code in (1, 2)
    assert message in result.stderr
    assert result.stdout == ""
    assert served.requests == []
    assert not (tmp_path / "cache").exists()


def test_what_one_has_may_be_given_several_times_and_as_files_or_folders(served, drawn, tmp_path):
    videos, splits = drawn
    for name, data in mirrors.below("loose", {n: d for n, d in videos.items() if n.startswith("walk/")}).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    rest = {n: d for n, d in videos.items() if not n.startswith("walk/")}
    (tmp_path / "rest.zip").write_bytes(mirrors.zipped(rest))
    (tmp_path / "lists.rar").write_bytes(rar4(splits))
    given = [word for name in ("loose", "rest.zip", "lists.rar") for word in ("--from", tmp_path / name)]
    result = run("hmdb51", "--to", tmp_path / "to", *given, "--accept-licence")
    assert result.exit_code == 0, result.output
    assert videos_in(tmp_path / "to") == videos
    assert served.requests == []


def test_what_one_has_needs_the_licence_as_well(served, tmp_path):
    (tmp_path / "mine.rar").write_bytes(served.files["/hmdb51_org.rar"])
    result = run("hmdb51", "--from", tmp_path / "mine.rar")
    assert result.exit_code == 2
    assert "CC0 of the drawn" in result.stderr
    assert served.requests == []


@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html>", b"\0" * 2000, mirrors.zipped({"a.txt": b"a"})])
def test_something_useless_is_one_message_that_names_it(served, tmp_path, content):
    (tmp_path / "useless.rar").write_bytes(content)
    result = run("hmdb51", "--from", tmp_path / "useless.rar", "--accept-licence")
    assert result.exit_code == 1
    assert "useless.rar" in result.stderr.splitlines()[-1]
    assert served.requests == []


# --- exit statuses ---


def test_a_missing_clip_gives_status_3_and_is_counted_and_what_to_do_is_said(served, tmp_path):
    run("hmdb51", "--to", tmp_path / "to", "--accept-licence", "--delete-archives")
    next((tmp_path / "to" / "videos").rglob("*.avi")).unlink()
    served.requests.clear()
    result = run("hmdb51", "--to", tmp_path / "to")
    assert result.exit_code == 3
    assert "15 clips listed: 14 ok, 1 missing" in result.stdout.splitlines()[-1]
    assert served.requests == []
    assert run("hmdb51", "--to", tmp_path / "to", "--json").exit_code == 3
    assert "--from" in result.output


def test_a_failed_download_gives_status_1_and_one_message(served, tmp_path):
    del served.files["/hmdb51_org.rar"]
    result = run("hmdb51", "--to", tmp_path / "to", "--accept-licence")
    assert result.exit_code == 1
    assert "404" in result.stderr
    assert "error: " in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("content", ["{", '{"name": "ucf101"}', '{"name": "hmdb51", "licence": []}'])
def test_a_damaged_or_foreign_record_gives_status_1_and_one_message(served, tmp_path, content):
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "dataset.json").write_text(content)
    for also in ([], ["--dry-run"], ["--accept-licence"]):
        result = run("hmdb51", "--to", tmp_path / "to", *also)
        assert result.exit_code == 1
        assert "dataset.json" in result.stderr or "'ucf101'" in result.stderr
    assert served.requests == []
    assert [path.name for path in (tmp_path / "to").iterdir() if path.name != ".lock"] == ["dataset.json"]


def test_a_file_in_the_place_of_the_folder_gives_status_1(served, tmp_path):
    (tmp_path / "to").write_text("a file")
    result = run("hmdb51", "--to", tmp_path / "to", "--accept-licence")
    assert result.exit_code == 1
    assert str(tmp_path / "to") in result.stderr


def test_archives_are_deleted_where_that_is_asked_for(served, tmp_path):
    def kept() -> list[str]:
        return sorted(path.name for path in (tmp_path / "to" / "archives").rglob("*.rar"))

    run("hmdb51", "--to", tmp_path / "to", "--accept-licence")
    assert kept() == ["hmdb51_org.rar", "test_train_splits.rar"]
    assert run("hmdb51", "--to", tmp_path / "to", "--delete-archives").exit_code == 0
    assert kept() == []
    assert len(videos_in(tmp_path / "to")) == LISTED
    served.requests.clear()
    assert run("hmdb51", "--to", tmp_path / "to").exit_code == 0
    assert served.requests == []


# --- interrupts, kills, several at once ---


@pytest.fixture
def slow(served) -> Iterator[Callable[[str], None]]:
    """Make the server send half of a file and then wait."""
    go_on = threading.Event()

    def make_slow(path: str) -> None:
        data = served.files[path]

        def answer(handler: Any) -> None:
            handler.send_response(200)
            handler.send_header("Content-Type", "application/octet-stream")
            handler.send_header("Content-Length", str(len(data)))
            handler.end_headers()
            handler.wfile.write(data[: len(data) // 2])
            handler.wfile.flush()
            go_on.wait(30)

        served.files[path] = answer

    yield make_slow
    go_on.set()


def begin(*arguments: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background jobs, and so what they start, ignore SIGINT; a terminal's do not.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_download_keeps_what_arrived_and_the_same_command_completes_it(
    served, slow, drawn, tmp_path, number
):
    whole = served.files["/hmdb51_org.rar"]
    slow("/hmdb51_org.rar")
    process = begin("hmdb51", "--to", tmp_path / "to", "--accept-licence")
    try:
        wait_for(lambda: any(p.stat().st_size for p in (tmp_path / "to").rglob("*.rar.part")))
        process.send_signal(number)
        _, errors = process.communicate(timeout=20)
    finally:
        process.kill()
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert "interrupted" in errors
        assert "Traceback" not in errors
    (part,) = (tmp_path / "to").rglob("*.rar.part")
    assert whole.startswith(part.read_bytes())
    assert list((tmp_path / "to").rglob("*.rar")) == []
    served.files["/hmdb51_org.rar"] = whole
    assert run("hmdb51", "--to", tmp_path / "to").exit_code == 0, "the licence is on record"
    assert videos_in(tmp_path / "to") == drawn[0]


def test_an_interrupt_at_the_question_gives_status_130_and_nothing_is_done(served, tmp_path):
    keyboard, terminal = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "hmdb51", "--to", str(tmp_path / "to")],
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        assert process.stderr is not None
        seen = ""
        while "[y/N]" not in seen:
            letter = process.stderr.read(1)
            assert letter
            seen += letter
        for _ in range(20):  # one that comes just before the answer is waited for is noticed only after it
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(1)
                break
        assert process.returncode == 130
        assert "Traceback" not in process.stderr.read()
    finally:
        process.kill()
        process.communicate()
        os.close(terminal)
        os.close(keyboard)
    assert served.requests == []
    assert not (tmp_path / "to").exists()


def test_an_interrupt_while_unpacking_keeps_what_is_whole_and_the_same_command_completes_it(
    served, drawn, tmp_path, monkeypatch
):
    extract = archives.Archive.extract
    calls = 0

    def interrupted(*arguments: Any) -> list[archives.Member]:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise KeyboardInterrupt
        return extract(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(archives.Archive, "extract", interrupted)
        result = run("hmdb51", "--to", tmp_path / "to", "--accept-licence")
    assert result.exit_code == 130
    assert "interrupted" in result.stderr
    there = videos_in(tmp_path / "to")
    assert 0 < len(there) < LISTED
    assert all(drawn[0][name] == data for name, data in there.items())
    assert not (tmp_path / "to" / ".araflow" / "scratch").exists()
    served.requests.clear()
    assert run("hmdb51", "--to", tmp_path / "to").exit_code == 0
    assert videos_in(tmp_path / "to") == drawn[0]
    assert served.requests == ["/test_train_splits.rar"]


def test_two_at_once_on_one_folder_both_end_right_and_each_file_is_fetched_once(served, drawn, tmp_path):
    processes = [begin("hmdb51", "--to", tmp_path / "to", "--accept-licence") for _ in range(2)]
    ended = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], ended
    assert Counter(served.requests) == {"/hmdb51_org.rar": 1, "/test_train_splits.rar": 1}
    assert videos_in(tmp_path / "to") == drawn[0]
    assert not (tmp_path / "to" / ".araflow" / "scratch").exists()


def test_two_datasets_at_once_do_not_get_in_each_others_way(served, tmp_path):
    processes = [begin(name, "--accept-licence") for name in ("hmdb51", "ucf101")]
    ended = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], ended
    assert sorted(p.name for p in (tmp_path / "cache").iterdir()) == ["hmdb51", "ucf101"]
