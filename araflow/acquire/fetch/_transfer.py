"""One attempt to download: ask one address for what is missing, hold its answer against what is known, append it.

After RFC 9110: sections 8.8.3 (ETag), 13.1.5 (If-Range), 14 (Range requests), 15.5.17 (status 416), 10.2.3
(Retry-After). ``araflow.acquire.fetch`` chooses addresses, waits between attempts, and gives the file its name.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import ssl
from collections.abc import Callable, Iterator
from itertools import chain
from typing import TYPE_CHECKING

from araflow.acquire.fetch import _google_drive as google_drive
from araflow.acquire.fetch._answers import (
    HEAD,
    MirrorError,
    PassingError,
    StartOverError,
    Wanted,
    check,
    is_page,
    refuse_body,
)
from araflow.acquire.fetch._pace import amount
from araflow.acquire.fetch._part_file import PartFile
from araflow.acquire.fetch._watch import Limits, Watch, client
from araflow.core.addresses import masked, masked_in
from araflow.core.errors import FetchError

if TYPE_CHECKING:  # it takes a fifth of a second to import, and most runs download nothing
    import httpx

MARGIN = 64 << 20
"""Bytes that a download leaves free on the disk, for whatever else runs there."""
_SHARE = 0.5
"""Share of the free space that a file may take whose length nobody says."""
_LONGEST_TEXT = 256 << 20
"""Bytes of a list; the longest of Kinetics has 50 MB."""


def connect(limits: Limits) -> httpx.Client:
    """Return a client that follows redirects to http(s) only, never from https down to http, and verifies TLS.

    Args:
        limits: How long is waited for a connection, and for each chunk.

    Raises:
        FetchError: The certificates that the environment names cannot be read.
    """

    def guard(response: httpx.Response) -> None:
        if not response.has_redirect_location:
            return
        target = response.url.join(response.headers["location"])
        if target.scheme not in {"http", "https"}:
            raise MirrorError(f"redirects to {masked(str(target))}, which has an unsupported protocol")
        if response.url.scheme == "https" and target.scheme == "http":
            raise MirrorError(f"redirects to {masked(str(target))}: on http anybody between could change the file")

    try:
        return client(limits, follow_redirects=True, max_redirects=10, event_hooks={"response": [guard]})
    except (ImportError, ValueError) as error:
        why = masked_in(str(error).partition("\n")[0])
        raise FetchError(f"the proxy that the environment names cannot be used: {why}") from error
    except OSError as error:
        raise FetchError(f"certificates cannot be read: {error}; see SSL_CERT_FILE and SSL_CERT_DIR") from error


def attempt(
    client: httpx.Client,
    url: str,
    part: PartFile,
    wanted: Wanted,
    *,
    fresh: bool,
    limits: Limits,
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
        limits: How slow the server may be.
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
        if (validator := part.asks_by(url)) is not None:
            headers["If-Range"] = validator
        part.sha256()  # of what is there: it may take a while, and then the server would wait
    watch = Watch(limits)
    try:
        with watch.watching(), _answer(client, url, headers, watch) as response:
            if response.status_code == 416 and offset:
                return _refuse_unless_whole(response, part, wanted)
            _receive(response, masked(url), offset, part, wanted, watch, report, progress)
    except (httpx.NetworkError, httpx.TimeoutException, httpx.RemoteProtocolError) as error:
        if broken := _certificate_error(error):
            raise MirrorError(
                f"its certificate cannot be trusted ({broken}). Verification is not switched off: take another mirror, "
                "or fetch the file by hand and pass it with --from; SSL_CERT_FILE names an authority of your own"
            ) from error
        raise PassingError(str(error).partition("\n")[0] or type(error).__name__) from error


@contextlib.contextmanager
def _answer(client: httpx.Client, url: str, headers: dict[str, str], watch: Watch) -> Iterator[httpx.Response]:
    """Send the request; where Google Drive asks back, confirm once."""
    for _ in range(2):
        with client.stream("GET", url, headers=headers, extensions={"trace": watch.trace}) as response:
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
    if response.url.host not in google_drive.HOSTS or not is_page(response):
        return ""
    return _take(response.iter_bytes(), 1 << 20).decode("utf-8", "replace")


def _receive(
    response: httpx.Response,
    url: str,
    offset: int,
    part: PartFile,
    wanted: Wanted,
    watch: Watch,
    report: Callable[[str], None],
    progress: Callable[[int, int | None], None],
) -> None:
    origin = check(response, url, offset, part, wanted)
    length, chunks = origin.length, response.iter_raw()  # raw: servers label a .tar.gz as if gzip were the transfer's
    free = shutil.disk_usage(part.path.parent).free
    if length is not None and free < length - part.size + MARGIN:
        # Of a length that nobody else knows, this server may be wrong.
        raise (FetchError if wanted.size or offset else MirrorError)(
            f"{part.path.parent}: {length - part.size:,} bytes and {MARGIN:,} to spare are needed, {free:,} are free: "
            f"make room, or choose another folder{part.kept()}"
        )
    room = min(free * _SHARE, _LONGEST_TEXT if wanted.kind == "text" else free) if length is None else length
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

    def on_size(size: int) -> None:
        watch.received(size)
        progress(size, length)
        if size > room:
            part.discard()
            what = "may be taken of a file whose length is not said" if length is None else "were expected"
            raise MirrorError(f"has more than the {room:,.0f} bytes that {what}{wanted.why}")

    watch.received(part.size)
    progress(part.size, length)
    part.append(chunks, on_size)
    if length is not None and part.size < length:
        raise PassingError(f"ended after {part.size:,} of {length:,} bytes")
    if length is None and wanted.sha256 is None and response.headers.get("transfer-encoding") != "chunked":
        if wanted.kind == "text":  # a list shows nothing of where it ought to end
            part.discard()
            raise MirrorError("announced no length, so a list that was cut short could not be told from a whole one")
        report(f"{url}: announced no length, so whether the file is whole shows only when it is read")


def _refuse_unless_whole(response: httpx.Response, part: PartFile, wanted: Wanted) -> None:
    """Take status 416 as the end of the file where nothing known contradicts; otherwise the part is another file's."""
    match = re.fullmatch(r"bytes \*/(\d{1,18})", response.headers.get("content-range", "").strip())
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


def _certificate_error(error: BaseException | None) -> str | None:
    while error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        error = error.__cause__ or error.__context__
    return None if error is None else error.verify_message
