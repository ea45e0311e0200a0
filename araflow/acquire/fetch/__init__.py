"""Download one file: resumed where it was cut, verified, atomic, next mirror on failure.

A file appears under its final name only when its length, checksum and first bytes are right. HMDB51's historic
address answers 200 with an HTML page, so a good status proves nothing. Beside each file lie::

    <name>.fetched.json   its receipt: where it came from, its length and digest; what tells later that it is whole
    <name>.part           what has arrived of it so far, and
    <name>.part.json      where that came from: any end of a run, even kill -9, leaves them to be carried on
    <name>.lock           held while one process downloads it
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import hashlib
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import filelock

from araflow.acquire.fetch import _transfer as transfer
from araflow.acquire.fetch._pace import Pace
from araflow.acquire.fetch._pace import amount as amount
from araflow.acquire.fetch._part_file import Part, read_json, shown
from araflow.acquire.fetch._transfer import Wanted
from araflow.core.errors import FetchError
from araflow.core.files import replace_json, sync

if TYPE_CHECKING:
    import httpx

Report = Callable[[str], None]
"""Takes one line for a log."""
Progress = Callable[[str, int, int | None], None]
"""Takes a file's name, its bytes so far (those of an earlier run included) and its bytes in all, if known."""

_ATTEMPTS = 5
"""Attempts at one address without progress before it is given up."""
_STEP = 1 << 20
"""Bytes (or 1 % of the file) that count as progress."""
_PAUSE = 1.0
"""Seconds before the second attempt; doubled for each further one, and varied by half so that clients spread."""
_LONGEST_PAUSE = 30.0
_NOTHING_KNOWN = Wanted(None, None, "text")
_LONGEST_WAIT = 120.0
"""Seconds that a server's Retry-After may ask for before the next mirror is taken instead."""


@dataclasses.dataclass(frozen=True, slots=True)
class Fetched:
    """What is known of a downloaded file; kept beside it as ``<name>.fetched.json``.

    Attributes:
        path: Where it lies.
        url: The mirror it came from, without credentials; empty where that is not known.
        size: Bytes.
        sha256: Hexadecimal digest.
        fetched: When it was complete, ISO date-time, UTC.
    """

    path: Path
    url: str
    size: int
    sha256: str
    fetched: str


def no_progress(name: str, done: int, total: int | None) -> None:
    """Show nothing; the default of every ``progress``."""


def download(
    urls: Sequence[str],
    target: Path,
    *,
    size: int | None = None,
    sha256: str | None = None,
    kind: Literal["archive", "text"] = "archive",
    report: Report = lambda line: None,
    progress: Progress = no_progress,
) -> Fetched:
    """Download the first address that yields the right bytes, and go on where an earlier run ended.

    Args:
        urls: Addresses of the same file, tried in order.
        target: Where the file shall lie. If it lies there already, and is right, nothing is fetched.
        size: Expected length in bytes, if known.
        sha256: Expected digest, hexadecimal, if known. Otherwise the first download is trusted, and its receipt's
            digest is what later ones must have.
        kind: What its first bytes must be: any archive that is known, or anything but a web page.
        report: Called with lines for a log.
        progress: Called for each chunk that arrives.

    Raises:
        FetchError: No address yields it, or it cannot be written; the message says why for each.
    """
    wanted = Wanted(size, sha256 and sha256.lower(), kind)
    part = None
    try:
        seen = _stamp(target)
        if (found := _existing(target, wanted, report)) is not None:
            return found
        target.parent.mkdir(parents=True, exist_ok=True)
        with _lock(target, report):
            # Another process may have made it meanwhile.
            if _stamp(target) != seen and (found := _existing(target, wanted, report)) is not None:
                return found
            wanted, part = _pinned(target, wanted), Part(target)
            return _from_mirrors(urls, target, part, wanted, Pace(target.name, report, progress), report)
    except OSError as error:
        kept = part.kept() if part else ""
        raise FetchError(f"{target}: cannot be written: {error.strerror or error}{kept}") from error
    except KeyboardInterrupt:
        report(f"{target.name}: interrupted{part.kept() if part else ''}")
        raise


def receipt(target: Path) -> Fetched | None:
    """Return what is known of a downloaded file, if it lies there as it was downloaded; asks no network.

    It is read and hashed only where its length or time is not the receipt's.

    Raises:
        FetchError: It cannot be read.
    """
    try:
        return _existing(target, _NOTHING_KNOWN, lambda line: None) if _read_receipt(target) else None
    except OSError as error:
        raise FetchError(f"{target}: cannot be read: {error.strerror or error}") from error


def forget(target: Path) -> None:
    """Delete a downloaded file and its receipt, so that the next download is trusted anew.

    Raises:
        FetchError: It cannot be deleted.
    """
    try:
        for path in (target, _receipt_file(target)):
            path.unlink(missing_ok=True)
    except OSError as error:
        raise FetchError(f"{target}: cannot be deleted: {error.strerror or error}") from error


def _receipt_file(target: Path) -> Path:
    return target.with_name(f"{target.name}.fetched.json")


def _read_receipt(target: Path) -> dict[str, Any]:
    values = read_json(_receipt_file(target)) or {}
    return values if values.keys() >= {"url", "size", "sha256", "fetched", "mtime_ns"} else {}


def _write_receipt(target: Path, status: os.stat_result, url: str, sha256: str, fetched: str) -> Fetched:
    """Write the receipt of the file that was hashed, whose ``status`` was taken when it was opened."""
    made = Fetched(target, url, status.st_size, sha256, fetched)
    values = dataclasses.asdict(made) | {"mtime_ns": status.st_mtime_ns}
    del values["path"]  # the folder may be moved
    replace_json(_receipt_file(target), values)
    return made


def _stamp(target: Path) -> tuple[int, int, int] | None:
    """Return what changes when another file gets this name; ``None`` where there is none."""
    if not target.is_file():
        return None
    status = target.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


def _existing(target: Path, wanted: Wanted, report: Report) -> Fetched | None:
    """Return the file that is there, if it is right; its receipt is written anew where a crash or a copy lost it."""
    if target.is_dir():
        raise FetchError(f"{target}: is a folder, so no file can be downloaded to it")
    if not target.is_file():
        return None
    kept, status = _read_receipt(target), target.stat()
    same = kept and (status.st_size, status.st_mtime_ns) == (kept["size"], kept["mtime_ns"])
    if same and wanted.size in (None, kept["size"]) and wanted.sha256 in (None, kept["sha256"]):
        report(f"{target} is there already")
        return Fetched(target, kept["url"], kept["size"], kept["sha256"], kept["fetched"])
    report(f"{target}: {amount(status.st_size)} are there already; checking them")
    try:
        return _checked(target, kept, wanted)
    except transfer.MirrorError as error:
        report(f"{target}: {error}; it is fetched anew")
        return None


def _checked(target: Path, kept: dict[str, Any], wanted: Wanted) -> Fetched:
    with target.open("rb") as file:
        status = os.fstat(file.fileno())
        if wanted.size not in (None, status.st_size):
            raise transfer.MirrorError(f"has {status.st_size:,} bytes, expected {wanted.size:,}")
        transfer.refuse_body(file.read(transfer.HEAD), wanted.kind)
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    expected = wanted.sha256 or kept.get("sha256")
    if expected not in (None, digest):
        raise transfer.MirrorError(f"has sha256 {digest}, expected {expected}")
    url = kept.get("url") or (read_json(Part(target).sidecar) or {}).get("url") or ""
    fetched = kept.get("fetched") or _iso(status.st_mtime)
    try:
        return _write_receipt(target, status, url, digest, fetched)
    except OSError:  # a folder that is read-only by now is as good a source
        return Fetched(target, url, status.st_size, digest, fetched)


def _iso(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="seconds")


@contextlib.contextmanager
def _lock(target: Path, report: Report) -> Iterator[None]:
    lock = filelock.FileLock(target.with_name(f"{target.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        report(f"{target.name}: waiting, since another process is downloading it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _pinned(target: Path, wanted: Wanted) -> Wanted:
    """Trust on first use: where no digest is known, that of an earlier download is what this one must have."""
    kept = _read_receipt(target)
    if wanted.sha256 is not None or not kept:
        return wanted
    why = f", as {_receipt_file(target)} says of an earlier download; delete that file to accept another one"
    return dataclasses.replace(wanted, size=wanted.size or kept["size"], sha256=kept["sha256"], why=why)


def _from_mirrors(urls: Sequence[str], target: Path, part: Part, wanted: Wanted, pace: Pace, report: Report) -> Fetched:
    import httpx

    failures = []
    with transfer.connect() as client:
        for url in urls:
            try:
                _from_mirror(client, url, part, wanted, pace, report)
                return _finish(target, part, pace, report)
            # ImportError: a SOCKS proxy
            except (httpx.HTTPError, httpx.InvalidURL, ImportError, transfer.MirrorError) as error:
                failures.append(f"{shown(url)}: {str(error).partition(chr(10))[0] or type(error).__name__}")
                report(failures[-1])
    if not part.size:
        part.discard()
    raise FetchError("\n  ".join([f"{target.name}: download failed:", *failures]) + part.kept("\n"))


def _from_mirror(client: httpx.Client, url: str, part: Part, wanted: Wanted, pace: Pace, report: Report) -> None:
    """Attempt one address until the part is whole and right."""
    best, failed, fresh = part.offset(url, wanted.sha256), 0, False
    while True:
        try:
            if wanted.sha256 is None or part.sha256() != wanted.sha256:  # equal: a run ended just before naming it
                transfer.attempt(client, url, part, wanted, fresh=fresh, report=report, progress=pace)
            return _verify(part, wanted)
        except transfer.PassingError as error:
            length = part.origin.length if part.origin else None
            if part.size - best >= min(_STEP, max(1, length // 100) if length else _STEP):
                best, failed = part.size, 0
            failed += 1
            fresh = isinstance(error, transfer.StartOverError)
            pause = min(_PAUSE * 2 ** (failed - 1), _LONGEST_PAUSE) * random.uniform(0.5, 1.5)
            if failed == _ATTEMPTS:
                raise transfer.MirrorError(f"{error}; given up after {failed} attempts without progress") from error
            if error.wait > _LONGEST_WAIT:
                raise transfer.MirrorError(f"{error}; asks to wait {error.wait:,.0f} s, which is too long") from error
            pause = 0.0 if fresh else max(pause, error.wait)
            report(f"{shown(url)}: {error}; " + ("starting over" if fresh else f"trying again in {pause:.1f} s"))
            time.sleep(pause)


def _verify(part: Part, wanted: Wanted) -> None:
    with part.path.open("rb") as file:
        head = file.read(transfer.HEAD)
    try:
        transfer.refuse_body(head, wanted.kind)
        if wanted.sha256 not in (None, part.sha256()):
            raise transfer.MirrorError(f"has sha256 {part.sha256()}, expected {wanted.sha256}{wanted.why}")
    except transfer.MirrorError as error:
        resumed = part.resumed
        part.discard()
        if resumed:  # the fault may lie in what was there before: a tail torn by power loss, another mirror's bytes
            raise transfer.StartOverError(str(error)) from error
        raise


def _finish(target: Path, part: Part, pace: Pace, report: Report) -> Fetched:
    """Give the file its name. A crash between any two of these steps leaves nothing wrong."""
    digest, url = part.sha256(), part.origin.url if part.origin else ""
    with part.path.open("rb") as file:
        os.fsync(file.fileno())
        status = os.fstat(file.fileno())
    part.path.replace(target)
    sync(target.parent)
    made = _write_receipt(target, status, url, digest, _iso(time.time()))
    part.discard()
    report(f"{target.name}: {pace.summary()}, sha256 {digest}")
    return made
