"""A file is replaced only if araflow wrote what it holds; whatever else lies there stays, byte for byte."""

import contextlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from araflow.core import files, written
from araflow.core.errors import OutputError


def tree(folder: Path) -> dict[str, bytes | str]:
    return {
        path.relative_to(folder).as_posix(): str(path.readlink()) if path.is_symlink() else path.read_bytes()
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def test_what_was_written_is_replaced_until_somebody_edits_it(tmp_path: Path):
    file = tmp_path / "new" / "labels.txt"
    assert written.write({file: b"one"}) == [file]
    written.write({file: b"two"})
    written.check([file])
    file.write_bytes(b"two, and a note")
    for refused in (lambda: written.check([file]), lambda: written.write({file: b"three"})):
        with pytest.raises(OutputError, match=r"labels\.txt: is there already, and is not what araflow wrote"):
            refused()
    assert file.read_bytes() == b"two, and a note"
    written.write({file: b"two, and a note"})  # nothing is lost by that
    with pytest.raises(OutputError):
        written.write({file: b"three"})


def test_one_that_is_the_users_keeps_all_from_being_written(tmp_path: Path):
    (tmp_path / "b").write_bytes(b"mine")
    with pytest.raises(OutputError, match=r"/b: is there already"):
        written.write({tmp_path / "a": b"1", tmp_path / "b": b"2"})
    assert tree(tmp_path) == {"b": b"mine"}


def test_a_file_that_is_ours_by_chance_is_not_ours_later(tmp_path: Path):
    file = tmp_path / "labels.txt"
    file.write_bytes(b"walk")
    written.write({file: b"walk"})
    with pytest.raises(OutputError):
        written.write({file: b"run"})
    assert file.read_bytes() == b"walk"


def test_a_killed_write_leaves_nothing_that_is_not_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """At every rename: the list says what lies there, so that the same command can go on."""

    class Killed(BaseException):
        pass

    replace = Path.replace
    for last in range(4):
        file = tmp_path / str(last) / "a"
        written.write({file: b"old"})
        left = iter(range(last, -1, -1))

        def until(self: Path, target: Path) -> Path:
            if next(left, 0) == 0:  # noqa: B023
                raise Killed
            return replace(self, target)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", until)
            with contextlib.suppress(Killed):
                written.write({file: b"new", file.with_name("b"): b"new"})
        written.write({file: b"newer", file.with_name("b"): b"newer"})
        assert file.read_bytes() == b"newer"


def test_what_an_older_version_wrote_is_taken_over_once(tmp_path: Path):
    for name in ("run.json", "notes.txt"):
        (tmp_path / name).write_bytes(b"old")
    own = [tmp_path / "run.json"]
    with pytest.raises(OutputError):
        written.check(own)
    written.check(own, adopt=True)
    written.write({own[0]: b"new"})
    with pytest.raises(OutputError):  # there is a list by now
        written.check([tmp_path / "notes.txt"], adopt=True)


PLANTS = ("file", "empty", "folder", "link", "dangling", "circle", "pipe", "junk list", "list of wrong types")


def plant(kind: str, path: Path, outside: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    match kind:
        case "file":
            path.write_bytes(b"mine")
        case "empty":
            path.touch()
        case "folder":
            path.mkdir()
            (path / "deep").write_bytes(b"mine")
        case "link":
            path.symlink_to(outside)
        case "dangling":
            path.symlink_to(outside.with_name("nowhere"))
        case "circle":
            path.symlink_to(path.name)
        case "pipe":
            os.mkfifo(path)
        case "junk list":
            path.with_name(written.LIST).write_bytes(b"[" * 100_000)
        case "list of wrong types":
            path.with_name(written.LIST).write_bytes(b'{"a": 1, "b": ["x", 2], "c": {}}')


@given(where=st.sampled_from(("a", "folder/b", "folder")), kind=st.sampled_from(PLANTS))
def test_whatever_lies_there_stays(where: str, kind: str, tmp_path_factory: pytest.TempPathFactory):
    root = tmp_path_factory.mktemp("any")
    outside = root / "outside"
    outside.mkdir()
    (outside / "b").write_bytes(b"precious")
    out = root / "out"
    plant(kind, out / where, outside)
    before = tree(root)
    try:
        written.write({out / "a": b"ours", out / "folder" / "b": b"ours"}, out)
    except OutputError:
        assert tree(root) == before, "refused before any work"
    else:
        assert not kind.endswith(("list", "types"))
        after = tree(root)
        made = {f"out/{name}" for name in ("a", "folder/b", written.LIST, f"folder/{written.LIST}")}
        assert before.items() - {(name, before[name]) for name in made & before.keys()} <= after.items()
        assert after.keys() - before.keys() <= made


def test_a_list_is_no_way_to_write_elsewhere(tmp_path: Path):
    (tmp_path / "theirs").write_bytes(b"mine")
    (tmp_path / written.LIST).symlink_to("theirs")
    with pytest.raises(OutputError, match="is not what araflow wrote"):
        written.write({tmp_path / "a": b"1"})
    assert (tmp_path / "theirs").read_bytes() == b"mine"
    assert files.link_below(tmp_path, tmp_path / "a") is None
