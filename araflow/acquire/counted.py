"""What of a source gets no place in a dataset's folder, counted while it is taken in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePosixPath

from araflow.acquire import walk
from araflow.acquire.types import Places
from araflow.core.listing import Leftovers


class Counted:
    """Places that count what has none; see ``araflow.acquire.types.Places``.

    Args:
        places: Decides.
        why_not: Says of a file without place why that is so, by a code of ``core.listing``.
        over: What is added to: those files, and those whose place another one has.
    """

    def __init__(self, places: Places, why_not: Callable[[PurePosixPath], str], over: Leftovers) -> None:
        self._places, self._why_not, self._over = places, why_not, over
        self._first: dict[PurePosixPath, PurePosixPath] = {}
        self._left: set[PurePosixPath] = set()

    @property
    def wanted(self) -> frozenset[str] | None:
        """Names of the classes that are wanted; ``None`` for all."""
        return self._places.wanted

    def place(self, found: PurePosixPath) -> PurePosixPath | None:
        """Return where a file belongs; asked again, it is counted no second time."""
        place = self._places.place(found)
        if place is None:
            if not walk.is_archive_name(found.name):
                self._leave(found, self._why_not)
        elif self._first.setdefault(place, found) != found:
            self._leave(found, lambda _: "twice")
        return place

    def enter(self, found: PurePosixPath) -> bool:
        """Whether an archive may hold something wanted."""
        return self._places.enter(found)

    def _leave(self, found: PurePosixPath, why: Callable[[PurePosixPath], str]) -> None:
        if found not in self._left:
            self._left.add(found)
            self._over.add(why(found), found.suffix.lower() or "without suffix", str(found))
