"""A table of text as spreadsheets save it: UTF-8 or UTF-16, with commas, semicolons or tabs between the fields."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from araflow.core.errors import SourceError
from araflow.core.reading import read_file

_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_SEPARATORS = ",;\t"


class Rows(NamedTuple):
    """What a list holds.

    Attributes:
        fields: Line number and the stripped fields by column.
        unread: Columns that are not read, as the header calls them.
    """

    fields: list[tuple[int, dict[str, str]]]
    unread: tuple[str, ...]


def rows(path: Path, names: Mapping[str, Sequence[str]], needed: Sequence[str]) -> Rows:
    """Read the rows of a list.

    Args:
        path: The file, with a header.
        names: Column to what a header may call it, in any case, the first that is there counting; others are not read.
        needed: Columns without which it is no such list.

    Raises:
        SourceError: It cannot be read, or a row has another number of fields than the header.
    """
    header: list[str] | None = None
    chosen: dict[str, int] = {}
    unread: tuple[str, ...] = ()
    found = []
    text = _text(path)
    separator = _separator(text, names, needed)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=separator)
        for fields in reader:
            row = [field.strip() for field in fields]
            where = f"{path}:{reader.line_num}"
            if not any(row) or (header is None and _is_hint(row)):
                continue
            if header is None:
                header = _plain(row)
                chosen = _columns(header, names)
                unread = tuple(name for place, name in enumerate(row) if name and place not in chosen.values())
                if missing := [name for name in needed if name not in chosen]:
                    raise SourceError(
                        f"{where}: a list of videos begins with a header that names the columns path and label "
                        f"(and split, group) once; {missing[0]!r} is not there, or twice: {','.join(fields)!r}; "
                        f"it may be called {', '.join(names[missing[0]])}"
                    )
            elif len(row) != len(header):
                raise SourceError(f"{where}: {len(row)} fields, but the header has {len(header)}: {fields}")
            else:
                found.append((reader.line_num, {name: row[place] for name, place in chosen.items()}))
    except csv.Error as error:
        raise SourceError(f"{path}: not readable as CSV in UTF-8: {error}") from error
    return Rows(found, unread)


def _text(path: Path) -> str:
    try:
        content = read_file(path)
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}") from error
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "utf-8")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SourceError(
            f"{path}: not readable as CSV in UTF-8: line {line}: {error}; save it as CSV UTF-8"
        ) from error


def _separator(text: str, names: Mapping[str, Sequence[str]], needed: Sequence[str]) -> str:
    """Return what parts the fields: that by which the header has the needed columns."""
    lines = (line for line in text.splitlines() if line.strip() and not _is_hint([line.strip()]))
    first = next(lines, "")
    for separator in _SEPARATORS:
        header = _plain([field.strip(" \"'") for field in first.split(separator)])
        if all(name in _columns(header, names) for name in needed):
            return separator
    return ","


def _is_hint(row: Sequence[str]) -> bool:
    """Whether it is Excel's own first line, ``sep=;``."""
    return row[0].lower().startswith("sep=") and len("".join(row)) <= len("sep=;")


def _plain(header: Sequence[str]) -> list[str]:
    return [name.lower().replace(" ", "_").replace("-", "_") for name in header]


def _columns(header: Sequence[str], names: Mapping[str, Sequence[str]]) -> dict[str, int]:
    found = {column: next((name for name in own if name in header), None) for column, own in names.items()}
    return {
        column: header.index(name) for column, name in found.items() if name is not None and header.count(name) == 1
    }
