"""The receipt of a downloaded file, beside it as ``<name>.fetched.json``: what tells later that the file is whole.

Where no digest is known of a file, its receipt's is what a later download must have: a receipt that cannot be read is
no absent one.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from araflow.acquire.fetch import _answers as answers
from araflow.acquire.fetch._answers import Wanted
from araflow.acquire.fetch._pace import amount
from araflow.acquire.fetch._part_file import Origin, PartFile
from araflow.acquire.notes import read_note
from araflow.core.errors import FetchError, SourceError
from araflow.core.files import replace_json


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


class Receipt(BaseModel):
    """What a receipt says; the file's time, in nanoseconds, tells whether it was touched since."""

    model_config = ConfigDict(frozen=True, extra="allow")  # what a later version writes besides is kept

    url: str
    size: int
    sha256: str
    fetched: str
    mtime_ns: int


def path_of(target: Path) -> Path:
    """Return where a file's receipt lies."""
    return target.with_name(f"{target.name}.fetched.json")


def read(target: Path) -> Receipt | None:
    """Return a file's receipt; ``None`` where there is none.

    Raises:
        FetchError: It is there, but cannot be read.
    """
    try:
        return read_note(path_of(target), Receipt, "delete it to have the file beside it checked, and trusted, anew")
    except SourceError as error:
        raise FetchError(str(error)) from error


def write(target: Path, receipt: Receipt) -> Fetched:
    """Write a file's receipt."""
    replace_json(path_of(target), receipt.model_dump())
    return _fetched(target, receipt)


def stamp(target: Path) -> tuple[int, int, int] | None:
    """Return what changes when another file gets this name; ``None`` where there is none."""
    if not target.is_file():
        return None
    status = target.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


def existing(target: Path, wanted: Wanted, report: Callable[[str], None]) -> Fetched | None:
    """Return the file that is there, if it is right; its receipt is written anew where a crash or a copy lost it.

    Raises:
        FetchError: A folder, a dead link or a wrong file of the user's is in its place, or its receipt cannot be read.
        OSError: The file cannot be read.
    """
    if target.is_dir():
        raise FetchError(f"{target}: is a folder, so no file can be downloaded to it")
    if not target.is_file():
        if target.is_symlink():  # to a disk that is not there now, say
            raise FetchError(f"{target}: is a link that leads nowhere, so no file can be downloaded to it")
        return None
    kept, status = read(target), target.stat()
    same = kept is not None and (status.st_size, status.st_mtime_ns) == (kept.size, kept.mtime_ns)
    if kept is not None and same and wanted.size in (None, kept.size) and wanted.sha256 in (None, kept.sha256):
        report(f"{target} is there already")
        return _fetched(target, kept)
    report(f"{target}: {amount(status.st_size)} are there already; checking them")
    try:
        return _checked(target, kept, wanted)
    except answers.MirrorError as error:
        if target.is_symlink() or (kept is None and not PartFile(target).is_ours):
            raise FetchError(
                f"{target}: {error}; araflow did not download it, so it stays as it is: move it away, or name another "
                "folder"
            ) from error
        report(f"{target}: {error}; it is fetched anew")
        return None


def pinned(target: Path, wanted: Wanted) -> Wanted:
    """Trust on first use: where no digest is known, that of an earlier download is what this one must have.

    Raises:
        FetchError: The receipt cannot be read.
    """
    kept = read(target)
    if wanted.sha256 is not None or kept is None:
        return wanted
    why = f", as {path_of(target)} says of an earlier download; delete that file to accept another one"
    return dataclasses.replace(wanted, size=wanted.size or kept.size, sha256=kept.sha256, why=why)


def receipt_of(status: os.stat_result, sha256: str, origin: Origin | None, seconds: float) -> Receipt:
    """Return the receipt of a file that was hashed.

    Args:
        status: Taken when it was opened.
        sha256: Its digest.
        origin: Where it came from, if that is known.
        seconds: When it was complete, as of ``time.time``.
    """
    fetched = datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="seconds")
    url = origin.url if origin else ""
    return Receipt(url=url, size=status.st_size, sha256=sha256, fetched=fetched, mtime_ns=status.st_mtime_ns)


def _checked(target: Path, kept: Receipt | None, wanted: Wanted) -> Fetched:
    with target.open("rb") as file:
        status = os.fstat(file.fileno())
        if wanted.size not in (None, status.st_size):
            raise answers.MirrorError(f"has {status.st_size:,} bytes, expected {wanted.size:,}")
        answers.refuse_body(file.read(answers.HEAD), wanted.kind)
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    expected = wanted.sha256 or (kept and kept.sha256)
    if expected not in (None, digest):
        raise answers.MirrorError(f"has sha256 {digest}, expected {expected}")
    made = receipt_of(status, digest, PartFile(target).origin, status.st_mtime)  # a run may have been killed before it
    if kept is not None:
        made = kept.model_copy(update={"size": made.size, "sha256": digest, "mtime_ns": made.mtime_ns})
    try:
        return write(target, made)
    except OSError:  # a folder that is read-only by now is as good a source
        return _fetched(target, made)


def _fetched(target: Path, known: Receipt) -> Fetched:
    return Fetched(target, known.url, known.size, known.sha256, known.fetched)
