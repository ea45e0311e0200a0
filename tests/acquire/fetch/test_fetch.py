import gzip
import io
import tarfile
import threading
import time
import zipfile

import pytest
from ranged_server import BODY, HALF, SHA256, WHOLE, answer, left

from araflow.acquire import fetch
from araflow.core.errors import AraflowError, FetchError, SourceError


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    monkeypatch.setattr(fetch, "_PAUSE", 0.0)


@pytest.fixture
def target(tmp_path):
    return tmp_path / "cache" / "videos.zip"


def test_the_right_bytes_arrive_under_their_name(web, target):
    web.files["/a"] = BODY
    lines = []
    made = fetch.download([web.url("/a")], target, size=len(BODY), sha256=SHA256, report=lines.append)
    assert (made.path, made.url, made.size, made.sha256) == (target, web.url("/a"), len(BODY), SHA256)
    assert target.read_bytes() == BODY
    assert left(target) == WHOLE
    assert lines[0] == f"{web.url('/a')}: 200.0 kB"
    assert lines[1].startswith("videos.zip: 200.0 kB arrived in ")
    assert lines[1].endswith(f"sha256 {SHA256}")
    assert len(lines) == 2


def test_neither_size_nor_checksum_need_be_known_nor_a_length_be_announced(web, target):
    web.files["/a"] = answer(length=None)
    lines = []
    assert fetch.download([web.url("/a")], target, report=lines.append).path.read_bytes() == BODY
    assert "announced no length" in lines[1]


def tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        info = tarfile.TarInfo("walk/a.avi")
        info.size = 4
        file.addfile(info, io.BytesIO(b"clip"))
    return buffer.getvalue()


def empty_zip() -> bytes:
    buffer = io.BytesIO()
    zipfile.ZipFile(buffer, "w").close()
    return buffer.getvalue()


@pytest.mark.parametrize(
    "body",
    [
        tar(),
        empty_zip(),
        gzip.compress(b"x"),
        b"Rar!\x1a\x07\x00...",
        b"Rar!\x1a\x07\x01\x00",
        b"BZh9...",
        b"\xfd7zXZ\0",
    ],
    ids=["tar", "empty zip", "gzip", "rar3", "rar5", "bzip2", "xz"],
)
def test_every_kind_of_archive_is_known_by_its_first_bytes(web, target, body):
    web.files["/a"] = body
    assert fetch.download([web.url("/a")], target).path.read_bytes() == body


HTML = b"<!DOCTYPE html><html>Serre lab: home</html>"
WRONG = {
    "web page": (answer(body=HTML, content_type="text/html; charset=utf-8"), "answered with a web page"),
    "web page in capitals": (answer(body=HTML, content_type="Text/HTML"), "answered with a web page"),
    "web page in disguise": (answer(body=HTML, length=None), "answered with a web page"),
    "nothing": (answer(body=b""), "has 0 bytes, expected"),
    "nothing, no length": (answer(body=b"", length=None), "is empty"),
    "no content": (answer(204, b"", length=None), "answered 204 No Content"),
    "other bytes": (answer(body=BODY[:-1] + b"!"), f", expected {SHA256}"),
    "too short": (answer(body=BODY[:-1]), f"has {len(BODY) - 1:,} bytes, expected {len(BODY):,}"),
    "too long": (answer(body=BODY + b"!"), f"has {len(BODY) + 1:,} bytes, expected {len(BODY):,}"),
    "too long, no length": (answer(body=BODY + b"!", length=None), f"more than the {len(BODY):,} bytes that"),
    "cut off": (answer(body=BODY[:1000], length=len(BODY)), "given up after 5 attempts without progress"),
    "cut off, no length": (
        answer(body=BODY[:1000], length=None),
        f"ended after 1,000 of {len(BODY):,} bytes; given up",
    ),
    "not found": (answer(404), "answered 404 Not Found"),
    "forbidden": (answer(403), "answered 403 Forbidden"),
    "broken server": (answer(500), "answered 500 Internal Server Error; given up"),
    "a piece, unasked": (answer(206, Content_Range=f"bytes 0-{len(BODY) - 1}/{len(BODY)}"), "a piece of the file"),
    "circle": (answer(302, b"", Location="/a"), "Exceeded maximum allowed redirects"),
    "redirect to a file": (answer(302, b"", Location="file:///etc/passwd"), "unsupported protocol"),
}


@pytest.mark.parametrize("wrong_name", WRONG)
def test_wrong_bytes_get_no_name_and_say_why(web, target, wrong_name):
    web.files["/a"], reason = WRONG[wrong_name]
    with pytest.raises(FetchError) as caught:
        fetch.download([web.url("/a")], target, size=len(BODY), sha256=SHA256)
    lines = str(caught.value).splitlines()
    assert lines[0] == "videos.zip: download failed:"
    if "cut off" in str(wrong_name):
        assert left(target) == HALF
        assert lines.pop() == f"1,000 bytes are kept in {target}.part: the same command resumes there"
    else:
        assert left(target) == []
    assert len(lines) == 2  # one line per address
    assert lines[1].startswith(f"  {web.url('/a')}: ")
    assert reason.lower() in lines[1].lower()


@pytest.mark.parametrize("name", ["web page", "web page in disguise", "nothing", "nothing, no length", "no content"])
def test_what_is_no_archive_is_refused_even_where_nothing_is_known_of_it(web, target, name):
    web.files |= {"/a": WRONG[name][0], "/b": WRONG["web page"][0]}
    with pytest.raises(FetchError):
        fetch.download([web.url("/a"), web.url("/b")], target)
    assert left(target) == []


@pytest.mark.parametrize(("wrong", "reason"), WRONG.values(), ids=WRONG.keys())
def test_after_a_bad_mirror_the_next_one_is_tried(web, target, wrong, reason):
    web.files |= {"/a": wrong, "/b": BODY}
    fetch.download([web.url("/a"), web.url("/b"), web.url("/c")], target, size=len(BODY), sha256=SHA256)
    assert target.read_bytes() == BODY
    assert left(target) == WHOLE
    assert web.requests[-1] == "/b"


def test_while_it_is_fetched_nothing_lies_under_the_final_name(web, target):
    half, go = threading.Event(), threading.Event()

    def slow(handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(BODY)))
        handler.end_headers()
        handler.wfile.write(BODY[: len(BODY) // 2])
        handler.wfile.flush()
        half.set()
        go.wait(10)
        handler.wfile.write(BODY[len(BODY) // 2 :])

    web.files["/a"] = slow
    # Two at once, as two builds might: the second waits for the first and takes its file.
    threads = [threading.Thread(target=fetch.download, args=([web.url("/a")], target)) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert half.wait(10)
    time.sleep(0.05)
    assert not target.exists()
    go.set()
    for thread in threads:
        thread.join(10)
    assert target.read_bytes() == BODY
    assert web.requests == ["/a"]
    assert left(target) == WHOLE


def test_every_address_that_failed_is_named_with_its_reason(web, target):
    web.files["/b"] = answer(body=HTML, content_type="text/html")
    urls = [web.url("/a"), web.url("/b"), "http://127.0.0.1:1/c", "ftp://127.0.0.1/d", "http://[bad/e"]
    with pytest.raises(FetchError) as caught:
        fetch.download(urls, target)
    lines = str(caught.value).splitlines()[1:]
    assert [line.strip().startswith(f"{url}: ") for line, url in zip(lines, urls, strict=True)] == [True] * 5
    assert "404" in lines[0]
    assert "web page" in lines[1]
    assert "refused" in lines[2] or "attempts failed" in lines[2]
    assert isinstance(caught.value, SourceError)
    assert left(target) == []


def test_a_connection_that_breaks_once_is_tried_again(web, target):
    def flaky(handler) -> None:
        if len(web.requests) < 3:
            handler.close_connection = True
        else:
            answer()(handler)

    web.files["/a"] = flaky
    lines = []
    fetch.download([web.url("/a")], target, size=len(BODY), sha256=SHA256, report=lines.append)
    assert target.read_bytes() == BODY
    assert ["; trying again in 0.0 s" in line for line in lines] == [True, True, False, False]


def test_what_the_server_said_on_purpose_is_not_asked_again(web, target):
    web.files["/a"] = answer(404)
    with pytest.raises(FetchError):
        fetch.download([web.url("/a")], target)
    assert web.requests == ["/a"]


def test_a_wrong_announced_length_is_refused_before_the_bytes_are_fetched(web, target):
    web.files["/a"] = answer(body=b"PK\x03\x04", length=10**15)
    with pytest.raises(FetchError, match=r"has 1,000,000,000,000,000 bytes, expected 4"):
        fetch.download([web.url("/a")], target, size=4)


def test_a_redirect_is_followed(web, target):
    web.files |= {"/old": answer(301, b"", Location="/new"), "/new": BODY}
    assert fetch.download([web.url("/old")], target, sha256=SHA256).path.read_bytes() == BODY


@pytest.mark.parametrize("length", [-1, None])
def test_an_archive_whose_compression_is_labelled_as_the_transfers_arrives_as_it_is(web, target, length):
    body = gzip.compress(tar())
    web.files["/a.tar.gz"] = answer(body=body, length=length, Content_Encoding="gzip")
    assert fetch.download([web.url("/a.tar.gz")], target).path.read_bytes() == body


def test_no_compression_is_asked_for(web, target):
    seen = []

    def note(handler) -> None:
        seen.append(handler.headers["Accept-Encoding"])
        answer()(handler)

    web.files["/a"] = note
    fetch.download([web.url("/a")], target)
    assert seen == ["identity"]


def test_a_proxy_of_the_environment_is_used(web, target, monkeypatch):
    monkeypatch.delenv("NO_PROXY")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("http_proxy", web.url(""))
    web.files["http://dataset.invalid/a.zip"] = BODY
    assert fetch.download(["http://dataset.invalid/a.zip"], target).path.read_bytes() == BODY


def test_a_place_that_cannot_be_written_to_is_an_error_of_ours(web, tmp_path):
    web.files["/a"] = BODY
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(AraflowError, match=r"file/videos\.zip: cannot be written"):
        fetch.download([web.url("/a")], tmp_path / "file" / "videos.zip")
    assert web.requests == []


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"\xef\xbb\xbf \n<!DOCTYPE  HTML PUBLIC>",
        b"<!-- saved from -->\n<HEAD lang='en'>",
        b"<script>",
    ],
)
def test_a_text_may_be_anything_but_a_web_page(web, target, body):
    web.files |= {"/a": body, "/b": answer(body=b"gone", content_type="text/html"), "/c": b"<clip>\tis no page\n"}
    assert fetch.download([web.url(path) for path in ("/a", "/b", "/c")], target, kind="text").url == web.url("/c")


def test_a_text_that_is_sent_compressed_all_the_same_is_refused(web, target):
    web.files["/a"] = answer(body=gzip.compress(b"x"), Content_Encoding="gzip")
    with pytest.raises(FetchError, match="compressed text"):
        fetch.download([web.url("/a")], target, kind="text")


def test_no_address_is_an_error_too(target):
    with pytest.raises(FetchError, match="download failed"):
        fetch.download([], target)
