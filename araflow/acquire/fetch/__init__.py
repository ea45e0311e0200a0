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
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from araflow.acquire.fetch import _answers as answers
from araflow.acquire.fetch import _receipts as receipts
from araflow.acquire.fetch._answers import Wanted
from araflow.acquire.fetch._pace import Pace
from araflow.acquire.fetch._pace import amount as amount
from araflow.acquire.fetch._part_file import PartFile
from araflow.acquire.fetch._receipts import Fetched as Fetched
from araflow.acquire.fetch._watch import Limits
from araflow.acquire.types import Progress, no_progress
from araflow.core.addresses import masked, masked_in
from araflow.core.errors import FetchError
from araflow.core.files import sync

if TYPE_CHECKING:
    import httpx

Report = Callable[[str], None]
"""Takes one line for a log."""

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
        seen = receipts.stamp(target)
        if (found := receipts.existing(target, wanted, report)) is not None:
            return found
        target.parent.mkdir(parents=True, exist_ok=True)
        with _lock(target, report):
            # Another process may have made it meanwhile.
            if receipts.stamp(target) != seen and (found := receipts.existing(target, wanted, report)) is not None:
                return found
            wanted, part = receipts.pinned(target, wanted), PartFile(target, report)
            part.claim()
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
        return receipts.existing(target, _NOTHING_KNOWN, lambda line: None) if receipts.read(target) else None
    except OSError as error:
        raise FetchError(f"{target}: cannot be read: {error.strerror or error}") from error


def forget(target: Path) -> None:
    """Delete a downloaded file and its receipt, so that the next download is trusted anew.

    Raises:
        FetchError: It cannot be deleted.
    """
    try:
        for path in (target, receipts.path_of(target)):
            path.unlink(missing_ok=True)
    except OSError as error:
        raise FetchError(f"{target}: cannot be deleted: {error.strerror or error}") from error


@contextlib.contextmanager
def _lock(target: Path, report: Report) -> Iterator[None]:
    import filelock  # likewise: what downloads nothing does without

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


def _from_mirrors(
    urls: Sequence[str], target: Path, part: PartFile, wanted: Wanted, pace: Pace, report: Report
) -> Fetched:
    import httpx

    from araflow.acquire.fetch import _transfer as transfer

    failures = []
    limits = Limits.here()
    with transfer.connect(limits) as client:
        for url in urls:
            try:
                _from_mirror(client, url, part, wanted, limits, pace, report)
                return _finish(target, part, pace, report)
            # ImportError: a SOCKS proxy
            except (httpx.HTTPError, httpx.InvalidURL, ImportError, answers.MirrorError) as error:
                why = "is no address" if isinstance(error, httpx.InvalidURL) else str(error).partition("\n")[0]
                failures.append(f"{masked(url)}: {masked_in(why) or type(error).__name__}")
                report(failures[-1])
    if not part.size:
        part.discard()
    raise FetchError("\n  ".join([f"{target.name}: download failed:", *failures]) + part.kept("\n"))


def _from_mirror(
    client: httpx.Client, url: str, part: PartFile, wanted: Wanted, limits: Limits, pace: Pace, report: Report
) -> None:
    """Attempt one address until the part is whole and right."""
    from araflow.acquire.fetch import _transfer as transfer

    best, failed, fresh = part.offset(url, wanted.sha256), 0, False
    while True:
        try:
            if wanted.sha256 is None or part.sha256() != wanted.sha256:  # equal: a run ended just before naming it
                transfer.attempt(client, url, part, wanted, fresh=fresh, limits=limits, report=report, progress=pace)
            return _verify(part, wanted)
        except answers.PassingError as error:
            length = part.origin.length if part.origin else None
            if part.size - best >= min(_STEP, max(1, length // 100) if length else _STEP):
                best, failed = part.size, 0
            failed += 1
            fresh = isinstance(error, answers.StartOverError)
            pause = min(_PAUSE * 2 ** (failed - 1), _LONGEST_PAUSE) * random.uniform(0.5, 1.5)
            if failed == _ATTEMPTS:
                raise answers.MirrorError(f"{error}; given up after {failed} attempts without progress") from error
            if error.wait > _LONGEST_WAIT:
                raise answers.MirrorError(f"{error}; asks to wait {error.wait:,.0f} s, which is too long") from error
            pause = 0.0 if fresh else max(pause, error.wait)
            report(f"{masked(url)}: {error}; " + ("starting over" if fresh else f"trying again in {pause:.1f} s"))
            time.sleep(pause)


def _verify(part: PartFile, wanted: Wanted) -> None:
    with part.path.open("rb") as file:
        head = file.read(answers.HEAD)
    try:
        answers.refuse_body(head, wanted.kind)
        if wanted.sha256 not in (None, part.sha256()):
            raise answers.MirrorError(f"has sha256 {part.sha256()}, expected {wanted.sha256}{wanted.why}")
    except answers.MirrorError as error:
        resumed = part.resumed
        part.discard()
        if resumed:  # the fault may lie in what was there before: a tail torn by power loss, another mirror's bytes
            raise answers.StartOverError(str(error)) from error
        raise


def _finish(target: Path, part: PartFile, pace: Pace, report: Report) -> Fetched:
    """Give the file its name. A crash between any two of these steps leaves nothing wrong."""
    digest = part.sha256()
    with part.path.open("rb") as file:
        os.fsync(file.fileno())
        status = os.fstat(file.fileno())
    part.path.replace(target)
    sync(target.parent)
    made = receipts.write(target, receipts.receipt_of(status, digest, part.origin, time.time()))
    part.discard()
    report(f"{target.name}: {pace.summary()}, sha256 {digest}")
    return made
