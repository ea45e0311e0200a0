"""What an answer must say to be the file that was asked for: status, headers, first bytes.

After RFC 9110: sections 8.8.3 (ETag), 14 (Range requests), 10.2.3 (Retry-After).
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
import time
from typing import TYPE_CHECKING, Literal

from araflow.acquire.fetch._part_file import Origin, PartFile
from araflow.core.errors import FetchError

if TYPE_CHECKING:  # it takes a fifth of a second to import, and most runs download nothing
    import httpx

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


def is_page(response: httpx.Response) -> bool:
    return bool(re.match(r"\s*(text/html|application/xhtml)", response.headers.get("content-type", ""), re.I))


def check(response: httpx.Response, url: str, offset: int, part: PartFile, wanted: Wanted) -> Origin:
    """Return what an answer's status and headers say of the file.

    Args:
        response: The answer.
        url: The mirror's address, as messages may show it.
        offset: From which byte on the file was asked for.
        part: What has arrived of it so far.
        wanted: What is known of the file.

    Raises:
        PassingError: It may be the file later.
        StartOverError: It has another file by now than what has arrived.
        MirrorError: It is not the file.
    """
    if response.status_code not in {200, 206}:
        reason = f"answered {response.status_code} {response.reason_phrase}".rstrip()
        if response.status_code in _PASSING_STATUS:
            raise PassingError(reason, _retry_after(response))
        raise MirrorError(reason)
    if is_page(response):
        raise MirrorError(_WEB_PAGE)
    if wanted.kind == "text" and response.headers.get("content-encoding", "identity").lower() != "identity":
        raise MirrorError("answered with compressed text, although plain text was asked for")
    resumes = response.status_code == 206
    length = _total(response, offset) if resumes else _content_length(response)
    if None not in (length, wanted.size) and length != wanted.size:
        raise MirrorError(f"has {length:,} bytes, expected {wanted.size:,}{wanted.why}")
    etag, modified = response.headers.get("etag"), response.headers.get("last-modified")
    length = wanted.size if length is None else length
    origin = Origin(url=url, etag=etag, last_modified=modified, length=length)
    if resumes and (before := part.origin) is not None:
        if before.length not in (None, origin.length):
            raise StartOverError(f"now has {origin.length:,} bytes, {before.length:,} before")
        if before.url == url and before.differs(origin):
            raise StartOverError("has another file now than it had before")
    return origin


def _content_length(response: httpx.Response) -> int | None:
    text = response.headers.get("content-length", "")
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None


def _total(response: httpx.Response, offset: int) -> int:
    """Return the whole file's length of a 206 whose bytes begin at ``offset``."""
    text = response.headers.get("content-range", "")
    match = re.fullmatch(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})", text.strip())
    if not offset:
        raise MirrorError("answered with a piece of the file, although all of it was asked for")
    if match is None or int(match[1]) != offset or not offset <= int(match[2]) < int(match[3]):
        raise StartOverError(f"was asked for bytes from {offset:,} on, answered with {text or 'nothing'!r}")
    return int(match[3])


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
    from email.utils import parsedate_to_datetime

    try:
        until = parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return 0.0
    with contextlib.suppress(ValueError, OverflowError, KeyError):
        return max(0.0, until - parsedate_to_datetime(response.headers["date"]).timestamp())
    return max(0.0, until - time.time())
