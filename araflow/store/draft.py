"""Writes a clip beside the finished ones, and moves it into place when it is complete."""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from araflow.core.clip import ClipRecord
from araflow.core.errors import OutputError
from araflow.core.files import PROOF
from araflow.store import layout
from araflow.store.layout import KINDS, is_same, stem

if TYPE_CHECKING:
    from araflow.core.spec import Naming
    from araflow.store.store import Store

_TAKEN = {errno.ENOTEMPTY, errno.EEXIST}
_MOST_TRIES = 20
"""To place a clip while others do the same; each try that fails means that another one got on."""


class ClipWriter:
    """Writes one clip into the work area and moves it into place when it is complete.

    Args:
        store: The output folder.
        key: The clip's key.
        kinds: Its folders.
    """

    def __init__(self, store: Store, key: str, kinds: tuple[str, ...] = KINDS) -> None:
        self._store, self._key = store, key
        self._folder = store.work / uuid.uuid4().hex
        self.written = dict.fromkeys(kinds, 0)
        self._names: dict[str, list[str]] = {kind: [] for kind in kinds}
        for kind in kinds:
            (self._folder / kind).mkdir(parents=True)
        self._prefixes = {kind: f"{self._folder / kind}{os.sep}" for kind in kinds}

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

    def rename_frames(self, naming: Naming, total: int) -> None:
        """Give the names their final width where a clip's header was wrong about the number of frames."""
        for kind, names in self._names.items():
            # Backwards, because a shorter number never equals a longer one but order keeps it plainly safe.
            for index in reversed(range(len(names))):
                final = stem(naming, index, total) + Path(names[index]).suffix
                if final != names[index]:
                    Path(self._prefixes[kind] + names[index]).rename(self._prefixes[kind] + final)
                    names[index] = final

    def kept_rgb(self) -> list[int]:
        """Return the sizes in bytes of the earlier clip's ``rgb`` files."""
        return [entry.stat().st_size for entry in os.scandir(self._store.clip_folder(self._key) / "rgb")]

    def commit(self, record: ClipRecord, *, keep_rgb: bool) -> None:
        """Write the proof and move the clip into place, replacing what an earlier run made.

        Where another process has made the same clip meanwhile, its is kept: both hold the same.

        Args:
            record: The clip's record; its ``outcome`` is done.
            keep_rgb: Take over the earlier clip's ``rgb`` folder instead of this one's (empty) one.

        Raises:
            OutputError: The clip would lie inside another one's folder.
            OSError: It cannot be written, or the ``rgb`` folder to keep is gone.
        """
        final = self._store.clip_folder(self._key)
        # Whatever needs space comes first: on a full disk the earlier clip stays.
        layout.dump(self._folder / PROOF, record)
        if any((parent / PROOF).exists() for parent in final.parents if self._store.clips in parent.parents):
            raise OutputError(f"{final}: would lie inside another clip's folder; choose another out")
        final.parent.mkdir(parents=True, exist_ok=True)
        for _ in range(_MOST_TRIES):
            if is_same(self._store.find_made(self._key), record):
                self._store.remove_record(self._key)
                return
            retired = self._store.retire(self._key)
            if keep_rgb:
                if retired is None:
                    raise FileNotFoundError(errno.ENOENT, "the rgb files to keep are gone", str(final))
                (self._folder / "rgb").rmdir()
                (retired / "rgb").rename(self._folder / "rgb")
                keep_rgb = False
            self._store.remove_record(
                self._key
            )  # before the clip is there: killed in between, nobody would do it later
            try:
                self._folder.rename(final)
            except OSError as error:
                if error.errno not in _TAKEN:
                    raise
                continue  # another process was faster
            finally:
                if retired is not None:
                    shutil.rmtree(retired)
            return
        raise OSError(errno.EBUSY, "another process keeps writing this clip", str(final))

    def discard(self) -> None:
        """Remove a clip that was begun but not committed."""
        shutil.rmtree(self._folder, ignore_errors=True)
