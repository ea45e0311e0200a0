"""A half-downloaded file, and what is known of where its bytes came from.

What has arrived lies in ``<name>.part``. ``<name>.part.json`` beside it keeps the mirror's address and what the server
said of the file, so that a later attempt, or a later run, can ask for the rest.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from araflow.acquire.notes import read_note
from araflow.core.addresses import masked
from araflow.core.errors import FetchError, SourceError
from araflow.core.files import replace_json


class Origin(BaseModel):
    """Where a part came from: the mirror's address, masked, and the headers of its answer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str
    etag: str | None = None
    last_modified: str | None = None
    length: int | None = None

    @property
    def validator(self) -> str | None:
        """What ``If-Range`` may carry; a weak ETag does not promise the same bytes."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.last_modified

    def differs(self, other: Origin) -> bool:
        """Whether two answers of one mirror are about different bytes, as far as their headers tell."""
        if self.etag and other.etag:
            return self.etag != other.etag
        return None not in (self.last_modified, other.last_modified) and self.last_modified != other.last_modified


class PartFile:
    """The half-made file of a target, and its sidecar. Its bytes are hashed as they arrive.

    Args:
        target: The file.
        report: Called with a line where the sidecar cannot be read, which costs a new start and nothing else.

    Attributes:
        size: Bytes that lie there.
        resumed: Whether they came in more than one attempt, so that a bad digest is not the last mirror's fault alone.
    """

    def __init__(self, target: Path, report: Callable[[str], None] = lambda line: None) -> None:
        self.path = target.with_name(f"{target.name}.part")
        self.sidecar = target.with_name(f"{target.name}.part.json")
        self.size = self.path.stat().st_size if self.path.is_file() else 0
        self.resumed = self.size > 0
        self.origin: Origin | None = None
        try:
            self.origin = read_note(self.sidecar, Origin, "where these bytes came from is not known")
        except SourceError as error:
            report(str(error))
        self._digest, self._hashed = hashlib.sha256(), 0

    @property
    def is_ours(self) -> bool:
        """Whether a download of araflow's was begun here: its sidecar comes first, and goes last."""
        return self.sidecar.is_file() and not self.sidecar.is_symlink()

    def claim(self) -> None:
        """Make sure that what lies here is araflow's.

        Raises:
            FetchError: It is not; it stays as it is.
        """
        links = [path for path in (self.path, self.sidecar) if path.is_symlink()]
        if links or (os.path.lexists(self.path) and not self.is_ours):
            raise FetchError(
                f"{(links or [self.path])[0]}: is not what araflow has begun to download, so it stays as it is: move "
                "it away, or name another folder"
            )

    def sha256(self) -> str:
        """Return the digest; what an earlier run left is read from the disk once."""
        if self._hashed < self.size:
            with self.path.open("rb") as file:
                file.seek(self._hashed)
                while chunk := file.read(1 << 20):
                    self._digest.update(chunk)
            self._hashed = self.size
        return self._digest.hexdigest()

    def offset(self, url: str, sha256: str | None) -> int:
        """Return from which byte on this address can be asked: 0 where nothing proves that it has the same file."""
        return self.size if self.asks_by(url) is not None or sha256 is not None else 0

    def asks_by(self, url: str) -> str | None:
        """Return what proves to this address that it still has the same file, with whatever token it is asked."""
        same = self.origin is not None and masked(self.origin.url) == masked(url)
        return self.origin.validator if same and self.origin is not None else None

    def begin(self, origin: Origin) -> None:
        """Start at byte 0. The old bytes are gone from the disk before the sidecar speaks of new ones."""
        if not self.path.exists():
            self.note(origin)
        with self.path.open("wb") as file:
            os.fsync(file.fileno())
        self.size, self.resumed = 0, False
        self._digest, self._hashed = hashlib.sha256(), 0
        self.note(origin)

    def note(self, origin: Origin) -> None:
        """Keep where the bytes that follow come from."""
        if origin != self.origin or not self.sidecar.is_file():
            replace_json(self.sidecar, origin.model_dump())
        self.origin = origin

    def append(self, chunks: Iterable[bytes], on_size: Callable[[int], None]) -> None:
        """Write chunks behind what is there, and call ``on_size`` with the size after each."""
        self.sha256()
        with self.path.open("ab") as file:
            for chunk in chunks:
                file.write(chunk)
                self._digest.update(chunk)
                self.size = self._hashed = self.size + len(chunk)
                on_size(self.size)

    def kept(self, before: str = "; ") -> str:
        """Return, for the end of a message, that these bytes are not lost; nothing where there are none."""
        if not self.path.is_file() or not self.path.stat().st_size:
            return ""
        return f"{before}{self.path.stat().st_size:,} bytes are kept in {self.path}: the same command resumes there"

    def discard(self) -> None:
        """Remove it: its bytes are wrong."""
        self.path.unlink(missing_ok=True)
        self.sidecar.unlink(missing_ok=True)
        self.size, self.resumed, self.origin = 0, False, None
        self._digest, self._hashed = hashlib.sha256(), 0
