"""An output in a folder: a clip appears by one rename, and is moved aside by one, unless others' files lie there."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import stat
import tempfile
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, TypeVar

from araflow.core.errors import OutputError
from araflow.core.files import STATE, explained, link_below, replace
from araflow.core.reading import open_file, read_file
from araflow.store import _folders
from araflow.store._sessions import Sessions

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclasses.dataclass(frozen=True, slots=True)
class LocalPlace:
    """A folder. See ``araflow.store.place.Place`` for what the methods promise."""

    root: Path

    def __str__(self) -> str:
        return str(self.root)

    @property
    def at_once(self) -> int:
        """See ``Place``."""
        return 1

    @property
    def renames(self) -> bool:
        """See ``Place``."""
        return True

    @property
    def sessions(self) -> Sessions:
        """See ``Place``."""
        # On the same file system as the finished clips, so that renaming is atomic.
        return Sessions(self.root / STATE, str(self.root))

    def reached(self) -> contextlib.AbstractContextManager[None]:
        """See ``Place``."""
        return contextlib.nullcontext()

    def shown(self, path: Path) -> str:
        """See ``Place``."""
        return path.relative_to(self.root).as_posix()

    def exists(self, name: str) -> bool:
        """See ``Place``."""
        with _absent_or_read(path := self.root / name):
            path.stat()
            return True
        return False

    def read(self, name: str) -> bytes | None:
        """See ``Place``."""
        with _absent_or_read(path := self.root / name):
            return read_file(path)
        return None

    def open(self, name: str) -> BinaryIO | None:
        """See ``Place``."""
        with _absent_or_read(path := self.root / name):
            return open_file(path)
        return None

    def read_timed(self, name: str, *, ask: bool = True) -> tuple[bytes, float | None] | None:
        """See ``Place``."""
        path = f"{self.root}/{name}"  # text, and no context: with 650,000 clips, these take most of the time
        try:
            with open_file(path) as file:
                return file.read(), os.fstat(file.fileno()).st_mtime
        except OSError as error:
            _refuse_unless_absent(path, error)
            return None

    def sizes(self, folder: str, *, deep: bool = True) -> dict[str, int]:
        """See ``Place``."""
        found: dict[str, int] = {}
        below = [""]
        while below:
            inner = below.pop()
            with _absent_or_read(path := self.root / folder / inner), os.scandir(path) as entries:
                empty = True
                for entry in entries:
                    empty = False
                    if entry.is_dir(follow_symlinks=False):
                        below += [f"{inner}{entry.name}/"] if deep else []
                        continue
                    try:
                        found[inner + entry.name] = entry.stat().st_size
                    except OSError as error:  # removed meanwhile
                        _refuse_unless_absent(entry.path, error)
                if empty and inner:
                    found[inner.rstrip("/")] = 0
        return found

    def links(self, folder: str, *, deep: bool = True) -> set[str]:
        """See ``Place``."""
        found: set[str] = set()
        below = [""]
        while below:
            inner = below.pop()
            with _absent_or_read(path := self.root / folder / inner), os.scandir(path) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        below += [f"{inner}{entry.name}/"] if deep else []
                    elif not entry.is_file(follow_symlinks=False):
                        found.add(inner + entry.name)
        return found

    def mixes_up(self, one: str, other: str) -> bool:
        """See ``Place``; tried, since one system has folders of both kinds."""
        with self._names() as folder:
            (folder / one).touch()
            return os.path.lexists(folder / other)

    def cannot_hold(self, name: str) -> bool:
        """See ``Place``; tried."""
        with self._names() as folder:
            try:
                (folder / name).touch()
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.ENOENT, errno.ENAMETOOLONG):
                    raise
                return error.errno != errno.ENAMETOOLONG  # that is a matter of one clip alone
            return [path.name for path in folder.iterdir()] != [name]

    @contextlib.contextmanager
    def _names(self) -> Iterator[Path]:
        state = self.root / STATE
        with explained(self.root, "cannot be written to"):
            state.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix="names-", dir=state) as folder:
                yield Path(folder)

    def holders(self, folder: str, file: str) -> Iterator[str]:
        """See ``Place``."""
        below = [""]
        while below:
            inner, found = below.pop(), []
            with _absent_or_read(path := self.root / folder / inner), os.scandir(path) as entries:
                found = list(entries)
            if inner and any(entry.name == file for entry in found):
                yield inner.rstrip("/")
            else:  # not through links, which may lead anywhere
                below += [f"{inner}{entry.name}/" for entry in found if entry.is_dir(follow_symlinks=False)]

    def check_folder(self, name: str) -> None:
        """See ``Place``."""
        path = self._path(name)
        while path != self.root:
            if path.exists() and not path.is_dir():
                raise OutputError(f"{path}: is a file where a folder belongs; move it away, or choose another out")
            path = path.parent

    def replace(self, name: str, content: bytes) -> None:
        """See ``Place``."""
        path = self._path(name)
        self.exists(name)  # what cannot be read is not written over
        with explained(self.root, "cannot be written to"):
            path.parent.mkdir(parents=True, exist_ok=True)
            replace(path, content)

    def put_file(self, draft: Path, name: str, before: Callable[[], None]) -> None:
        """See ``Place``."""
        path = self._path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        before()
        draft.replace(path)

    def put_folder(
        self,
        draft: Path,
        name: str,
        *,
        last: str,
        goes: Collection[str],
        keep: Collection[str],
        there: Collection[str],
        before: Callable[[], None],
    ) -> bool:
        """See ``Place``."""
        self.check_folder(name)
        final = self.root / name
        final.parent.mkdir(parents=True, exist_ok=True)
        if _stay(there, goes, keep):
            _folders.merge(draft, final, last=last, goes=goes, before=before)
            return True
        aside = draft.with_name(uuid.uuid4().hex)
        moved = _folders.move_aside(final, aside)
        if keep and not moved:
            return False
        try:
            for one in keep:
                _folders.move_into(aside / one, draft / one)
            before()
            return _folders.rename(draft, final)
        finally:
            if moved:
                _folders.remove_aside(aside, final, goes)

    def remove(self, names: Iterable[str]) -> None:
        """See ``Place``."""
        for name in names:
            path = self._path(name)
            with explained(path, "cannot be removed"):
                path.unlink(missing_ok=True)

    def remove_folder(
        self, name: str, aside: Path, *, first: str, goes: Collection[str], there: Collection[str]
    ) -> None:
        """See ``Place``."""
        final = self._path(name)
        if _stay(there, goes, ()):
            _folders.remove_files(final, goes, first=first)
        elif _folders.move_aside(final, aside):
            _folders.remove_aside(aside, final, goes)

    def remove_empty(self, folder: str) -> None:
        """See ``Place``."""
        path = self._path(folder)
        while path.parent != self.root:
            try:
                path.rmdir()
            except OSError:  # it holds others
                return
            path = path.parent

    def _path(self, name: str) -> Path:
        """Return the path of what will be written or removed."""
        path = self.root / name
        if (link := link_below(self.root, path)) is not None:
            raise OutputError(
                f"{link}: is a link, and araflow follows none below an output: put what it leads to in its place, or "
                "name that as out"
            )
        return path

    def map(self, function: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
        """See ``Place``."""
        return map(function, items)  # one at a time, when it is asked for: a disk answers at once

    def held(self, session_id: str) -> contextlib.AbstractContextManager[None]:
        """See ``Place``."""
        return contextlib.nullcontext()  # the lock of its sessions is all machines' lock

    def check_held(self, session_id: str) -> None:
        """See ``Place``."""
        return  # a folder's lock cannot be taken away

    def is_held(self, session_id: str | None = None) -> bool:
        """See ``Place``."""
        return False  # see held


@contextlib.contextmanager
def _absent_or_read(path: Path) -> Iterator[None]:
    """Go on behind the block where there is nothing at a path."""
    try:
        yield
    except OSError as error:
        _refuse_unless_absent(path, error)


def _refuse_unless_absent(path: str | Path, error: OSError) -> None:
    if error.errno not in _folders.ABSENT:
        raise OutputError(f"{path}: cannot be read: {error.strerror}") from error
    _refuse_lost(str(path))


def _refuse_lost(path: str) -> None:
    """Tell what is not there from what lies on a disk that is not there now."""
    one = path
    while one:
        try:
            mode = os.lstat(one).st_mode
        except OSError:
            one = one.rpartition("/")[0]
            continue
        if stat.S_ISLNK(mode) and not Path(one).exists():
            raise OutputError(f"{path}: cannot be read: {one} is a link to what is not there")
        return


def _stay(there: Collection[str], goes: Collection[str], keep: Collection[str]) -> bool:
    """Whether a folder holds somebody else's files; one that is empty is named as it would be after its files."""
    ours = {folder for name in goes for folder in (name, name.partition("/")[0])}
    return any(name not in ours and name.partition("/")[0] not in keep for name in there)
