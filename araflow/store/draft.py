"""A clip that is being written, in a folder on this machine, before it has its place in an output."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from araflow.core.clip import ClipRecord
from araflow.core.files import PROOF
from araflow.store import layout
from araflow.store.layout import KINDS, stem

if TYPE_CHECKING:
    from araflow.core.spec import Naming


class ClipDraft:
    """Takes the frame files of one clip.

    Args:
        folder: Where, which is made.
        kinds: Its folders.

    Attributes:
        folder: Where.
        written: Bytes of each kind so far.
    """

    def __init__(self, folder: Path, kinds: tuple[str, ...] = KINDS) -> None:
        self.folder = folder
        self.written = dict.fromkeys(kinds, 0)
        self._names: dict[str, list[str]] = {kind: [] for kind in kinds}
        self._digests: dict[str, list[str]] = {kind: [] for kind in kinds}
        for kind in kinds:
            (folder / kind).mkdir(parents=True)
        self._whole: set[str] = set()
        """Kinds whose files are not named after frames."""
        self._prefixes = {kind: f"{folder / kind}{os.sep}" for kind in kinds}

    def write(self, kind: str, name: str, data: bytes) -> None:
        """Write one frame file.

        Raises:
            OSError: It cannot be written whole.
        """
        with open(self._prefixes[kind] + name, "xb", buffering=0) as file:  # noqa: PTH123 - twice as fast as Path.open
            done = file.write(data)
            while done < len(data):  # a disk that fills up takes the first part without an error
                done += file.write(data[done:])
        self.written[kind] += len(data)
        self._names[kind].append(name)
        self._digests[kind].append(hashlib.sha256(data).hexdigest())

    def adopt(self, kind: str, name: str) -> None:
        """Count a file that somebody else has written into the draft, and that is no single frame's.

        Raises:
            OSError: It cannot be read.
        """
        path = self.folder / kind / name
        with path.open("rb") as file:
            self._digests[kind].append(hashlib.file_digest(file, "sha256").hexdigest())
        self.written[kind] += path.stat().st_size
        self._names[kind].append(name)
        self._whole.add(kind)

    def rename_frames(self, naming: Naming, total: int) -> None:
        """Give the names their final width where a clip's header was wrong about the number of frames."""
        for kind, names in self._names.items():
            if kind in self._whole:
                continue
            # Backwards, because a shorter number never equals a longer one but order keeps it plainly safe.
            for index in reversed(range(len(names))):
                final = stem(naming, index, total) + Path(names[index]).suffix
                if final != names[index]:
                    Path(self._prefixes[kind] + names[index]).rename(self._prefixes[kind] + final)
                    names[index] = final

    def digest(self, *kinds: str) -> str:
        """Return the digest of names and bytes of what was written of these kinds."""
        written = {
            f"{kind}/{name}": inner
            for kind in kinds
            for name, inner in zip(self._names.get(kind, ()), self._digests.get(kind, ()), strict=True)
        }
        return layout.files_digest(written)

    def names(self) -> set[str]:
        """Return how the clip's files are named, its proof's too."""
        return {PROOF, *(f"{kind}/{name}" for kind, names in self._names.items() for name in names)}

    def seal(self, record: ClipRecord) -> None:
        """Write the proof.

        Raises:
            OSError: It cannot be written.
        """
        (self.folder / PROOF).write_bytes(layout.encode(record))

    def lacks(self, kind: str) -> bool:
        """Whether there are no files of a kind."""
        return not any((self.folder / kind).iterdir())

    def discard(self) -> None:
        """Remove what has not been moved into its place."""
        shutil.rmtree(self.folder, ignore_errors=True)
