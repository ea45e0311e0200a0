"""Servers that mean harm, or are broken: each is a line within a bounded time, and the next mirror is taken."""

import contextlib
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from araflow.acquire import fetch
from araflow.core.errors import FetchError

pytestmark = pytest.mark.timeout(30)
DATA = b"PK\x03\x04" + bytes(3000)
Answer = Callable[[socket.socket], None]


@contextlib.contextmanager
def listening(answer: Answer) -> Iterator[str]:
    """A server that reads a request, and does with the connection what it likes."""

    def serve(one: socket.socket) -> None:
        with one, contextlib.suppress(OSError):
            one.recv(65536)
            answer(one)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/x.zip"
        listener.shutdown(socket.SHUT_RDWR)


def head(*headers: str, status: str = "200 OK") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, "", ""]).encode()


LENGTH = f"Content-Length: {len(DATA)}"


def again(data: bytes, first: bytes = b"", pause: float = 0.0) -> Answer:
    def answer(one: socket.socket) -> None:
        one.sendall(first)
        while True:
            one.sendall(data)
            time.sleep(pause)

    return answer


def said(data: bytes) -> Answer:
    return lambda one: one.sendall(data)


CHUNKED = head("Transfer-Encoding: chunked")
FIRST = b"200\r\nPK\x03\x04" + bytes(508) + b"\r\n"
NO_ANSWER, SLOW = "sent no whole answer within", "too slow: "


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        pytest.param(again(b"a", head(LENGTH) + DATA[:1000], 0.1), SLOW, id="a byte now and then"),
        pytest.param(again(b"a", head() + DATA[:1000], 0.1), SLOW, id="likewise, without a length"),
        pytest.param(again(b"1\r\na\r\n", CHUNKED + FIRST, 0.1), SLOW, id="likewise, in chunks"),
        pytest.param(again(b"0", CHUNKED + FIRST, 0.1), SLOW, id="a chunk's length without end"),
        pytest.param(again(b"a", CHUNKED + FIRST + b"0\r\nX: ", 0.1), SLOW, id="a trailer without end"),
        pytest.param(again(b"a", b"HTTP/1.1 200 OK\r\nX: ", 0.1), NO_ANSWER, id="a header without end"),
        pytest.param(again(b"HTTP/1.1 100 Continue\r\n\r\n", pause=0.001), NO_ANSWER, id="continue"),
        pytest.param(again(b"HTTP/1.1 103 Early Hints\r\n\r\n"), NO_ANSWER, id="hints at full speed"),
        pytest.param(again(b"X: a\r\n", b"HTTP/1.1 200 OK\r\n"), "x.zip: ", id="headers at full speed"),
        pytest.param(said(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 2_000_000 + b"\r\n\r\n"), "x.zip: ", id="a long header"),
        pytest.param(said(head(f"Content-Length: {2**59}") + DATA), "are free", id="length of 2^59"),
        pytest.param(said(head(f"Content-Length: {'9' * 5000}") + DATA), "x.zip: ", id="length of 5,000 digits"),
        pytest.param(said(head("Content-Length: -5") + DATA), "x.zip: ", id="length below 0"),
        pytest.param(said(head("Content-Length: 5", "Content-Length: 7") + DATA), "x.zip: ", id="two lengths"),
        pytest.param(said(CHUNKED + b"fffffffffffffffff\r\n" + DATA), "x.zip: ", id="chunk of 2^68"),
        pytest.param(said(head(f"Retry-After: {'9' * 400}", status="503 Busy")), "too long", id="retry after ages"),
        pytest.param(said(head("Retry-After: Mon, 01 Jan 99999 00:00:00 GMT", status="503 B")), "503", id="odd date"),
        pytest.param(said(head("Location: ftp://x/y", "Content-Length: 0", status="302 F")), "protocol", id="ftp"),
        pytest.param(said(head("Location: /x", "Content-Length: 0", status="302 F")), "redirects", id="circle"),
        pytest.param(said(head("Location: http://[", "Content-Length: 0", status="302 F")), "x.zip: ", id="no address"),
        pytest.param(said(b""), "x.zip: ", id="nothing"),
    ],
)
def test_each_is_a_line_and_the_next_mirror_is_taken(
    answer: Answer, message: str, web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARAFLOW_PATIENCE", "0.4")
    monkeypatch.setattr(fetch, "_PAUSE", 0.0)
    web.files["/good"] = DATA
    lines: list[str] = []
    with listening(answer) as bad:
        fetch.download([bad, web.url("/good")], tmp_path / "x.zip", report=lines.append)
    assert (tmp_path / "x.zip").read_bytes() == DATA
    assert any(message in line for line in lines)
    assert all("\n" not in line and len(line) < 500 for line in lines)


def test_a_server_that_says_nothing_is_given_up(web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARAFLOW_PATIENCE", "0.2")
    monkeypatch.setattr(fetch, "_PAUSE", 0.0)
    with listening(lambda one: time.sleep(5)) as bad, pytest.raises(FetchError, match="given up after 5 attempts"):
        fetch.download([bad], tmp_path / "x.zip")


@pytest.mark.parametrize("framed", [False, True], ids=["plain", "chunked"])
def test_a_body_without_end_takes_half_of_the_free_space_at_most(
    framed: bool, web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = 100 << 20
    usage = type(shutil.disk_usage(tmp_path))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(2 * free, free, free))
    web.files["/good"] = DATA
    block = bytes(1 << 20)
    endless = again(b"100000\r\n" + block + b"\r\n", CHUNKED + FIRST) if framed else again(block, head() + DATA)
    sizes: list[int] = []
    with listening(endless) as bad:
        fetch.download(
            [bad, web.url("/good")], tmp_path / "x.zip", progress=lambda name, done, total: sizes.append(done)
        )
    assert (tmp_path / "x.zip").read_bytes() == DATA
    assert free / 2 < max(sizes) < free / 2 + (2 << 20)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.zip", "x.zip.fetched.json", "x.zip.lock"]


@pytest.mark.parametrize(("name", "value"), [("ARAFLOW_PATIENCE", "0"), ("ARAFLOW_LEAST_RATE", "fast")])
def test_a_limit_that_is_no_number_is_named(
    name: str, value: str, web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(FetchError, match=f"{name}: '{value}' is not allowed"):
        fetch.download([web.url("/x")], tmp_path / "x.zip")


def test_a_slow_server_is_waited_for_where_any_rate_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARAFLOW_PATIENCE", "0.2")
    monkeypatch.setenv("ARAFLOW_LEAST_RATE", "0")

    def slowly(one: socket.socket) -> None:
        one.sendall(head(LENGTH) + DATA[:-20])
        for byte in DATA[-20:]:
            one.sendall(bytes([byte]))
            time.sleep(0.05)

    with listening(slowly) as url:
        assert fetch.download([url], tmp_path / "x.zip").size == len(DATA)
