"""Servers that are busy, slow or silent: how often and how long each is waited for."""

import email.utils
import threading
import time

import pytest
from ranged_server import BODY, HALF, SHA256, Served, answer, in_turn, left

from araflow.acquire import fetch
from araflow.core.errors import FetchError


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    monkeypatch.setattr(fetch, "_PAUSE", 0.0)


@pytest.fixture
def target(tmp_path):
    return tmp_path / "cache" / "videos.zip"


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_server_that_is_busy_is_asked_again(web, target, status):
    web.files["/a"] = in_turn(answer(status, b"busy"), answer(status, b"busy"), Served())
    fetch.download([web.url("/a")], target, sha256=SHA256)
    assert web.requests == ["/a"] * 3


def test_pauses_grow_and_vary_and_what_the_server_asks_for_is_kept(web, target, monkeypatch):
    slept = []
    monkeypatch.setattr(fetch, "_PAUSE", 1.0)
    monkeypatch.setattr(fetch.time, "sleep", slept.append)
    date = email.utils.formatdate(time.time() + 3600 + 50, usegmt=True)
    clock = email.utils.formatdate(time.time() + 3600, usegmt=True)  # a server whose clock is an hour ahead

    def by_date(handler):
        handler.date_time_string = lambda: clock
        answer(503, b"", Retry_After=date)(handler)

    web.files["/a"] = in_turn(answer(503, b""), answer(429, b"", Retry_After="7"), by_date, answer(503, b""), Served())
    fetch.download([web.url("/a")], target)
    slept = [seconds for seconds in slept if seconds > 0.1]
    assert 0.5 <= slept[0] <= 1.5
    assert slept[1] == 7
    assert 49 <= slept[2] <= 51
    assert 4 <= slept[3] <= 12
    assert target.read_bytes() == BODY


def test_a_server_that_wants_to_be_left_alone_for_long_is_left_for_the_next_mirror(web, target):
    web.files |= {"/a": answer(429, b"", Retry_After="3600"), "/b": BODY}
    lines = []
    fetch.download([web.url("/a"), web.url("/b")], target, report=lines.append)
    assert web.requests == ["/a", "/b"]
    assert lines[0].endswith("answered 429 Too Many Requests; asks to wait 3,600 s, which is too long")


def test_attempts_are_counted_anew_while_bytes_arrive_and_end_when_none_do(web, target):
    web.files["/a"] = served = Served(cuts=[20_000] * 9 + [0] * 99)
    with pytest.raises(FetchError, match="given up after 5 attempts without progress"):
        fetch.download([web.url("/a")], target)
    assert len(served.requests) == 9 + 4
    assert left(target) == HALF


def test_a_server_without_ranges_that_cuts_every_time_is_given_up(web, target):
    web.files["/a"] = served = Served(ranges=False, cuts=[150_000, 140_000] * 50)
    with pytest.raises(FetchError, match="given up after 5 attempts"):
        fetch.download([web.url("/a")], target)
    assert len(served.requests) == 5


def test_a_socket_that_stalls_is_noticed_and_the_rest_is_fetched_anew(web, target, monkeypatch):
    monkeypatch.setenv("ARAFLOW_PATIENCE", "0.6")
    go = threading.Event()
    served = Served(cuts=[100_000])
    stalls = in_turn(
        lambda handler: (served(handler), handler.wfile.flush(), go.wait(20)), lambda handler: served(handler)
    )
    web.files["/a"] = stalls
    lines = []
    fetch.download([web.url("/a")], target, report=lines.append)
    go.set()
    assert target.read_bytes() == BODY
    assert served.asked() == [None, "bytes=100000-"]
    assert "timed out; trying again" in lines[1]
