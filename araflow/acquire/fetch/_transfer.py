"""One attempt to download: ask one address for what is missing, hold its answer against what is known, append it.

After RFC 9110: sections 8.8.3 (ETag), 13.1.5 (If-Range), 14 (Range requests), 15.5.17 (status 416), 10.2.3
(Retry-After). ``araflow.acquire.fetch`` chooses addresses, waits between attempts, and gives the file its name.
"""

from __future__ import annotations

import contextlib
import dataclasses
import email.utils
import re
import shutil
import ssl
import time
from collections.abc import Callable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Literal

from araflow.acquire.fetch import _google_drive as google_drive
from araflow.acquire.fetch._pace import amount
from araflow.acquire.fetch._part_file import Origin, Part, shown
from araflow.core.errors import FetchError

if TYPE_CHECKING:  # it takes a fifth of a second to import, and most runs download nothing
    import httpx

TIMEOUT = 30.0
"""Seconds to wait for a connection and for each chunk: a socket that stalls is noticed, however long the file."""
MARGIN = 64 << 20
"""Bytes that a download leaves free on the disk, for whatever else runs there."""
_PASSING_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
# zip, empty zip, gzip, rar, bzip2, xz
_MAGIC = (b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b", b"Rar!", b"BZh", b"\xfd7zXZ")
HEAD = 512
"""First bytes that tell what a file is; tar's "ustar" stands at 257."""
_HTML = re.compile(
    rb"(\xef\xbb\xbf)?\s*(<!--.*?-->\s*)*<(!doctype\s+html|(html|head|body|title|script|meta)\b)", re.I | re.S
)
_WEB_PAGE = "answered with a web page instead of the file: this mirror is dead"


class MirrorError(FetchError):
    """This address does not yield the file; the next one may."""


class PassingError(MirrorError):
    """This address may yield the file soon; ``wait`` is how many seconds it asked to be left alone."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


class StartOverError(PassingError):
    """What lies in the part does not belong to what this address has now."""


@dataclasses.dataclass(frozen=True, slots=True)
class Wanted:
    """What is known of the file: bytes, digest, kind; ``why`` ends the message where it is something else."""

    size: int | None
    sha256: str | None
    kind: Literal["archive", "text"]
    why: str = ""


def connect() -> httpx.Client:
    """Return a client that follows redirects to http(s) only, never from https down to http, and verifies TLS.

    Raises:
        FetchError: The certificates that the environment names cannot be read.
    """
    import httpx

    def guard(response: httpx.Response) -> None:
        if not response.has_redirect_location:
            return
        target = response.url.join(response.headers["location"])
        if target.scheme not in {"http", "https"}:
            raise MirrorError(f"redirects to {shown(str(target))}, which has an unsupported protocol")
        if response.url.scheme == "https" and target.scheme == "http":
            raise MirrorError(f"redirects to {shown(str(target))}: on http anybody between could change the file")

    try:
        return httpx.Client(timeout=TIMEOUT, follow_redirects=True, max_redirects=10, event_hooks={"response": [guard]})
    except OSError as error:
        raise FetchError(f"certificates cannot be read: {error}; see SSL_CERT_FILE and SSL_CERT_DIR") from error


def attempt(
    client: httpx.Client,
    url: str,
    part: Part,
    wanted: Wanted,
    *,
    fresh: bool,
    report: Callable[[str], None],
    progress: Callable[[int, int | None], None],
) -> None:
    """Fetch what is missing of a file; when this returns, as many bytes lie in the part as were announced.

    Args:
        client: From ``connect``.
        url: The mirror's address.
        part: What there is, and where the rest goes.
        wanted: What is known of the file. Only ``size`` and ``kind`` are checked here.
        fresh: Ask for the whole file.
        report: Called with the line that says what begins.
        progress: Called for each chunk with the bytes so far and, where known, the bytes in all.

    Raises:
        PassingError: It may work soon. What has arrived is kept.
        StartOverError: It may work with ``fresh``.
        MirrorError: This address does not have the file.
        FetchError: It does not fit on the disk.
        OSError: It cannot be written.
    """
    import httpx

    offset = 0 if fresh else part.offset(url, wanted.sha256)
    # Compressed transfer would make the byte count differ from the length that is announced.
    headers = {"Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
        if part.origin is not None and part.origin.url == shown(url) and part.origin.validator is not None:
            headers["If-Range"] = part.origin.validator
    try:
        with _answer(client, url, headers) as response:
            if response.status_code == 416 and offset:
                return _refuse_unless_whole(response, part, wanted)
            _receive(response, shown(url), offset, part, wanted, report, progress)
    except (httpx.NetworkError, httpx.TimeoutException, httpx.RemoteProtocolError) as error:
        if broken := _certificate_error(error):
            raise MirrorError(
                f"its certificate cannot be trusted ({broken}). Verification is not switched off: take another mirror, "
                "or fetch the file by hand and pass it with --from; SSL_CERT_FILE names an authority of your own"
            ) from error
        raise PassingError(str(error).partition("\n")[0] or type(error).__name__) from error


@contextlib.contextmanager
def _answer(client: httpx.Client, url: str, headers: dict[str, str]) -> Iterator[httpx.Response]:
    """Send the request; where Google Drive asks back, confirm once."""
    for _ in range(2):
        with client.stream("GET", url, headers=headers) as response:
            page = _drive_page(response)
            confirmed = google_drive.confirmed_address(page, str(response.url))
            if confirmed is None:
                if refusal := google_drive.refusal(page):
                    raise MirrorError(refusal)
                yield response
                return
            url = confirmed
    raise MirrorError("Google Drive asks for confirmation again and again")


def _drive_page(response: httpx.Response) -> str:
    if response.url.host not in google_drive.HOSTS or not _is_page(response):
        return ""
    return _take(response.iter_bytes(), 1 << 20).decode("utf-8", "replace")


def _is_page(response: httpx.Response) -> bool:
    return bool(re.match(r"\s*(text/html|application/xhtml)", response.headers.get("content-type", ""), re.I))


def _receive(
    response: httpx.Response,
    url: str,
    offset: int,
    part: Part,
    wanted: Wanted,
    report: Callable[[str], None],
    progress: Callable[[int, int | None], None],
) -> None:
    origin = _checked(response, url, offset, part, wanted)
    length, chunks = origin.length, response.iter_raw()  # raw: servers label a .tar.gz as if gzip were the transfer's
    if length is not None and shutil.disk_usage(part.path.parent).free < length - part.size + MARGIN:
        raise FetchError(
            f"{part.path.parent}: {length - part.size:,} bytes and {MARGIN:,} to spare are needed, "
            f"{shutil.disk_usage(part.path.parent).free:,} are free: make room, or choose another folder{part.kept()}"
        )
    if response.status_code == 206:
        part.note(origin)
        part.resumed = True
    else:  # what lies there is given up only for bytes that look right
        offset, head = 0, _take(chunks, HEAD)
        refuse_body(head, wanted.kind)
        part.begin(origin)
        chunks = chain([head], chunks)
    whole = "size unknown" if length is None else amount(length)
    report(f"{url}: {whole}" + (f", resumed at {amount(offset)}" if offset else ""))

    def each(size: int) -> None:
        progress(size, length)
        if length is not None and size > length:
            part.discard()
            raise MirrorError(f"has more than the {length:,} bytes that were expected{wanted.why}")

    progress(part.size, length)
    part.append(chunks, each)
    if length is not None and part.size < length:
        raise PassingError(f"ended after {part.size:,} of {length:,} bytes")
    if length is None and wanted.sha256 is None and response.headers.get("transfer-encoding") != "chunked":
        if wanted.kind == "text":  # a list shows nothing of where it ought to end
            part.discard()
            raise MirrorError("announced no length, so a list that was cut short could not be told from a whole one")
        report(f"{url}: announced no length, so whether the file is whole shows only when it is read")


def _checked(response: httpx.Response, url: str, offset: int, part: Part, wanted: Wanted) -> Origin:
    """Return what the headers say, or raise where they say that this is not what was asked for."""
    if response.status_code not in {200, 206}:
        reason = f"answered {response.status_code} {response.reason_phrase}".rstrip()
        if response.status_code in _PASSING_STATUS:
            raise PassingError(reason, _retry_after(response))
        raise MirrorError(reason)
    if _is_page(response):
        raise MirrorError(_WEB_PAGE)
    if wanted.kind == "text" and response.headers.get("content-encoding", "identity").lower() != "identity":
        raise MirrorError("answered with compressed text, although plain text was asked for")
    resumes = response.status_code == 206
    length = _total(response, offset) if resumes else _content_length(response)
    if None not in (length, wanted.size) and length != wanted.size:
        raise MirrorError(f"has {length:,} bytes, expected {wanted.size:,}{wanted.why}")
    etag, modified = response.headers.get("etag"), response.headers.get("last-modified")
    origin = Origin(url, etag, modified, wanted.size if length is None else length)
    if resumes and (before := part.origin) is not None:
        if before.length not in (None, origin.length):
            raise StartOverError(f"now has {origin.length:,} bytes, {before.length:,} before")
        if before.url == url and before.differs(origin):
            raise StartOverError("has another file now than it had before")
    return origin


def _content_length(response: httpx.Response) -> int | None:
    text = response.headers.get("content-length", "")
    return int(text) if text.isdecimal() else None


def _total(response: httpx.Response, offset: int) -> int:
    """Return the whole file's length of a 206 whose bytes begin at ``offset``."""
    text = response.headers.get("content-range", "")
    match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", text.strip())
    if not offset:
        raise MirrorError("answered with a piece of the file, although all of it was asked for")
    if match is None or int(match[1]) != offset or not offset <= int(match[2]) < int(match[3]):
        raise StartOverError(f"was asked for bytes from {offset:,} on, answered with {text or 'nothing'!r}")
    return int(match[3])


def _refuse_unless_whole(response: httpx.Response, part: Part, wanted: Wanted) -> None:
    """Take status 416 as the end of the file where nothing known contradicts; otherwise the part is another file's."""
    match = re.fullmatch(r"bytes \*/(\d+)", response.headers.get("content-range", "").strip())
    lengths = {int(match[1]) if match else None, wanted.size, part.origin.length if part.origin else None} - {None}
    if lengths != {part.size}:
        raise StartOverError(f"has nothing behind byte {part.size:,}")


def _take(chunks: Iterator[bytes], count: int) -> bytes:
    """Return the first chunks until they hold ``count`` bytes, or all there are."""
    head = bytearray()
    for chunk in chunks:
        head += chunk
        if len(head) >= count:
            break
    return bytes(head)


def refuse_body(head: bytes, kind: Literal["archive", "text"]) -> None:
    """Refuse a file by its first bytes.

    Raises:
        MirrorError: It is empty, a web page, or (of an archive) of no kind that is known.
    """
    if not head:
        raise MirrorError("is empty")
    if _HTML.match(head[:HEAD]):
        raise MirrorError(_WEB_PAGE)
    if kind == "archive" and not head.startswith(_MAGIC) and head[257:262] != b"ustar":
        raise MirrorError(f"not an archive: it begins with {head[:8]!r}")


def _retry_after(response: httpx.Response) -> float:
    """Seconds to wait: the header holds a number of seconds, or a date, which is meant by the server's clock."""
    text = response.headers.get("retry-after", "").strip()
    if text.isdecimal():
        return float(text)
    try:
        until = email.utils.parsedate_to_datetime(text).timestamp()
    except ValueError:
        return 0.0
    with contextlib.suppress(ValueError, KeyError):
        return max(0.0, until - email.utils.parsedate_to_datetime(response.headers["date"]).timestamp())
    return max(0.0, until - time.time())


def _certificate_error(error: BaseException | None) -> str | None:
    while error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        error = error.__cause__ or error.__context__
    return None if error is None else error.verify_message
