"""What commands write to a terminal, when every name that they are given is hostile."""

import json
import os
import pty
import re
import sys
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from araflow.cli import main
from araflow.core import spec_file
from araflow.store.manifest import Manifest

HOSTILE = "\x1b]0;X\x07\x1b[31m\x9b32m\u202e\u2066\u200b\u2028\x7f\r:smile:[red]PWN[b]"
"""A title, colours, a turned direction, nothing, a new line, and markup that is shown as it is."""
SEEN = r"\x1b]0;X\x07\x1b[31m\x9b32m\u202e\u2066\u200b\u2028\x7f\r:smile:[red]PWN[b]"
OURS = re.compile(r"\x1b\[[0-9;]*m|\x1b\[2K|\x1b\[1A|\x1b\[\?25[lh]|\r\n|\r(?=\x1b\[[12])")
"""What Rich writes: colours, a bar's line that is drawn anew, the cursor."""
END = b"\x04the end\x04"
RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
Run = Callable[..., str]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs ``araflow`` in a terminal; returns what that was sent."""

    def call(*arguments: str, status: int | None = None) -> str:
        ours, theirs = pty.openpty()
        sent: list[bytes] = []

        def listen() -> None:  # until that, and not until the end: Python's resource tracker keeps standard error open
            while not sent or not sent[-1].endswith(END):
                sent.append(os.read(ours, 65536))

        listener = threading.Thread(target=listen)
        listener.start()
        with os.fdopen(theirs, "w", encoding="utf-8") as terminal, monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", terminal)
            patch.setattr(sys, "stderr", terminal)
            patch.setenv("TERM", "xterm-256color")
            patch.setenv("COLUMNS", "400")
            with pytest.raises(SystemExit) as ended:
                main([*arguments])
            terminal.write(END.decode())
        listener.join()
        os.close(ours)
        said = b"".join(sent).removesuffix(END).decode()
        assert status in (None, ended.value.code), said
        plain = OURS.sub("", said)
        assert not RAW.search(plain), repr(plain)
        assert "😄" not in said
        return plain

    return call


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """A folder whose class and videos have such names, and one that is not UTF-8."""
    folder = tmp_path / "videos"
    (folder / HOSTILE).mkdir(parents=True)
    (folder / HOSTILE / f"a{HOSTILE}.avi").write_text("no video")
    (folder / HOSTILE / os.fsdecode(b"b\xff.avi")).write_text("no video")
    (folder / HOSTILE / "c\nerror: forged.avi").write_text("no video")
    return folder


def test_names_of_videos_are_text_wherever_a_command_shows_them(run: Run, videos: Path, tmp_path: Path):
    out = tmp_path / f"out{HOSTILE}"
    settings = ["--set", "run.workers=1", "--set", "optical.backend=opencv"]
    assert f"a{SEEN}: quarantined" in run("flow", str(videos), "--out", str(out), *settings, status=3)
    assert f"{SEEN}/a{SEEN}" in run("manifest", "show", str(out), "--clips", status=0)
    run("manifest", "validate", str(out))
    assert SEEN in run("status", str(out), status=3)
    told = run("retry", str(out), "--outcome", "quarantined", "--dry-run", status=0)
    assert f"{SEEN}/a{SEEN}: quarantined" in told
    assert rf"{SEEN}/c\nerror: forged: quarantined" in told
    assert SEEN in run("retry", str(out), "--class", HOSTILE + "?", status=1)
    run("clean", str(out), status=0)
    read = json.loads(run("manifest", "show", str(out), "--clips", "--json", status=0))
    assert [row["label"] for row in read["clips"]] == [HOSTILE] * 3  # exact, as machines need it
    other = tmp_path / "other"
    other.mkdir()
    manifest = Manifest.read(out)
    Manifest(manifest.table, manifest.metadata | {"name": HOSTILE}, out).write(other / "manifest.parquet")
    assert SEEN in run("manifest", "diff", str(out), str(other))


def test_names_in_settings_and_options_are_text(run: Run, tmp_path: Path):
    file = tmp_path / f"{HOSTILE}.yaml"
    file.write_text(json.dumps({"name": "x", "out": "o", HOSTILE: 1, "split": {"protocol": HOSTILE}}))
    assert SEEN in run("plan", str(file), status=1)
    assert SEEN in run("build", "folder", f"dataset.source={tmp_path}/{HOSTILE}", f"out={tmp_path / 'o'}", status=1)
    assert SEEN in run("build", "sample", f"{HOSTILE}=1", status=1)
    for arguments in ([HOSTILE], ["status", "x", HOSTILE], ["status", f"--{HOSTILE}"], ["manifest", HOSTILE]):
        assert "PWN" in run(*arguments, status=2)
    commands = (
        ["status"],
        ["manifest", "show"],
        ["unpack", "--list"],
        ["flow", "--out", "o"],
        ["deepstream", "--out", "o"],
    )
    for command in commands:
        assert "PWN" in run(*command, str(tmp_path / HOSTILE))


def test_members_of_archives_are_text(run: Run, tmp_path: Path):
    archive = tmp_path / f"{HOSTILE}.zip"
    with zipfile.ZipFile(archive, "w") as content:
        content.writestr("a/[red]x[/red]\u202e:smile:.avi", b"x")
    assert r"a/[red]x[/red]\u202e:smile:.avi" in run("unpack", str(archive), "--list", status=0)
    with zipfile.ZipFile(archive, "a") as content:
        content.writestr(f"a/{HOSTILE}.avi", b"x")
    assert "control characters in its name" in run("unpack", str(archive), "--to", str(tmp_path / "to"), status=1)


def test_a_registry_is_text(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    about = {"name": "hmdb51", "page": "x", "citation": HOSTILE, "licence": HOSTILE, "title": HOSTILE}
    source = {"mirrors": [f"http://u:S3CRET@127.0.0.1:1/{HOSTILE}?S3CRET"], "source": "x"}
    about |= {"videos": [source], "splits": [source], "classes": {"walk": 1}, "classes_source": "x"}
    (tmp_path / "hmdb51.yaml").write_text(json.dumps(about))
    monkeypatch.setenv("ARAFLOW_REGISTRY", str(tmp_path))
    monkeypatch.setenv("ARAFLOW_CACHE", str(tmp_path / "cache"))
    said = run("fetch", "hmdb51", "--dry-run", status=0) + run("build", "hmdb51", f"out={tmp_path / 'o'}", status=1)
    assert SEEN in said
    assert "S3CRET" not in said


def test_a_traceback_is_text(run: Run, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError(f"{HOSTILE} http://u:S3CRET@host/")

    said: list[str] = []
    monkeypatch.setattr(spec_file, "load", broken)
    with pytest.raises(ZeroDivisionError) as caught:
        main(["plan", "sample"])
    monkeypatch.setattr("click.echo", lambda text, err: said.append(text))
    sys.excepthook(*caught._excinfo)
    assert f"ZeroDivisionError: {SEEN} http://…@host/" in said[0].splitlines()[-1]
    assert not RAW.search(said[0].replace("\n", ""))
