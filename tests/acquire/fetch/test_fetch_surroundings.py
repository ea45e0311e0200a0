"""Other processes, disks that are full or read-only, logs: what a download must get along with."""

import json
import os
import re
import resource
import tempfile
import threading
from pathlib import Path

import pytest
from ranged_server import BODY, SHA256, Served, answer, half, start
from unreadable import as_nobody

from araflow.acquire import fetch
from araflow.acquire.fetch import _pace as pace
from araflow.core.errors import FetchError


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    monkeypatch.setattr(fetch, "_PAUSE", 0.0)


@pytest.fixture
def target(tmp_path):
    return tmp_path / "cache" / "videos.zip"


def test_of_two_processes_one_fetches_and_the_other_says_that_it_waits(web, target):
    begun, go = threading.Event(), threading.Event()
    served = Served()
    web.files["/a"] = lambda handler: (begun.set(), go.wait(20), served(handler))
    first = start(web, target)
    assert begun.wait(20)
    second = start(web, target)
    line = second.stdout.readline()
    go.set()
    outputs = [process.communicate(timeout=20)[0] for process in (first, second)]
    assert line == "videos.zip: waiting, since another process is downloading it\n"
    assert [process.returncode for process in (first, second)] == [0, 0], outputs
    assert [output.splitlines()[-1] for output in outputs] == [SHA256] * 2
    assert web.requests == ["/a"]
    assert target.read_bytes() == BODY


def test_a_disk_that_fills_up_is_an_error_of_ours_and_the_same_command_resumes(web, target):
    web.files["/a"] = served = Served()
    limit = (100_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1])  # writes fail beyond it, as on a full disk
    process = start(web, target, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit))
    output = process.communicate(timeout=30)[0]
    assert process.returncode == 1
    assert "araflow.core.errors.FetchError" in output
    assert f"{target}: cannot be written: File too large; 100,000 bytes are kept in {target}.part" in output
    assert not target.exists()
    fetch.download([web.url("/a")], target)
    assert target.read_bytes() == BODY
    assert served.asked() == [None, "bytes=100000-"]


def test_what_does_not_fit_on_the_disk_is_not_begun(web, target, monkeypatch):
    served = Served()
    half(web, target, monkeypatch, served)
    sidecar = json.loads(target.with_name("videos.zip.part.json").read_text())
    target.with_name("videos.zip.part.json").write_text(json.dumps(sidecar | {"length": 10**15}))
    served.content_range = f"bytes 100000-{10**15 - 1}/{10**15}"
    web.files["/b"] = BODY
    with pytest.raises(FetchError) as caught:
        fetch.download([web.url("/a"), web.url("/b")], target)
    assert str(caught.value).startswith(
        f"{target.parent}: {10**15 - 100_000:,} bytes and 67,108,864 to spare are needed, "
    )
    assert "bytes are kept in" in str(caught.value)
    assert web.requests == ["/a", "/a"]  # the next mirror's file is as long
    assert target.with_name("videos.zip.part").stat().st_size == 100_000


@pytest.fixture
def locked_folder():
    """A folder that cannot be written to; root, who may write anywhere, is somebody else meanwhile."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o555)
        with as_nobody():
            yield Path(name)
        Path(name).chmod(0o755)


def test_a_folder_that_is_read_only_is_an_error_of_ours(web, locked_folder):
    web.files["/a"] = BODY
    with pytest.raises(FetchError, match=r"videos\.zip: cannot be written: Permission denied"):
        fetch.download([web.url("/a")], locked_folder / "videos.zip")
    assert web.requests == []


def test_a_folder_in_the_files_place_is_refused_before_anything_is_fetched(web, target):
    target.mkdir(parents=True)
    with pytest.raises(FetchError, match="is a folder"):
        fetch.download([web.url("/a")], target)
    assert web.requests == []


def test_a_disk_that_fails_at_the_last_step_loses_nothing(web, target, monkeypatch):
    web.files["/a"] = served = Served()

    def full(self, target):
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as patch:
        patch.setattr(type(target), "replace", full)
        with pytest.raises(FetchError, match="No space left"):
            fetch.download([web.url("/a")], target)
    assert not target.exists()
    fetch.download([web.url("/a")], target, sha256=SHA256)
    assert target.read_bytes() == BODY
    assert served.sent <= 2 * len(BODY)


def test_a_long_download_tells_how_far_it_is(web, target, monkeypatch):
    monkeypatch.setattr(pace, "LINE_EVERY", 0.05)
    web.files["/a"] = Served(pause=0.01)
    lines, seen = [], []
    fetch.download([web.url("/a")], target, report=lines.append, progress=lambda *args: seen.append(args))
    assert re.fullmatch(r"videos\.zip: \d+ % of 200\.0 kB, \d+\.\d [kM]B/s, \d s left", lines[1])
    assert len(lines) >= 3
    assert seen[0] == ("videos.zip", 0, len(BODY))
    assert seen[-1] == ("videos.zip", len(BODY), len(BODY))
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)


def test_lines_come_at_most_every_thirty_seconds_and_tell_the_rate_of_this_attempt(monkeypatch):
    clock, lines = [0.0], []
    monkeypatch.setattr(pace.time, "monotonic", lambda: clock[0])
    tell = pace.Pace("a.zip", lines.append, lambda *_: None)
    tell(500_000_000, 2_000_000_000)  # of an earlier run
    for second in range(1, 71):
        clock[0] = second
        tell(500_000_000 + second * 10_000_000, 2_000_000_000)
    assert lines == [
        "a.zip: 40 % of 2.00 GB, 10.0 MB/s, 2 min 00 s left",
        "a.zip: 55 % of 2.00 GB, 10.0 MB/s, 1 min 30 s left",
    ]
    tell(0, None)  # started over, at a server that does not know the length
    clock[0] = 100.0
    tell(60_000_000, None)
    assert lines[2:] == ["a.zip: 60.0 MB, 2.0 MB/s"]
    assert tell.summary() == "760.0 MB arrived in 1 min 40 s (7.6 MB/s)"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.6, "1 min 00 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")]
)
def test_times_are_told_in_the_two_units_that_matter(seconds, text):
    assert pace.duration(seconds) == text


def test_addresses_are_shown_and_kept_without_credentials(web, target):
    secret = web.url("/a?X-Amz-Signature=s3cret&id=1").replace("//", "//me:s3cret@")
    web.files |= {
        "/a?X-Amz-Signature=s3cret&id=1": answer(503, b""),
        "/b": answer(302, b"", Location="ftp://u:s3cret@x/"),
    }
    lines = []
    with pytest.raises(FetchError) as caught:
        fetch.download([secret, web.url("/b")], target, report=lines.append)
    web.files["/a?X-Amz-Signature=s3cret&id=1"] = Served(cuts=[100_000])
    made = fetch.download([secret], target, report=lines.append)
    files = [path.read_text() for path in target.parent.glob("*.json")]
    assert "s3cret" not in "".join([str(caught.value), repr(made), *lines, *files])
    assert made.url == web.url("/a?…").replace("//", "//…@")
    assert "redirects to ftp://…@x/, which has an unsupported protocol" in str(caught.value)


@pytest.mark.parametrize("proxy", ["socks5://u:S3CRET@127.0.0.1:9", "nonsense://u:S3CRET@127.0.0.1:9"])
def test_a_proxy_that_cannot_be_used_is_named_without_its_password(web, target, monkeypatch, proxy):
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("ALL_PROXY", proxy)
    web.files["/a"] = Served()
    with pytest.raises(FetchError, match="proxy that the environment names cannot be used") as caught:
        fetch.download([web.url("/a")], target)
    assert "S3CRET" not in str(caught.value)


def test_another_host_is_told_neither_password_nor_address(web, target, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    other = web.url("/b").replace("127.0.0.1", "localhost")
    web.files |= {"/a?token=S3CRET": answer(302, b"", Location=other), "/b": (served := Served())}
    fetch.download([web.url("/a?token=S3CRET").replace("//", "//u:S3CRET@")], target)
    (asked,) = served.requests
    assert [name for name in ("authorization", "referer", "cookie") if name in asked] == []
    assert asked["host"].startswith("localhost")
