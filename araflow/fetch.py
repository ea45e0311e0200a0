"""Download one archive to one file: verified, atomic, next mirror on failure.

The file appears under its final name only when its length, checksum and first bytes are right. HMDB51's historic
address answers 200 with an HTML page, so a good status proves nothing.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import filelock
import httpx

from araflow.errors import FetchError

_CHUNK = 1 << 20
_TIMEOUT = httpx.Timeout(30.0)
_PAUSES = (0.5, 2.0)
"""Seconds before each new attempt at an address whose connection failed."""
_PASSING = (httpx.NetworkError, httpx.TimeoutException, httpx.RemoteProtocolError)
# zip, empty zip, gzip, rar, bzip2, xz
_MAGIC = (b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b", b"Rar!", b"BZh", b"\xfd7zXZ")


def download(
    urls: Sequence[str],
    target: Path,
    *,
    size: int | None = None,
    sha256: str | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> Path:
    """Download the first address that yields the right bytes.

    Args:
        urls: Addresses of the same file, tried in order.
        target: Where the file shall lie. If it is there already (and has ``size``), nothing is fetched.
        size: Expected length in bytes, if known.
        sha256: Expected digest, hexadecimal, if known.
        report: Called with progress lines.

    Returns:
        ``target``.

    Raises:
        FetchError: No address yields it, or it cannot be written; the message says why for each.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # Two runs may want the same file; the second waits and then finds it there.
        with filelock.FileLock(target.with_name(target.name + ".lock")):
            if target.is_file() and size in (None, target.stat().st_size):
                report(f"{target} is there already")
                return target
            return _first(urls, target, size, sha256, report)
    except OSError as error:
        raise FetchError(f"{target}: cannot be written: {error.strerror or error}") from error


def _first(
    urls: Sequence[str], target: Path, size: int | None, sha256: str | None, report: Callable[[str], None]
) -> Path:
    part = target.with_name(target.name + ".part")
    failures = []
    for url in urls:
        for pause in (*_PAUSES, None):
            try:
                _fetch(url, part, size, sha256, report)
                return part.replace(target)
            except (httpx.HTTPError, httpx.InvalidURL, FetchError, ImportError) as error:  # ImportError: a SOCKS proxy
                reason = f"{url}: {str(error).partition(chr(10))[0] or type(error).__name__}"
                if pause is None or not isinstance(error, _PASSING):
                    failures.append(reason)
                    break
            finally:
                part.unlink(missing_ok=True)
            report(f"{reason}; trying again")
            time.sleep(pause)
    raise FetchError("download failed:\n  " + "\n  ".join(failures))


def _fetch(url: str, part: Path, size: int | None, sha256: str | None, report: Callable[[str], None]) -> None:
    digest, received, next_report = hashlib.sha256(), 0, 64 * _CHUNK
    with (
        httpx.Client(timeout=_TIMEOUT, follow_redirects=True) as client,
        # Compressed transfer would make the byte count differ from the length that is announced.
        client.stream("GET", url, headers={"Accept-Encoding": "identity"}) as response,
        part.open("wb") as file,
    ):
        response.raise_for_status()
        if "text/html" in response.headers.get("content-type", "").lower():
            raise FetchError("answered with a web page instead of the file: the link is dead or asks for confirmation")
        length = int(response.headers.get("content-length", -1))
        if size is not None and length not in (-1, size):
            raise FetchError(f"has {length:,} bytes, expected {size:,}")
        total = size or (length if length >= 0 else None)
        # Raw, because servers label a .tar.gz as if its compression were the transfer's.
        for chunk in response.iter_raw(_CHUNK):
            if not received and not chunk.startswith(_MAGIC) and chunk[257:262] != b"ustar":
                raise FetchError(f"not an archive: it begins with {chunk[:8]!r}")
            digest.update(chunk)
            file.write(chunk)
            received += len(chunk)
            if received >= next_report:
                next_report += 256 * _CHUNK
                report(f"{url}: {received / 1e6:,.0f} MB" + (f" of {total / 1e6:,.0f} MB" if total else ""))
    if not received:
        raise FetchError("is empty")
    if length >= 0 and received != length:
        raise FetchError(f"ended after {received:,} of {length:,} bytes")
    if size is not None and received != size:
        raise FetchError(f"has {received:,} bytes, expected {size:,}")
    if sha256 is not None and digest.hexdigest() != sha256:
        raise FetchError(f"has sha256 {digest.hexdigest()}, expected {sha256}")
    report(f"{url}: {received / 1e6:,.1f} MB, sha256 {digest.hexdigest()}")
