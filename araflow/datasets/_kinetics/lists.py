"""Kinetics' clip names, labels, annotation lists and path lists; reading only.

Kay et al., "The Kinetics Human Action Video Dataset", arXiv:1705.06950. A clip is called
``<id>_<start>_<end>.mp4``: an 11-character YouTube id, which may hold ``_`` and begin with ``-``, and two times in
seconds, each at least six digits wide.
"""

from __future__ import annotations

import codecs
import csv
import dataclasses
import functools
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from araflow.core.errors import SourceError
from araflow.core.reading import read_file
from araflow.media.source_files import VIDEO_SUFFIXES

_ID = r"[A-Za-z0-9_-]{11}"
_STEM = rf"{_ID}_[0-9]{{6,}}_[0-9]{{6,}}"
_LOOSE = re.compile(rf"({_ID})_([0-9]{{1,9}})_([0-9]{{1,9}})")
_SUFFIX = "|".join(re.escape(suffix) for suffix in sorted(VIDEO_SUFFIXES))
_IN_LINE = re.compile(
    rf"(?P<before>(?:.*/)?)(?P<stem>{_ID}_[0-9]{{1,9}}_[0-9]{{1,9}})(?:{_SUFFIX})?(?:[\s,]+(?P<after>.+))?"
)
_NUMBERS = re.compile(r"[0-9]+(?:[\s,]+[0-9]+)?")
_NO_LABEL = frozenset({"", ".", "..", "train", "val", "validate", "test"})
_ARCHIVE = re.compile(r"\.(tar\.gz|tgz|tar)$", re.IGNORECASE)
_COLUMNS = ("youtube_id", "time_start", "time_end")
_URL_SAFE = "/%:@!$&'*+,;=~"  # everything that a path may hold, but parentheses; "%": what is encoded already stays


@dataclasses.dataclass(frozen=True, slots=True)
class Listed:
    """One clip of an annotation list.

    Attributes:
        label: Raw label, or ``None`` where the list names none (most test lists); from a ``.txt`` list it may be a
            folder name: see ``find_label``.
        youtube_id: The video's 11-character id.
        start: Where the clip begins, in seconds.
        end: Where it ends, in seconds.
        subset: ``train``, ``val`` or ``test``.
        creative_commons: Whether the video was uploaded under Creative Commons; ``None`` where the list does not say.
    """

    label: str | None
    youtube_id: str
    start: int
    end: int
    subset: str
    creative_commons: bool | None = None

    @property
    def name(self) -> str:
        """The clip's file name."""
        return f"{self.youtube_id}_{self.start:06d}_{self.end:06d}.mp4"


def parse_name(name: str) -> tuple[str, int, int] | None:
    """Return id, start and end (seconds) of a clip's file name, or ``None`` if it is none. Folders are ignored."""
    stem = name.rpartition("/")[2]
    if not stem.endswith(".mp4") or re.fullmatch(_STEM, stem.removesuffix(".mp4")) is None:
        return None
    youtube_id, start, end = stem.removesuffix(".mp4").rsplit("_", 2)
    return youtube_id, int(start), int(end)


def clip_stem(stem: str) -> str | None:
    """Return a clip's name without suffix, as the lists' is, however its times are padded; ``None`` if it is none."""
    match = _LOOSE.fullmatch(stem)
    return None if match is None else f"{match[1]}_{int(match[2]):06d}_{int(match[3]):06d}"


def is_id(stem: str) -> bool:
    """Whether a name is that of a video alone."""
    return re.fullmatch(_ID, stem) is not None


def slug(label: str) -> str:
    """Return a folder name for a label: spaces become ``_``, and only letters, digits, ``_`` and ``-`` are kept.

    The labels of each dataset stay different, also where a file system ignores case.

    Raises:
        SourceError: Nothing is left.
    """
    text = re.sub(r"[^A-Za-z0-9_-]", "", "_".join(label.split())).lstrip("-")
    if not text:
        raise SourceError(f"{label!r}: no folder can be named after this label")
    return text


def find_label(text: str, labels: Sequence[str]) -> str | None:
    """Return the label that a folder or archive is named after, or ``None`` if none, or more than one, fits.

    Read are the raw label, its slug, and the folder names of torchvision (space to ``_``, no ``'()``) and mmaction2
    (space to ``_``, no ``"``); as they are first, then without case, then by letters and digits alone, so that
    ``air%20drumming`` and ``air-drumming`` are one.
    """
    name = _ARCHIVE.sub("", text)
    exact, folded, plain = _spellings(tuple(labels))
    fits = exact.get(name) or folded.get(name.casefold()) or plain.get(_plain(name)) or set()
    return next(iter(fits)) if len(fits) == 1 else None


@functools.lru_cache(maxsize=8)
def _spellings(labels: tuple[str, ...]) -> tuple[dict[str, set[str]], dict[str, set[str]], dict[str, set[str]]]:
    exact: dict[str, set[str]] = defaultdict(set)
    folded: dict[str, set[str]] = defaultdict(set)
    plain: dict[str, set[str]] = defaultdict(set)
    for label in labels:
        joined = label.replace(" ", "_")
        for spelling in (label, slug(label), re.sub("['()]", "", joined), joined.replace('"', "")):
            exact[spelling].add(label)
            folded[spelling.casefold()].add(label)
            plain[_plain(spelling)].add(label)
    return dict(exact), dict(folded), dict(plain)


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", unquote(name).casefold())


def read_annotations(path: Path, subset: str) -> list[Listed]:
    """Read a list of clips: a CSV file with header, or one clip name per line.

    A CSV file needs the columns ``youtube_id``, ``time_start`` and ``time_end``; ``label`` and ``is_cc`` are read where
    they are there, others (such as ``split``, whose words differ between editions) are not. What the ``.txt`` lists of
    Kinetics-600 look like is not documented and was not seen; a line must be ``<id>_<start>_<end>``, with or without
    the suffix of a video, with a folder named after its label before it, or the label behind it, or neither. Behind a
    folder may stand MMAction2's numbers, of frames and of the class.

    Args:
        path: The list.
        subset: ``train``, ``val`` or ``test``: what the clips become part of.

    Returns:
        Every clip once, in the list's order.

    Raises:
        SourceError: The file is unreadable or empty, a line is of neither kind, or a clip has two labels.
    """
    listed: dict[str, tuple[int, Listed]] = {}
    for number, clip in _read_clips(path, subset):
        first, known = listed.setdefault(clip.name, (number, clip))
        if clip.label is not None and known.label is not None and clip.label != known.label:
            raise SourceError(
                f"{path}:{number}: {clip.name} has the label {clip.label!r}, but {known.label!r} in line {first}"
            )
        if known.label is None and clip.label is not None:
            listed[clip.name] = (number, clip)
    if not listed:
        raise SourceError(f"{path}: lists no clips")
    return [clip for _, clip in listed.values()]


def _read_clips(path: Path, subset: str) -> Iterator[tuple[int, Listed]]:
    """Yield line number and clip."""
    lines = _text(path).splitlines()
    header = next((line for line in lines if line.strip()), "")
    if "youtube_id" in header.lower():
        yield from _read_table(path, lines, subset)
        return
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield number, _from_line(f"{path}:{number}", line.strip(), subset)


def _read_table(path: Path, lines: list[str], subset: str) -> Iterator[tuple[int, Listed]]:
    header: list[str] = []
    reader = csv.reader(lines, strict=True)
    try:
        for row in reader:
            where = f"{path}:{reader.line_num}"
            if not any(field.strip() for field in row):
                continue
            if not header:
                header = [field.strip().lower() for field in row]
                if missing := [column for column in _COLUMNS if column not in header]:
                    raise SourceError(f"{where}: the header lacks {', '.join(missing)}: {row}")
            elif len(row) != len(header):
                raise SourceError(f"{where}: {len(row)} fields, but the header has {len(header)}: {row}")
            else:
                values = dict(zip(header, (field.strip() for field in row), strict=True))
                yield reader.line_num, _from_row(where, values, subset)
    except csv.Error as error:
        raise SourceError(f"{path}:{reader.line_num}: not readable as CSV: {error}") from error


def _text(path: Path) -> str:
    try:
        data = read_file(path)
        wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        return data.decode("utf-16" if wide else "utf-8-sig")
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SourceError(f"{path}: not a list of Kinetics: {error}") from error


def _from_row(where: str, values: dict[str, str], subset: str) -> Listed:
    youtube_id, licence = values["youtube_id"], values.get("is_cc", "").lower()
    if re.fullmatch(_ID, youtube_id) is None:
        raise SourceError(f"{where}: youtube_id {youtube_id!r} is not 11 characters of A-Z a-z 0-9 _ -")
    if licence not in ("", "0", "1", "false", "true"):
        raise SourceError(f"{where}: is_cc is {licence!r}; expected 0 or 1")
    start, end = (_seconds(where, column, values[column]) for column in ("time_start", "time_end"))
    if end <= start:
        raise SourceError(f"{where}: the clip ends at {end} s, but begins at {start} s")
    return Listed(
        values.get("label") or None, youtube_id, start, end, subset, licence in ("1", "true") if licence else None
    )


def _seconds(where: str, column: str, text: str) -> int:
    if (match := re.fullmatch(r"([0-9]{1,9})(?:\.0*)?", text)) is None:
        raise SourceError(f"{where}: {column} is {text!r}; expected whole seconds")
    return int(match[1])


def _from_line(where: str, line: str, subset: str) -> Listed:
    match = _IN_LINE.fullmatch(line)
    stem = None if match is None else clip_stem(match["stem"])
    if match is None or (parsed := parse_name(f"{stem}.mp4")) is None:
        raise SourceError(
            f"{where}: expected a CSV file with the column youtube_id, or lines '<label>/<id>_<start>_<end>.mp4'; "
            f"found {line!r}"
        )
    folder = match["before"].rstrip("/").rpartition("/")[2].strip().strip('"')
    after = (match["after"] or "").strip().strip('"')
    before = None if folder in _NO_LABEL else folder
    if before is not None and _NUMBERS.fullmatch(after):
        after = ""
    if after.isdecimal() or re.search(_STEM, after) or (before and after and slug(before) != slug(after)):
        raise SourceError(f"{where}: {after!r} is not a label, or not that of the folder; found {line!r}")
    return Listed(after or before, *parsed, subset)


def read_parts(path: Path) -> list[str]:
    """Read a path list: one http(s) address of an archive per line.

    Spaces and parentheses, which these lists hold as they are, are percent-encoded; what is encoded already stays.
    Blank lines and repeated addresses are dropped.

    Raises:
        SourceError: The file is unreadable, names no archive, or a line is no such address.
    """
    parts: dict[str, None] = {}
    for number, line in enumerate(_text(path).splitlines(), start=1):
        if not (text := line.strip()):
            continue
        try:
            scheme, host, place, query, _ = urlsplit(text)
        except ValueError as error:
            raise SourceError(f"{path}:{number}: not an address ({error}): {text!r}") from error
        if scheme not in ("http", "https") or not host or any(c.isspace() or c in '<>"' for c in host):
            raise SourceError(f"{path}:{number}: expected an http(s) address of an archive; found {text!r}")
        parts[urlunsplit((scheme, host, quote(place, safe=_URL_SAFE), query, ""))] = None
    if not parts:
        raise SourceError(f"{path}: names no archive")
    return list(parts)
