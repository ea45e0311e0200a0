"""What the tests of downloads serve: right files with ``Range`` and ``If-Range``, cut connections, and wrong answers.

All are handlers for the fixture ``web``: ``web.files["/a"] = Served(BODY, cuts=[1000])``.
"""

import hashlib
import random
import re
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from araflow.acquire import fetch
from araflow.core.errors import FetchError

BODY = b"PK\x03\x04" + random.Random(3).randbytes(200_000)
SHA256 = hashlib.sha256(BODY).hexdigest()
MONDAY, TUESDAY = "Mon, 05 Jan 2026 10:00:00 GMT", "Tue, 06 Jan 2026 10:00:00 GMT"


def left(target: Path) -> list[str]:
    """What lies beside a target, locks apart."""
    return sorted(path.name for path in target.parent.iterdir() if path.suffix != ".lock")


WHOLE = ["videos.zip", "videos.zip.fetched.json"]
HALF = ["videos.zip.part", "videos.zip.part.json"]


def answer(
    status: int = 200,
    body: bytes = BODY,
    content_type: str = "application/zip",
    length: int | None = -1,
    **headers: str,
):
    """A handler; ``length`` None leaves Content-Length out, another number lies."""

    def send(handler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Type", content_type)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        if length is not None:
            handler.send_header("Content-Length", str(len(body) if length == -1 else length))
        handler.end_headers()
        handler.wfile.write(body)

    return send


def in_turn(*handlers: Callable) -> Callable:
    """A handler that answers each request by the next of these, and the last one for ever."""
    rest = list(handlers)
    return lambda handler: (rest.pop(0) if len(rest) > 1 else rest[0])(handler)


class Served:
    """A file on a server that knows ranges.

    Args:
        body: Its bytes.
        etag, modified: What the server says of it; ``None`` leaves the header out. May be changed between requests.
        ranges: Whether ``Range`` is obeyed.
        cuts: For each request in turn, after how many bytes the connection is cut; negative resets it.
        content_range: A lie to tell in 206.
        pause: Seconds after each 8 KiB.

    Attributes:
        requests: The headers of each request.
        sent: Bytes sent in all.
    """

    def __init__(
        self,
        body: bytes = BODY,
        *,
        etag: str | None = '"one"',
        modified: str | None = MONDAY,
        ranges: bool = True,
        cuts: Iterable[int] = (),
        content_range: str | None = None,
        pause: float = 0.0,
    ) -> None:
        self.body, self.etag, self.modified, self.ranges = body, etag, modified, ranges
        self.cuts, self.content_range, self.pause = list(cuts), content_range, pause
        self.requests: list[dict[str, str]] = []
        self.sent = 0

    def asked(self) -> list[str | None]:
        """The ``Range`` of each request."""
        return [request.get("range") for request in self.requests]

    def __call__(self, handler) -> None:
        headers = {name.lower(): value for name, value in handler.headers.items()}
        self.requests.append(headers)
        same = headers.get("if-range") in (None, self.etag, self.modified)
        match = re.fullmatch(r"bytes=(\d+)-", headers.get("range", ""))
        start = int(match[1]) if match and same and self.ranges else None
        if start is not None and start >= len(self.body):
            handler.send_response(416)
            handler.send_header("Content-Range", f"bytes */{len(self.body)}")
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        handler.send_response(200 if start is None else 206)
        handler.send_header("Content-Type", "application/zip")
        handler.send_header("Content-Length", str(len(self.body) - (start or 0)))
        for name, value in (("ETag", self.etag), ("Last-Modified", self.modified)):
            if value is not None:
                handler.send_header(name, value)
        if start is not None:
            true = f"bytes {start}-{len(self.body) - 1}/{len(self.body)}"
            handler.send_header("Content-Range", self.content_range or true)
        handler.end_headers()
        self._send(handler, self.body[start or 0 :], self.cuts.pop(0) if self.cuts else None)

    def _send(self, handler, data: bytes, cut: int | None) -> None:
        data = data if cut is None else data[: abs(cut)]
        for at in range(0, len(data), 8192):
            handler.wfile.write(data[at : at + 8192])
            self.sent += len(data[at : at + 8192])
            time.sleep(self.pause)
        if cut is not None and cut < 0:
            time.sleep(0.01)  # a reset drops what was not read yet
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            handler.connection.close()


def one_attempt(monkeypatch) -> None:
    """Let each cut end the run, so that the next call is a run of its own."""
    monkeypatch.setattr(fetch, "_ATTEMPTS", 1)
    monkeypatch.setattr(fetch, "_STEP", 1 << 40)


def half(web, target, monkeypatch, served, cut=100_000, **known) -> None:
    """A run that ends after ``cut`` bytes; what comes later may try as often as it likes."""
    served.cuts = [cut]
    web.files["/a"] = served
    with monkeypatch.context() as patch:
        one_attempt(patch)
        with pytest.raises(FetchError):
            fetch.download([web.url("/a")], target, **known)
    assert left(target) == HALF


RUN = """
import sys, pathlib
from araflow.acquire import fetch
fetch._PAUSE = 0.01
url, target, sha256 = sys.argv[1:4]
print(fetch.download([url], pathlib.Path(target), sha256=sha256 or None, report=print).sha256)
"""


def start(web, target, sha256="", **options):
    args = [sys.executable, "-c", RUN, web.url("/a"), str(target), sha256]
    return subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
