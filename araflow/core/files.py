"""What araflow writes into folders: whole files, and the names by which it knows its own."""

from __future__ import annotations

import contextlib
import errno
import json
import os
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


def replace(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; leave it untouched if it says the same already.

    Raises:
        OSError: It cannot be written.
    """
    if _says(path, content):
        _part(path).unlink(missing_ok=True)  # of a run that was killed
        return
    with draft(path) as part:
        part.write_bytes(content)


def replace_json(path: Path, content: object) -> None:
    """Write a JSON file as ``replace`` does, for people to read as well.

    Raises:
        OSError: It cannot be written.
    """
    # A file name need not be text; JSON has the same escape for what is none as Python has.
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    replace(path, text.encode("utf-8", "backslashreplace"))


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
    """Give a file beside ``path`` to be written, which takes its place when the block ends without an error.

    What takes its place is on the disk: after a power cut, too, there is the old file or the new one.

    Yields:
        The draft's path; there is no such file yet. It is gone after an error.

    Raises:
        OSError: It cannot be written.
    """
    part = _part(path)
    try:
        yield part
        sync(part)
        part.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):  # the first error says more
            part.unlink(missing_ok=True)
        raise
    sync(path.parent)


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
        _part(path).touch()
        _part(path).unlink()


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


def _part(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def _says(path: Path, content: bytes) -> bool:
    if not path.is_file() or path.stat().st_size != len(content):
        return False
    there = memoryview(content)
    with path.open("rb") as file:
        return all(file.read(_CHUNK) == there[at : at + _CHUNK] for at in range(0, len(content), _CHUNK))
