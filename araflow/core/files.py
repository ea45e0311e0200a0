"""What araflow writes into folders: whole files, and the names by which it knows its own."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import secrets
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from araflow.core.errors import AraflowError, OutputError

if TYPE_CHECKING:
    import pyarrow as pa

PROOF = ".araflow.json"
"""The clip's record: the proof that it is complete."""
STATE = ".araflow"
"""Hidden folder of everything that is not output."""
_CHUNK = 1 << 20
_NO_SYNC = {errno.EINVAL, errno.EBADF}
"""What file systems say that have no such thing, for folders above all."""
_DRAFT = re.compile(r"\.araflow-([0-9a-f]{24})([0-9a-f]{8})\.draft")
_LOCK = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def replace(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; leave it untouched if it says the same already.

    Raises:
        OSError: It cannot be written.
    """
    if says(path, content):
        sweep(path.parent)
        return
    with draft(path) as part:
        part.write_bytes(content)


def replace_json(path: Path, content: object) -> None:
    """Write a JSON file as ``replace`` does, for people to read as well.

    Raises:
        OSError: It cannot be written.
    """
    replace(path, as_json(content))


def as_json(content: object) -> bytes:
    """Return what ``replace_json`` writes."""
    # A file name need not be text; JSON has the same escape for what is none as Python has.
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    return text.encode("utf-8", "backslashreplace")


def write_all(files: Mapping[Path, bytes]) -> list[Path]:
    """Write files as ``replace`` does, one after the other, and make the folders that they need.

    Returns:
        Their paths.

    Raises:
        OutputError: One cannot be written; the message names it.
    """
    for path, content in files.items():
        with explained(path, "cannot be written"):
            path.parent.mkdir(parents=True, exist_ok=True)
            replace(path, content)
    return list(files)


def parquet(table: pa.Table) -> bytes:
    """Return a table as the Parquet file of it, for ``replace``."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue().to_pybytes()  # type: ignore[no-any-return]


@contextlib.contextmanager
def draft(path: Path) -> Iterator[Path]:
    """Give a new file beside ``path`` to be written, which takes its place when the block ends without an error.

    What takes its place is on the disk: after a power cut, too, there is the old file or the new one. Nobody can guess
    the draft's name, and it is locked while it is written: what a killed process left is told from what lives.

    Yields:
        The draft's path: an empty file. It is gone after an error.

    Raises:
        OSError: It cannot be written.
    """
    sweep(path.parent)
    part, handle = _begin(path.parent)
    try:
        yield part
        sync(part)
        part.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):  # the first error says more
            part.unlink(missing_ok=True)
        raise
    finally:
        os.close(handle)
    sync(path.parent)


def draft_name() -> str:
    """Return a name for a file, or a folder, that is being made: nobody can guess it, and ``is_draft`` knows it."""
    drawn = secrets.token_hex(12)
    return f".araflow-{drawn}{_check(drawn)}.draft"


def is_draft(name: str) -> bool:
    """Whether a file's name is one that ``draft`` gives, and nobody else."""
    found = _DRAFT.fullmatch(name)
    return found is not None and found[2] == _check(found[1])


def sweep(folder: Path) -> None:
    """Remove the drafts that killed processes have left in a folder."""
    try:
        found = [Path(entry.path) for entry in os.scandir(folder) if is_draft(entry.name) and _is_file(entry)]
    except OSError:  # whoever writes there will say why not
        return
    for part in found:
        with contextlib.suppress(OSError), only_holder(part, make=False):
            part.unlink()


@contextlib.contextmanager
def only_holder(path: Path, *, make: bool = True) -> Iterator[None]:
    """Hold a lock on a file while the block runs; what the file holds stays as it is.

    Args:
        path: The file.
        make: Make it where it is absent.

    Raises:
        BlockingIOError: Another process holds it.
        OSError: It is a link, or absent, or its file system has no locks.
    """
    handle = os.open(path, _LOCK | (os.O_CREAT if make else 0), 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def _begin(folder: Path) -> tuple[Path, int]:
    while True:
        part = folder / draft_name()
        handle = os.open(part, _NEW, 0o666)
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if part.exists():  # else a sweep came between
            return part, handle
        os.close(handle)


def _check(drawn: str) -> str:
    """What follows what was drawn in a draft's name, so that no name of the user's is one by chance."""
    return hashlib.sha256(f"araflow {drawn}".encode()).hexdigest()[:8]


def _is_file(entry: os.DirEntry[str]) -> bool:
    return entry.is_file(follow_symlinks=False)


def link_below(root: Path, path: Path) -> Path | None:
    """Return the first link on the way from a folder, which may be one itself, to what lies below; else ``None``."""
    here = str(root)  # text: this is asked several times for each clip
    for part in path.relative_to(root).parts:
        here = f"{here}{os.sep}{part}"
        try:
            mode = os.lstat(here).st_mode
        except OSError:  # absent, or not to be read: whoever goes there will say so
            return None
        if stat.S_ISLNK(mode):
            return Path(here)
    return None


def sync(path: Path) -> None:
    """Have the disk keep a file's content, or the names in a folder.

    Raises:
        OSError: It cannot.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(handle)


def check_writable(path: Path) -> None:
    """Make sure that a file can be written, before the work whose result it takes; its folder is made.

    Raises:
        OutputError: It cannot be written, or is a folder.
    """
    with explained(path, "cannot be written"):
        path.parent.mkdir(parents=True, exist_ok=True)
        part, handle = _begin(path.parent)
        os.close(handle)
        part.unlink()


@contextlib.contextmanager
def explained(path: object, problem: str, error: type[AraflowError] = OutputError) -> Iterator[None]:
    """Turn what the system says into an error of araflow: ``<path>: <problem>: <what the system says>``.

    Args:
        path: The file or folder that is being worked on.
        problem: What cannot be done, such as "cannot be written".
        error: What is raised.

    Raises:
        AraflowError: Of the given type, in the place of an ``OSError``.
    """
    try:
        yield
    except OSError as caught:
        raise error(f"{path}: {problem}: {caught.strerror or caught}") from caught


def says(path: Path, content: bytes) -> bool:
    """Whether there is a file, no link, that holds this."""
    if path.is_symlink() or not path.is_file() or path.stat().st_size != len(content):
        return False
    there = memoryview(content)
    with path.open("rb") as file:
        return all(file.read(_CHUNK) == there[at : at + _CHUNK] for at in range(0, len(content), _CHUNK))
