"""What is remembered of a dataset's parts: what each held, and what the user gave.

Beside ``<part>.json`` lies ``<part>.begun`` from the first file that is unpacked until the record is written.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, PlainSerializer

from araflow.acquire import registry
from araflow.acquire.notes import read_note
from araflow.acquire.types import Part
from araflow.core.addresses import lasting
from araflow.core.errors import SourceError
from araflow.core.files import STATE, explained, replace_json
from araflow.core.fingerprint import digest

_GIVEN = "given.json"
_Keys = Annotated[frozenset[str], PlainSerializer(sorted)]


class _Note(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")  # what a later version writes besides is kept


class Held(_Note):
    """What a part held, whatever was wanted of it then.

    Attributes:
        url: The part's address, masked.
        names: File names of its clips, in the archive's order.
        kept: Keys of the clips whose videos are to stay in the dataset's folder.
        archive: The archive is to stay, too.
    """

    url: str
    names: tuple[str, ...]
    kept: _Keys
    archive: bool


class Given(_Note):
    """Keys of the clips that the user gave, and of those of which the user gave replacements."""

    clips: _Keys
    replacements: _Keys


class Records:
    """The records in a dataset's folder.

    Args:
        folder: The dataset's folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / STATE / "parts"

    def held(self, part: Part) -> Held | None:
        """Return what a part held, or ``None`` while it has not been fetched.

        Raises:
            SourceError: That is on record, but cannot be read.
        """
        return read_note(self._file(part), Held, "delete it to have the part fetched again")

    def lies_there(self, part: Part) -> bool:
        """Whether there is a record of a part, readable or not."""
        return os.path.lexists(self._file(part))

    def given(self) -> Given:
        """Return what the user gave.

        Raises:
            SourceError: That is on record, but cannot be read.
        """
        remedy = "mend it, or give your videos again after you have deleted it (araflow fetch --from)"
        return read_note(self._folder / _GIVEN, Given, remedy) or Given(clips=frozenset(), replacements=frozenset())

    def write_held(self, part: Part, held: Held) -> None:
        """Keep what a part held: from now on it is not fetched again.

        Raises:
            SourceError: It cannot be written.
        """
        self._write(self._file(part), held)
        self.begun(part).unlink(missing_ok=True)

    def write_given(self, given: Given) -> None:
        """Keep what the user gave.

        Raises:
            SourceError: It cannot be written.
        """
        self._write(self._folder / _GIVEN, given)

    def begun(self, part: Part) -> Path:
        """Return the file that lies there while a part is unpacked; its folder is made."""
        self._folder.mkdir(parents=True, exist_ok=True)
        return self._file(part).with_suffix(".begun")

    def _file(self, part: Part) -> Path:
        name = f"{part.subset or 'replacement'}-{registry.file_name(part.url)}-{short_digest(part)}.json"
        return self._folder / name

    def _write(self, path: Path, note: _Note) -> None:
        with explained(path, "cannot be written", SourceError):
            self._folder.mkdir(parents=True, exist_ok=True)
            replace_json(path, note.model_dump(mode="json"))


def short_digest(part: Part) -> str:
    """Return what tells parts of one name apart."""
    return digest({"url": lasting(part.url)})[:8]
