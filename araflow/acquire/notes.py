"""What araflow remembers in a dataset's folder: small JSON and CSV files that are read, changed and written back.

One that cannot be read, or not be understood, is an error, never an absent one: whoever took it for that would fetch
again what is there, delete what a user gave, or write over what a later version knows.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from araflow.core.errors import SourceError
from araflow.core.files import explained, replace
from araflow.core.reading import problem_of, read_file

_Note = TypeVar("_Note", bound=BaseModel)


class DamagedNoteError(SourceError):
    """A file of araflow's own can be read, but not be understood."""


def read_note(path: Path, model: type[_Note], remedy: str) -> _Note | None:
    """Read a JSON file; ``None`` where there is no such file.

    Args:
        path: The file.
        model: What it holds.
        remedy: Ends the message of an error that is no error of the disk.

    Raises:
        DamagedNoteError: It holds something else.
        SourceError: It cannot be read.
    """
    content = _read(path)
    if content is None:
        return None
    try:
        return model.model_validate_json(content, strict=True)
    except ValidationError as error:
        raise DamagedNoteError(f"{path}: cannot be read: {problem_of(error)}; {remedy}") from error


def read_table(path: Path, columns: Sequence[str]) -> list[list[str]]:
    """Read the rows of a CSV file with these columns, as they are, however many fields each has; none without a file.

    Raises:
        SourceError: It cannot be read, is no CSV file in UTF-8, or has other columns.
    """
    content = _read(path)
    if content is None:
        return []
    try:
        rows = list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True))
    except (csv.Error, UnicodeDecodeError) as error:
        raise SourceError(f"{path}: cannot be read as CSV in UTF-8: {error}; mend it, or move it away") from error
    if not rows or rows[0] != list(columns):
        found = ",".join(rows[0]) if rows else "nothing"
        raise SourceError(
            f"{path}: begins with {found!r}; expected the columns {','.join(columns)}: mend it, or move it away"
        )
    return [row for row in rows[1:] if row]


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file whole or not at all.

    Raises:
        SourceError: It cannot be written.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(columns)
    table.writerows(rows)
    with explained(path, "cannot be written", SourceError):
        replace(path, text.getvalue().encode())


def _read(path: Path) -> bytes | None:
    try:
        return read_file(path)
    except FileNotFoundError:
        for place in (path, *path.parents):
            if os.path.islink(place) and not os.path.exists(place):  # noqa: PTH110, PTH114 - Path's can raise
                raise SourceError(f"{path}: cannot be read: {place} leads to where nothing is now") from None
        return None
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror or error}") from error
