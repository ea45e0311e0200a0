"""A file is there whole or not at all, and what went wrong is said with its path."""

import errno
import json
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from araflow.core import files
from araflow.core.errors import OutputError, SourceError


def half_made(path: Path) -> Path:
    """What a process leaves that is killed while it writes a file; return the draft."""
    pid = os.fork()
    if not pid:
        with files.draft(path) as part:
            part.write_bytes(b"o")
            os._exit(0)
    os.waitpid(pid, 0)
    (left,) = (one for one in path.parent.iterdir() if files.is_draft(one.name))
    return left


def test_replace_writes_only_what_is_new(tmp_path: Path):
    file = tmp_path / "a.bin"
    files.replace(file, b"one")
    status = file.stat()
    left = half_made(tmp_path / "a.bin")
    files.replace(file, b"one")
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (status.st_ino, status.st_mtime_ns)
    assert not left.exists()
    files.replace(file, b"two")
    assert file.read_bytes() == b"two"
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]


@given(there=st.none() | st.binary(max_size=9), content=st.binary(max_size=9), chunk=st.integers(1, 4))
def test_afterwards_it_says_what_it_shall(there: bytes | None, content: bytes, chunk: int, tmp_path_factory):
    file = tmp_path_factory.mktemp("any") / "a.bin"
    if there is not None:
        file.write_bytes(there)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "_CHUNK", chunk)
        files.replace(file, content)
    assert file.read_bytes() == content
    assert len(list(file.parent.iterdir())) == 1


@pytest.mark.parametrize("fault", ["write", "sync", "rename"])
def test_what_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    file = tmp_path / "a.bin"
    file.write_bytes(b"old")
    owner, name = {"write": (Path, "write_bytes"), "sync": (os, "fsync"), "rename": (Path, "replace")}[fault]
    monkeypatch.setattr(owner, name, full)
    refused = pytest.raises(OutputError, match=r"a\.bin: cannot be written: No space left")
    with refused, files.explained(file, "cannot be written"):
        files.replace(file, b"new")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a.bin": b"old"}


def test_it_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    seen = []
    sync, rename = os.fsync, Path.replace
    monkeypatch.setattr(
        os, "fsync", lambda handle: (seen.append("folder" if _is_folder(handle) else "file"), sync(handle))
    )
    monkeypatch.setattr(Path, "replace", lambda self, target: (seen.append("name"), rename(self, target))[1])
    files.replace(tmp_path / "a.bin", b"new")
    assert seen == ["file", "name", "folder"]


def _is_folder(handle: int) -> bool:
    return stat.S_ISDIR(os.fstat(handle).st_mode)


def test_a_file_system_that_syncs_no_folders_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(_: int) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", refuse)
    files.replace(tmp_path / "a.bin", b"new")
    assert (tmp_path / "a.bin").read_bytes() == b"new"


def test_json_is_readable_and_keeps_names_that_are_no_text(tmp_path: Path):
    content = {"clip": "Straße", "file": os.fsdecode(b"\xff.avi"), "n": [1, None]}
    files.replace_json(tmp_path / "a.json", content)
    assert "Straße" in (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "a.json").read_bytes()) == content


def test_a_place_that_cannot_be_written_to_is_found_out_before_the_work(tmp_path: Path):
    files.check_writable(tmp_path / "new" / "a.bin")
    assert list((tmp_path / "new").iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"file/a\.bin: cannot be written: (Not a directory|File exists)"):
        files.check_writable(tmp_path / "file" / "a.bin")


def test_an_error_is_of_the_kind_that_was_asked_for_and_others_pass():
    refused = pytest.raises(SourceError, match=r"^the list: cannot be read: gone$")
    with refused, files.explained("the list", "cannot be read", SourceError):
        raise OSError("gone")
    with pytest.raises(ZeroDivisionError), files.explained("x", "cannot be read"):
        raise ZeroDivisionError


def test_several_files_are_written_with_their_folders_and_the_message_names_the_one_that_is_not(tmp_path):
    written = files.write_all({tmp_path / "a" / "b" / "one": b"1", tmp_path / "two": b"2"})
    assert written == [tmp_path / "a" / "b" / "one", tmp_path / "two"]
    assert [path.read_bytes() for path in written] == [b"1", b"2"]
    with pytest.raises(OutputError, match=r"/two/three: cannot be written: "):
        files.write_all({tmp_path / "one": b"1", tmp_path / "two" / "three": b"3"})
    assert (tmp_path / "one").read_bytes() == b"1"


def test_a_draft_is_told_from_what_lives_and_from_what_a_user_has(tmp_path: Path):
    theirs = [tmp_path / "a.bin.part", tmp_path / f".araflow-{'0' * 32}.draft", tmp_path / ".araflow-x.draft"]
    for path in theirs:
        path.write_bytes(b"mine")
    left = half_made(tmp_path / "a.bin")
    behind = left.with_name(files._begin(tmp_path)[0].name)  # its name is right, but it is a link
    behind.unlink()
    behind.symlink_to(theirs[0])
    with files.draft(tmp_path / "a.bin") as live:
        assert files.is_draft(left.name) and files.is_draft(live.name) and not left.exists()
        files.sweep(tmp_path)
        assert live.exists()
        live.write_bytes(b"whole")
    assert {path.name for path in tmp_path.iterdir()} == {"a.bin", behind.name, *(path.name for path in theirs)}
    assert all(path.read_bytes() == b"mine" for path in theirs)


def test_a_lock_leaves_what_its_file_holds_and_goes_through_no_link(tmp_path: Path):
    (tmp_path / "theirs").write_bytes(b"mine")
    (tmp_path / "link").symlink_to("theirs")
    with files.only_holder(tmp_path / "theirs"):
        refused = pytest.raises(BlockingIOError)
        with refused, files.only_holder(tmp_path / "theirs"):
            pass
    with pytest.raises(OSError, match="link"), files.only_holder(tmp_path / "link"):
        pass
    assert (tmp_path / "theirs").read_bytes() == b"mine"
