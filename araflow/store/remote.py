"""An output in object storage, such as ``s3://bucket/folder``: anything that fsspec reaches.

The layout is that of a folder (``store.py``), so that a copy of it is one. A clip is made in a local folder by the same
code and then uploaded, its proof last: without its proof it counts as nothing. What is only worked with (drawn or
unpacked videos, half-made clips) lies in the cache folder of each machine.

Object storage has no locks; a run holds the output by ``araflow.store.lease``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import email.utils
import io
import itertools
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

from araflow.core.errors import AraflowError, OutputError
from araflow.core.fingerprint import digest
from araflow.core.resources import cache_folder
from araflow.store import lease
from araflow.store._sessions import Sessions
from araflow.store.lease import Lease

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
AT_ONCE = 32
"""Requests at once: an answer takes tens of milliseconds."""
_PATTERN = frozenset("*?[")
"""Characters by which fsspec's ``rm`` takes a name for a pattern, which removes other clips: ``Title [id]``."""
_S3_ROUNDS = 2
"""How often s3fs has the client try; for reading, twice within twice. Storage that never answers costs five minutes."""
_REFUSED = {409, 412}
"""HTTP's Conflict (another one is just being made) and Precondition Failed (there is one)."""
REMEDY = "check the address, the credentials (AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY) and, for a "
REMEDY += "server of your own, AWS_ENDPOINT_URL; what is done is kept: run it again"


@dataclasses.dataclass(frozen=True, slots=True)
class RemotePlace:
    """A prefix of object storage. See ``araflow.store.place.Place`` for what the methods promise.

    Attributes:
        root: A path of universal-pathlib.
    """

    root: Path

    def __str__(self) -> str:
        return str(self.root)

    @property
    def at_once(self) -> int:
        """See ``Place``."""
        return AT_ONCE

    @property
    def renames(self) -> bool:
        """See ``Place``."""
        return False

    @property
    def sessions(self) -> Sessions:
        """See ``Place``."""
        folder = cache_folder() / f"out-{digest({'out': str(self.root)})}"
        return Sessions(folder, str(folder))

    @property
    def files(self) -> Any:  # noqa: ANN401 - a file system of fsspec
        """The file system of fsspec that the output lies in."""
        files = cast(Any, self.root).fs
        if hasattr(files, "call_s3"):
            files.retries = _S3_ROUNDS  # not one of its arguments
        return files

    def object(self, name: str) -> str:
        """Return the path, in ``files``, of what is named from the output."""
        root = cast(Any, self.root)
        return cast(str, root.joinpath(*name.split("/")).path if name else root.path)

    @contextlib.contextmanager
    def reached(self) -> Iterator[None]:
        """Turn what goes wrong with the storage into an error that says what to do.

        Raises:
            OutputError: The storage cannot be reached, or forbids it.
        """
        try:
            yield
        except FileNotFoundError as error:
            raise OutputError(f"{self}: no such bucket or folder ({error}); {REMEDY}") from error
        except AraflowError:
            raise
        except Exception as error:  # botocore's and aiohttp's are no OSErrors, and other systems have their own
            raise OutputError(f"{self}: {type(error).__name__}: {error}; {REMEDY}") from error

    # --- reading ---

    def shown(self, path: Path) -> str:
        """See ``Place``."""
        return str(path.absolute())

    def exists(self, name: str) -> bool:
        """See ``Place``."""
        with self.reached():
            return bool(self.files.exists(self.object(name)))

    def read(self, name: str) -> bytes | None:
        """See ``Place``."""
        with self.reached():
            try:
                return cast(bytes, self.files.cat_file(self.object(name)))
            except FileNotFoundError:
                return None

    def open(self, name: str) -> BinaryIO | None:
        """See ``Place``; this reads all of it, with one request."""
        content = self.read(name)
        return None if content is None else io.BytesIO(content)

    def read_timed(self, name: str, *, ask: bool = True) -> tuple[bytes, float | None] | None:
        """See ``Place``."""
        content = self.read(name)
        if content is None or not ask:
            return None if content is None else (content, None)
        with self.reached():
            try:
                return content, float(self.files.modified(self.object(name)).timestamp())
            except FileNotFoundError:  # removed meanwhile
                return None

    def sizes(self, folder: str, *, deep: bool = True) -> dict[str, int]:
        """See ``Place``."""
        root = self.object(folder)
        with self.reached():
            found = self.files.find(root, detail=True, maxdepth=None if deep else 1)
        return {name[len(root) + 1 :]: int(info["size"]) for name, info in found.items() if name != root}

    def links(self, folder: str, *, deep: bool = True) -> set[str]:
        """See ``Place``; there are none here."""
        return set()

    def mixes_up(self, one: str, other: str) -> bool:
        """See ``Place``; names are bytes here."""
        return False

    def cannot_hold(self, name: str) -> bool:
        """See ``Place``; a key that is none is refused anywhere."""
        return False

    def holders(self, folder: str, file: str) -> Iterator[str]:
        """See ``Place``; this lists every object below the folder."""
        found = sorted(name.removesuffix(f"/{file}") for name in self.sizes(folder) if name.endswith(f"/{file}"))
        last: str | None = None
        for name in found:
            if last is None or not name.startswith(f"{last}/"):
                last = name
                yield name

    def map(self, function: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
        """See ``Place``; many at once."""
        remaining = iter(items)
        with ThreadPoolExecutor(AT_ONCE) as threads:
            # Few, or a first result would be long in coming.
            while some := list(itertools.islice(remaining, 4 * AT_ONCE)):
                yield from threads.map(function, some)

    # --- writing ---

    def put(self, name: str, content: bytes) -> None:
        """Write an object, which appears whole.

        Raises:
            OutputError: See ``reached``.
        """
        with self.reached():
            self.files.pipe_file(self.object(name), content)

    def create(self, name: str, content: bytes) -> bool:
        """Write an object where there is none, and say whether that was so.

        Raises:
            OutputError: See ``reached``.
        """
        with self.reached():
            try:
                self.files.pipe_file(self.object(name), content, mode="create")
            except FileExistsError:
                return False
            except OSError as error:  # s3fs knows Amazon's answer only
                response = getattr(error.__cause__, "response", None) or {}
                if response.get("ResponseMetadata", {}).get("HTTPStatusCode") in _REFUSED:
                    return False
                raise
        return True

    def age(self, name: str) -> float | None:
        """Return the seconds since an object was written: by the storage's clock, because machines' clocks differ.

        Returns:
            ``None`` where nothing tells; 0 where there is no such object.

        Raises:
            OutputError: See ``reached``.
        """
        if not hasattr(self.files, "call_s3"):
            return None
        bucket, key, _ = self.files.split_path(self.object(name))
        with self.reached():
            try:
                head = self.files.call_s3("head_object", Bucket=bucket, Key=key)
            except FileNotFoundError:
                return 0.0
        now = email.utils.parsedate_to_datetime(head["ResponseMetadata"]["HTTPHeaders"]["date"])
        return float((now - head["LastModified"]).total_seconds())

    def check_folder(self, name: str) -> None:
        """See ``Place``; there are neither links nor folders here."""

    def replace(self, name: str, content: bytes) -> None:
        """See ``Place``."""
        if self.read(name) != content:
            self.put(name, content)

    def put_file(self, draft: Path, name: str, before: Callable[[], None]) -> None:
        """See ``Place``."""
        content = draft.read_bytes()
        before()
        self.put(name, content)
        draft.unlink()

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
        """See ``Place``; ``False`` is never returned, since two that write the same take nothing from each other."""
        files = {path.relative_to(draft).as_posix(): path for path in sorted(draft.rglob("*")) if path.is_file()}
        final = files.pop(last).read_bytes()
        # What will be written over is not removed: a process that makes the same clip may have just uploaded it.
        self._remove_below(name, last, {*goes} - files.keys())
        with self.reached():
            self.files.put([str(path) for path in files.values()], [self.object(f"{name}/{one}") for one in files])
        before()
        self.put(f"{name}/{last}", final)
        return True

    def remove(self, names: Iterable[str]) -> None:
        """See ``Place``."""
        paths = [self.object(name) for name in names]
        plain = [path for path in paths if not _PATTERN & set(path)]
        with self.reached():
            if plain:
                with contextlib.suppress(FileNotFoundError):
                    self.files.rm(plain)
            for _ in self.map(self._remove_one, (path for path in paths if _PATTERN & set(path))):
                pass

    def _remove_one(self, path: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self.files.rm_file(path)

    def remove_folder(
        self, name: str, aside: Path, *, first: str, goes: Collection[str], there: Collection[str]
    ) -> None:
        """See ``Place``; what another process has added since it was listed stays, too."""
        self._remove_below(name, first, goes)

    def _remove_below(self, name: str, first: str, goes: Collection[str]) -> None:
        if first in goes:
            self.remove([f"{name}/{first}"])
        self.remove([f"{name}/{one}" for one in sorted({*goes} - {first})])

    def remove_empty(self, folder: str) -> None:
        """See ``Place``; there are no folders here, only names."""

    # --- runs ---

    def held(self, session_id: str) -> contextlib.AbstractContextManager[None]:
        """See ``Place``."""
        return Lease(self, session_id).held()

    def check_held(self, session_id: str) -> None:
        """See ``Place``."""
        Lease(self, session_id).check()

    def is_held(self, session_id: str | None = None) -> bool:
        """See ``Place``."""
        return lease.is_held(self, session_id)
