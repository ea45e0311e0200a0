"""Read files that may come from anywhere: regular files alone, and no more of them than they may cost.

A named pipe waits for somebody to write, a device has no end, a link may lead to itself: none of them is opened. What
is text is bounded before it becomes values: YAML by its aliases and its depth, JSON by its depth.
"""

from __future__ import annotations

import errno
import io
import json
import os
import stat
from pathlib import Path
from typing import Any

from araflow.core.errors import brief

_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}
SMALL = 16 << 20
"""Bytes that a note, a list or another small file may have."""


class NotAFileError(OSError):
    """What has this name can be opened, but is no regular file; or a link that leads to itself."""


def open_file(path: Path | str) -> io.BufferedReader:
    """Open a regular file, to be read in binary.

    Raises:
        NotAFileError: It is something else: a pipe, a socket, a device, a folder, a link in a circle.
        OSError: It cannot be opened.
    """
    try:
        _insist(os.stat(path), path)  # noqa: PTH116 - first, since opening a device may set it going
        # It may have become a pipe meanwhile, which must not wait either.
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise NotAFileError(errno.ELOOP, "a link that leads in a circle, not a file", str(path)) from error
        raise
    try:
        _insist(os.fstat(handle), path)
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_file(path: Path | str, most: int | None = None) -> bytes:
    """Return the bytes of a regular file.

    Args:
        path: The file.
        most: Bytes that it may have; ``None``: any number.

    Raises:
        NotAFileError: See ``open_file``.
        OSError: It cannot be read, or is larger.
    """
    with open_file(path) as file:
        if most is None:
            return file.read()
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"larger than the {most:,} bytes that such a file may have", str(path))
    return data


def json_of(text: str | bytes) -> Any:  # noqa: ANN401 - whatever JSON holds
    """Return what a JSON text says.

    Raises:
        ValueError: It is no JSON, or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def problem_of(error: ValueError) -> str:
    """Return what is wrong with what was read, on one line: of all that a Pydantic model finds, the first."""
    errors = getattr(error, "errors", None)  # no import: worker processes start sooner without Pydantic
    if errors is None:
        return brief(" ".join(str(error).split()))
    first = errors(include_url=False, include_input=False)[0]
    where = brief(".".join(map(str, first["loc"])), 100)
    return f"{where}{where and ': '}{brief(first['msg'])}"


def _insist(found: os.stat_result, path: Path | str) -> None:
    kind = stat.S_IFMT(found.st_mode)
    if kind != stat.S_IFREG:
        raise NotAFileError(errno.EINVAL, f"{_KINDS.get(kind, 'something else')}, not a file", str(path))
