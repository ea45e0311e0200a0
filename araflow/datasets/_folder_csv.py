"""A list of videos of one's own: a CSV file with the columns ``path`` and ``label``, and ``split`` and ``group``."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from araflow.core import splits
from araflow.core.clip import Clip
from araflow.core.errors import SourceError
from araflow.core.reading import open_file


def read(path: Path) -> list[Clip]:
    """Read the clips of a list.

    Args:
        path: CSV file, UTF-8, with a header. ``path`` is a video or a folder of frames, absolute or relative to the
            list's folder; what is not there is a clip without source. An empty ``label``, ``split`` (``train``,
            ``val``, ``test``) or ``group`` means that there is none. Other columns are not read.

    Returns:
        The clips in the list's order. A clip's key is its path without suffix if that is relative and has no ``..``,
        otherwise ``<label>/<file name without suffix>``.

    Raises:
        SourceError: The list is unreadable or empty, a row is malformed, or two rows name one path or would have one
            key, or a key below another's.
    """
    clips: list[Clip] = []
    lines: dict[str, int] = {}  # path or key: line
    for number, row in _rows(path):
        clip = _clip(path, number, row)
        place = os.path.normpath(path.parent / row["path"])
        for what, text in (("path", f"path {place}"), (f"key {clip.key!r}", f"key {clip.key}")):
            if (first := lines.setdefault(text, number)) != number:
                raise SourceError(
                    f"{path}:{number}: {row['path']!r} has the same {what} as line {first}; list each video once, "
                    "under a name of its own"
                )
        clips.append(clip)
    if not clips:
        raise SourceError(f"{path}: lists no clips; expected a header (path,label) and a row per video")
    for clip in clips:  # what is made of a clip lies in a folder named after its key
        for parent in PurePosixPath(clip.key).parents:
            if f"key {parent}" in lines:
                inner, outer = lines[f"key {clip.key}"], lines[f"key {parent}"]
                raise SourceError(f"{path}:{inner}: {clip.key!r} would lie within the clip of line {outer}; rename one")
    return clips


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield line number and the stripped fields by column."""
    header: list[str] = []
    try:
        with io.TextIOWrapper(open_file(path), encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            for fields in reader:
                row = [field.strip() for field in fields]
                where = f"{path}:{reader.line_num}"
                if not any(row):
                    continue
                if not header:
                    header = [name.lower() for name in row]
                    if missing := [name for name in ("path", "label") if header.count(name) != 1]:
                        raise SourceError(
                            f"{where}: a list of videos begins with a header that names the columns path and label "
                            f"(and split, group) once; {missing[0]!r} is not there, or twice: {','.join(fields)!r}"
                        )
                elif len(row) != len(header):
                    raise SourceError(f"{where}: {len(row)} fields, but the header has {len(header)}: {fields}")
                else:
                    yield reader.line_num, dict(zip(header, row, strict=True))
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise SourceError(f"{path}: not readable as CSV in UTF-8: {error}") from error


def _clip(path: Path, number: int, row: dict[str, str]) -> Clip:
    name, label, said = row["path"], row["label"] or None, row.get("split", "")
    pure = PurePosixPath(name)
    if pure.name in ("", "..") or "\0" in name:
        raise SourceError(f"{path}:{number}: path is {name!r}; expected a video or a folder of frames")
    if (subset := splits.named(said)) is None and said:
        raise SourceError(f"{path}:{number}: split is {said!r}; expected train, val, test, or nothing")
    if label is not None and ("/" in label or "\0" in label or label in (".", "..")):
        raise SourceError(f"{path}:{number}: label is {label!r}; it names a folder, so it cannot be that or hold '/'")
    place = path.parent / name
    whole = place.is_dir() or pure.stem in (".", "..")  # "...avi" without its suffix would lead out of the output
    stem = pure if whole else pure.with_suffix("")
    inside = not pure.is_absolute() and ".." not in pure.parts
    return Clip(
        dataset="folder",
        key=str(stem) if inside else f"{label}/{stem.name}" if label else stem.name,
        label=label,
        group=row.get("group") or None,
        name=name,
        source=place if place.exists() else None,
        subset=subset,
    )
