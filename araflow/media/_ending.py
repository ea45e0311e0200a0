"""What is said of a file's end, and the bytes that it is said by."""

from __future__ import annotations

import dataclasses
import os

_MOST_LOOKS = 1_000_000
"""Of all containers, only recordings of unknown length are looked at packet by packet; this is hours of one."""


@dataclasses.dataclass(frozen=True, slots=True)
class Ending:
    """Whether a file ends where its container says.

    Attributes:
        lacking: What is not there, in words; empty if nothing is known to be lacking.
        sure: The file was cut. Otherwise it may have been: a mark that most files of the kind end with is absent.
    """

    lacking: str = ""
    sure: bool = False


UNKNOWN = Ending()
"""Nothing is known to be lacking."""


class EndlessError(Exception):
    """A file has more parts than are looked at."""


class Bytes:
    """The bytes of an open file, by their place.

    Args:
        handle: The open file.
        size: Its bytes.
    """

    def __init__(self, handle: int, size: int) -> None:
        self.size = size
        self._handle, self._looks = handle, 0

    def at(self, place: int, count: int) -> bytes:
        """Return ``count`` bytes from a place on, or as many as there are.

        Raises:
            EndlessError: It was asked too often.
        """
        self._looks += 1
        if self._looks > _MOST_LOOKS:
            raise EndlessError
        return os.pread(self._handle, count, place) if 0 <= place < self.size else b""

    def number(self, place: int, count: int, *, little: bool = False) -> int | None:
        """Return the whole number of ``count`` bytes at a place, or ``None`` where the file ends before."""
        data = self.at(place, count)
        return int.from_bytes(data, "little" if little else "big") if len(data) == count else None

    def short_of(self, end: int) -> Ending:
        """Say whether the file is shorter than ``end``, which its container declares."""
        if end <= self.size:
            return UNKNOWN
        return Ending(f"the container declares {end:,} bytes, the file has {self.size:,}", sure=True)
