"""An output in a folder: what is there appears by one rename, and is moved aside by one."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import shutil
import stat
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, TypeVar

from araflow.core.errors import OutputError
from araflow.core.files import STATE, explained, replace
from araflow.core.reading import open_file, read_file
from araflow.store._sessions import Sessions

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
_ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG}
_TAKEN = {errno.ENOTEMPTY, errno.EEXIST}


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
                    if entry.is_dir():
                        below += [f"{inner}{entry.name}/"] if deep else []
                        continue
                    with _absent_or_read(Path(entry.path)):  # removed meanwhile
                        found[inner + entry.name] = entry.stat().st_size
                if empty and inner:
                    found[inner.rstrip("/")] = 0
        return found

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

    def replace(self, name: str, content: bytes) -> None:
        """See ``Place``."""
        path = self.root / name
        self.exists(name)  # what cannot be read is not written over
        with explained(self.root, "cannot be written to"):
            path.parent.mkdir(parents=True, exist_ok=True)
            replace(path, content)

    def put_file(self, draft: Path, name: str, before: Callable[[], None]) -> None:
        """See ``Place``."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        before()
        draft.replace(path)

    def put_folder(
        self,
        draft: Path,
        name: str,
        *,
        last: str,
        keep: Collection[str],
        there: Mapping[str, int],
        before: Callable[[], None],
    ) -> bool:
        """See ``Place``."""
        final = self.root / name
        final.parent.mkdir(parents=True, exist_ok=True)
        aside = draft.with_name(uuid.uuid4().hex)
        moved = _move_aside(final, aside)
        if keep and not moved:
            return False
        try:
            _keep(keep, aside, draft)
            before()
            return _rename(draft, final)
        finally:
            if moved:
                _remove_aside(aside)

    def remove(self, names: Iterable[str]) -> None:
        """See ``Place``."""
        for name in names:
            with explained(self.root / name, "cannot be removed"):
                (self.root / name).unlink(missing_ok=True)

    def remove_folder(
        self, name: str, aside: Path, *, first: str, keep: Collection[str], there: Mapping[str, int]
    ) -> None:
        """See ``Place``."""
        final = self.root / name
        if not _move_aside(final, aside):
            return
        if keep:
            final.mkdir()
            _keep(keep, aside, final)
        _remove_aside(aside)

    def remove_empty(self, folder: str) -> None:
        """See ``Place``."""
        path = self.root / folder
        while path.parent != self.root:
            try:
                path.rmdir()
            except OSError:  # it holds others
                return
            path = path.parent

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
    if error.errno not in _ABSENT:
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


def _move_aside(folder: Path, aside: Path) -> bool:
    """Move a folder away, and say whether it was there."""
    try:
        folder.rename(aside)
    except OSError as error:
        if error.errno not in _ABSENT or not aside.parent.is_dir():
            raise
        return False  # there is none, or another process was faster
    return True


def _rename(draft: Path, final: Path) -> bool:
    """Give a folder its name, and say whether that was free."""
    try:
        draft.rename(final)
    except OSError as error:
        if error.errno not in _TAKEN:
            raise
        return False
    return True


def _remove_aside(aside: Path) -> None:
    if aside.is_symlink():
        aside.unlink()  # what it leads to is not ours
    else:
        shutil.rmtree(aside)


def _keep(names: Collection[str], aside: Path, folder: Path) -> None:
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            (folder / name).rmdir()  # empty
        (aside / name).rename(folder / name)
