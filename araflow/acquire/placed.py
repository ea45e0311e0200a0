"""Which files of a dataset's folder were put there by araflow: what else lies there is the user's, and stays."""

from __future__ import annotations

import filecmp
import json
import os
from pathlib import Path

from isal import isal_zlib

from araflow.core.files import STATE
from araflow.core.reading import json_of

_NAME = "placed.jsonl"
_CHUNK = 1 << 20


class PlacedLog:
    """The log of a folder, in ``.araflow``: a line for each file, with its size and time.

    Args:
        folder: The folder; the caller keeps other processes away.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = folder / STATE / _NAME
        self._known: dict[str, tuple[int, int]] | None = None

    def add(self, path: Path, file: Path) -> None:
        """Note that a file will take its place: before it does, so that none is there that is not known.

        Raises:
            OSError: The log cannot be written.
        """
        status = file.stat()
        name, (size, time) = path.relative_to(self._folder).as_posix(), (status.st_size, status.st_mtime_ns)
        if self._known is not None:
            self._known[name] = (size, time)
        line = f"\n{json.dumps([name, size, time])}\n".encode()  # behind what a killed process has left of a line
        handle = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            os.write(handle, line)
        finally:
            os.close(handle)

    def may_replace(self, path: Path, file: Path) -> bool:
        """Whether nothing of the user's is lost where a file takes the place of another.

        That is so where araflow put that there, and nobody has changed it since; or where it is the beginning of the
        new one, as of a file that was cut short.

        Raises:
            OSError: One of them cannot be read.
        """
        if path.is_symlink() or not path.is_file():
            return False
        status = path.stat()
        if self._read().get(path.relative_to(self._folder).as_posix()) == (status.st_size, status.st_mtime_ns):
            return True
        return filecmp.cmp(path, file, shallow=False) or _begins_with(file, path)

    def _read(self) -> dict[str, tuple[int, int]]:
        if self._known is None:
            self._known = {}
            if self._file.is_file() and not self._file.is_symlink():
                with self._file.open("rb") as lines:
                    for line in lines:
                        try:
                            name, size, time = json_of(line)
                            self._known[str(name)] = (int(size), int(time))
                        except (ValueError, TypeError):
                            continue
        return self._known


def crc32_of(path: Path) -> int:
    """Return the CRC-32 of a file's bytes, as archives have it.

    Raises:
        OSError: It cannot be read.
    """
    value = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            value = isal_zlib.crc32(chunk, value)
    return value


def _begins_with(file: Path, beginning: Path) -> bool:
    left = beginning.stat().st_size
    with file.open("rb") as whole, beginning.open("rb") as part:
        while left > 0:
            chunk = part.read(min(left, _CHUNK))
            if not chunk or whole.read(len(chunk)) != chunk:
                return False
            left -= len(chunk)
    return True
