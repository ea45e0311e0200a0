"""Only regular files are opened: whatever else has a file's name is an error at once."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from araflow.core.reading import NotAFileError, json_of, open_file, read_file


def pipe(path: Path) -> None:
    os.mkfifo(path)


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def circle(path: Path) -> None:
    path.symlink_to(path.name)


def folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    ("make", "kind"),
    [(pipe, "named pipe"), (a_socket, "socket"), (device, "device"), (circle, "circle"), (folder, "folder")],
)
def test_what_is_no_file_is_not_opened(
    make: Callable[[Path], None], kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's name must be short
    make(Path("x"))
    with pytest.raises(NotAFileError, match=kind):
        open_file("x")


@pytest.mark.timeout(10)
def test_what_becomes_a_pipe_between_look_and_opening_does_not_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    regular, fifo = tmp_path / "a", tmp_path / "b"
    regular.touch()
    os.mkfifo(fifo)
    status = regular.stat()
    monkeypatch.setattr(os, "stat", lambda *_, **__: status)
    with pytest.raises(NotAFileError, match="named pipe"):
        open_file(fifo)


def test_a_file_is_read_up_to_its_bound(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"12345")
    (tmp_path / "link").symlink_to("x")
    assert read_file(tmp_path / "link", 5) == b"12345"
    with pytest.raises(OSError, match="larger than the 4 bytes"):
        read_file(tmp_path / "x", 4)


@pytest.mark.parametrize("text", ["[" * 200_000, '{"a":' * 200_000, "{", "9" * 5000])
def test_json_that_is_none_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        json_of(text)
    assert len(str(caught.value)) < 200
