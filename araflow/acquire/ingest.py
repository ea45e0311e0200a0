"""From what a user has or a mirror sends to a folder of files in their places, whatever the nesting of archives.

HMDB51 travels as a RAR of 51 RARs, as class RARs, as a ZIP of clips, as a ZIP of RARs and as class folders; UCF101 with
class folders or flat; Kinetics as tars of three shapes. So nothing here trusts the name of an archive: each is opened,
and ``Places`` decides for every file in it by its whole path, which begins with the names of the archives around it.

A file appears under its final name only whole and verified, so what is there already is not unpacked again.
"""

from __future__ import annotations

import contextlib
import filecmp
import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from araflow.acquire import archives, tree, walk
from araflow.acquire.placed import PlacedLog, crc32_of
from araflow.acquire.tree import Kind
from araflow.acquire.types import Places
from araflow.core.errors import ArchiveError, SourceError
from araflow.core.files import STATE, link_below, replace_json
from araflow.core.fingerprint import digest
from araflow.core.listing import Leftovers, PassedOver
from araflow.core.reading import json_of, read_file

_DEEPEST = 3
"""Archives within archives; the real ones have two levels."""


def ingest(
    source: Path,
    target: Path,
    places: Places,
    *,
    report: Callable[[str], None] = lambda _: None,
    again: bool = False,
    over: Leftovers | None = None,
) -> list[PurePosixPath]:
    """Bring every wanted file of an archive, or of a folder of files and archives, into its place.

    Args:
        source: The archive, or the folder; it is not changed. Loose files of a folder are linked where that is
            possible, and copied where not.
        target: The folder to fill; the caller keeps other processes away.
        places: Which files are wanted, and where they belong.
        report: Called with one line per archive.
        again: Look into every archive, also where it is on record what it held.
        over: Gets what is passed over in a folder whatever ``places`` say: see ``araflow.acquire.tree``.

    Returns:
        Where the wanted files are, sorted, relative to ``target``.

    Raises:
        ArchiveError: An archive is damaged, unsafe, cannot be unpacked here, or holds two different files that belong
            in one place, or one that differs from a loose one; of loose ones the first is taken.
        SourceError: The source cannot be read, or the target not be written.
    """
    work = _Ingestion(target, places, report, again, Leftovers() if over is None else over)
    try:
        with work.scratch():
            work.take(source)
            found = {name for place in work.placed for name in place.parts}
            if work.passed_over and places.wanted is not None and not places.wanted <= found:
                report(f"{source}: not every wanted class was found; looking into archives of other names, too")
                work.enters_all = True
                work.take(source)
    except OSError as error:
        raise SourceError(f"{error.filename or target}: {error.strerror or error}") from error
    return sorted(work.placed)


class _Ingestion:
    def __init__(
        self, target: Path, places: Places, report: Callable[[str], None], again: bool, over: Leftovers
    ) -> None:
        self.target, self.places, self.report, self.again = target, places, report, again
        self.over = over
        self.placed: dict[PurePosixPath, PurePosixPath] = {}
        self._loose: dict[PurePosixPath, PurePosixPath] = {}
        self.passed_over = self.enters_all = False
        self._scratch = target
        self._log = PlacedLog(target)
        self._number = 0

    @contextlib.contextmanager
    def scratch(self) -> Iterator[None]:
        state = self.target / STATE
        self._refuse_link(state)
        state.mkdir(parents=True, exist_ok=True)
        with archives.scratch(state / "scratch") as self._scratch:
            yield

    def _refuse_link(self, path: Path) -> None:
        if (link := link_below(self.target, path)) is not None:
            raise SourceError(f"{link}: is a link, and nothing is unpacked through one; put a folder in its place")

    @contextlib.contextmanager
    def _empty_folder(self) -> Iterator[Path]:
        self._number += 1
        folder = self._scratch / str(self._number)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def take(self, source: Path) -> None:
        if not source.is_dir():
            self.take_archive(source, PurePosixPath(source.name))
            return
        seen = tree.look_through(source, own=True)  # it may be the target
        if not self.enters_all:
            self.over.extend(seen.passed_over.entries())
        for file in seen.files:
            found = PurePosixPath(file.place)
            if file.kind is Kind.ARCHIVE:
                if self._enters(found):
                    self.take_archive(file.path, found)
            elif (place := self.places.place(found)) is not None:
                self._link(file.path, found, place)

    def take_archive(self, path: Path, found: PurePosixPath, depth: int = 1) -> None:
        with archives.open_archive(path) as archive:
            take = self._take_members if archive.random_access else self._take_stream
            take(archive, found, depth)
            for line in archives.remarks(archive, lambda name: self.places.place(found / name) is not None):
                self.report(f"{found}: {line}")

    def _take_members(self, archive: archives.Archive, found: PurePosixPath, depth: int) -> None:
        """Class by class, and one inner archive at a time, so that little is lost and little room is needed."""
        by_folder: dict[PurePosixPath, dict[str, PurePosixPath]] = defaultdict(dict)
        inner, ready = [], 0
        for member in archive.members():
            if (place := self.places.place(found / member.name)) is not None:
                known = member.crc32 is not None or place not in self.placed
                if known and self.is_there(place, member.size, member.crc32):
                    ready += 1
                    self.placed.setdefault(place, found / member.name)
                else:
                    by_folder[place.parent][member.name] = place
            elif self._is_inner(found / member.name, depth):
                inner.append(member)
        if wanted := sum(map(len, by_folder.values())):
            self.report(f"unpacking {found}: {wanted} files" + (f", {ready} are there already" if ready else ""))
        for group in by_folder.values():
            with self._empty_folder() as folder:
                archive.extract(group.__contains__, folder)
                for name, place in group.items():
                    self._claim(place, found / name, folder / name)
        for member in inner:
            mark = _Mark(self, found / member.name, member.size, member.crc32)
            if mark.holds():
                continue
            with self._empty_folder() as folder:
                archive.extract(member.name.__eq__, folder)
                self._take_inner(folder / member.name, found / member.name, depth)
                mark.write()

    def _take_stream(self, archive: archives.Archive, found: PurePosixPath, depth: int) -> None:
        """A tar or solid RAR can only be read from its beginning: everything wanted in one pass."""
        mark = _Mark(self, found, archive.path.stat().st_size, archive.path.stat().st_mtime_ns)
        if mark.holds():
            return
        self.report(f"unpacking {found}")

        def wanted(name: str) -> bool:
            return self.places.place(found / name) is not None or self._is_inner(found / name, depth)

        with self._empty_folder() as folder:
            for member in archive.extract(wanted, folder):
                if (place := self.places.place(found / member.name)) is not None:
                    self._claim(place, found / member.name, folder / member.name)
                else:
                    self._take_inner(folder / member.name, found / member.name, depth)
        mark.write()

    def _is_inner(self, found: PurePosixPath, depth: int) -> bool:
        return depth < _DEEPEST and walk.is_archive_name(found.name) and self._enters(found)

    def _enters(self, found: PurePosixPath) -> bool:
        if self.enters_all or self.places.enter(found):
            return True
        self.passed_over = True
        return False

    def _take_inner(self, path: Path, found: PurePosixPath, depth: int) -> None:
        if not archives.is_archive(path):
            raise ArchiveError(f"{found}: not an archive, in spite of its name")
        self.take_archive(path, found, depth + 1)

    def is_there(self, place: PurePosixPath, size: int, crc32: int | None = None) -> bool:
        """Whether a file of this size and checksum, if one is given, is in a place."""
        path = self.target / place
        return path.is_file() and path.stat().st_size == size and (crc32 is None or crc32_of(path) == crc32)

    def _claim(self, place: PurePosixPath, found: PurePosixPath, file: Path) -> None:
        """Move an unpacked file into its place."""
        if not self._is_taken(place, found, file):
            path = self.target / place
            if not (path.is_file() and filecmp.cmp(file, path, shallow=False)):
                self._move(file, path, found)
            self.placed[place] = found

    def _move(self, file: Path, path: Path, found: PurePosixPath) -> None:
        self._refuse_link(path.parent)
        if os.path.lexists(path) and not self._log.may_replace(path, file):
            raise ArchiveError(f"{path}: is there already, and is not {found}; it stays as it is: move it away")
        path.parent.mkdir(parents=True, exist_ok=True)
        self._log.add(path, file)
        file.replace(path)

    def _is_taken(self, place: PurePosixPath, found: PurePosixPath, file: Path) -> bool:
        """Whether the same file has come to its place in this run; another one there is an error."""
        if (other := self.placed.get(place)) is None:
            return False
        if filecmp.cmp(file, self.target / place, shallow=False):
            return True
        raise ArchiveError(f"{found} and {other} are different files for the same place, {place}")

    def _link(self, file: Path, found: PurePosixPath, place: PurePosixPath) -> None:
        path = self.target / place
        if (first := self._loose.setdefault(place, found)) != found:  # as where clips are listed from folders
            if file.is_file() and path.is_file() and not filecmp.cmp(file, path, shallow=False):
                self.report(f"{found} differs from {first}, which is taken")
            return
        if self._is_taken(place, found, file):
            return
        if not file.is_file():  # a pipe, or a link that leads nowhere: a row, by whoever reads it
            self._refuse_link(path.parent)
            path.parent.mkdir(parents=True, exist_ok=True)
            if not (path.is_symlink() and path.readlink() == file.absolute()):
                path.symlink_to(file.absolute())
        elif not (path.is_file() and (path.samefile(file) or filecmp.cmp(file, path, shallow=False))):
            half = self._scratch / "link"
            try:
                os.link(file.resolve(), half)  # not the link, where it is one
            except OSError:  # another file system, or one without links
                shutil.copyfile(file, half)
            self._move(half, path, found)
        self.placed[place] = found


class _Mark:
    """Remembers what an archive gave that cannot be looked into without unpacking it."""

    def __init__(self, work: _Ingestion, found: PurePosixPath, size: int, content: int | None) -> None:
        self._work, self._found = work, found
        name = digest({"found": str(found), "size": size, "content": content})
        self._file = work.target / STATE / "archives" / f"{name}.json"
        self._before = set(work.placed), work.over.entries()

    def holds(self) -> bool:
        """Whether it has been unpacked, and everything it gave that is wanted now is still there."""
        if self._work.again:
            return False
        try:
            known = json_of(read_file(self._file))
            places = {PurePosixPath(place): size for place, size in known["gave"].items()}
            wanted = None if known["wanted"] is None else frozenset(known["wanted"])
            left = [PassedOver(str(why), str(what), int(n), str(one)) for why, what, n, one in known.get("left", ())]
        except FileNotFoundError:
            return False
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            self._work.report(f"{self._file}: cannot be read ({error}), so {self._found} is unpacked again")
            return False
        now = self._work.places.wanted
        if not (wanted is None or (now is not None and now <= wanted)):
            return False
        if not all(
            not place.is_absolute() and ".." not in place.parts and self._work.is_there(place, size)
            for place, size in places.items()
        ):
            return False
        self._work.placed |= dict.fromkeys(places, self._found)
        if not self._work.enters_all:  # else it was counted at the first look
            self._work.over.extend(left)
        return True

    def write(self) -> None:
        """Put on record what was placed and what was passed over since this was made."""
        placed, over = self._before
        places = set(self._work.placed) - placed
        wanted = self._work.places.wanted
        known = {
            "archive": str(self._found),
            "wanted": None if wanted is None else sorted(wanted),
            "gave": {str(place): (self._work.target / place).stat().st_size for place in sorted(places)},
            "left": [[one.why, one.what, one.count, one.example] for one in self._work.over.since(over)],
        }
        self._file.parent.mkdir(parents=True, exist_ok=True)
        replace_json(self._file, known)
