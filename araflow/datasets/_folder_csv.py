"""A list of videos of one's own: a CSV file with the columns ``path`` and ``label``, and ``split`` and ``group``."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path, PurePosixPath, PureWindowsPath

from araflow.core import splits
from araflow.core.clip import Clip
from araflow.core.errors import SourceError
from araflow.core.listing import Leftovers, Listing, PassedOver
from araflow.core.spelling import Paths
from araflow.core.words import counted
from araflow.datasets import _list_table
from araflow.media.source_files import VIDEO_SUFFIXES

SUFFIXES = frozenset({".csv", ".tsv"})
"""Of lists."""
_NAMES = {
    "path": ("path", "file", "filename", "file_name", "file_path", "filepath", "video", "video_path", "clip_path"),
    "label": ("label", "class", "action", "category", "label_name", "class_name", "classname"),
    "split": ("split", "subset", "set", "partition"),
    "group": ("group", "group_id"),
}
"""What headers call the columns."""


def read(path: Path) -> Listing:
    """Read the clips of a list.

    Args:
        path: CSV file, UTF-8 or UTF-16, with a header. ``path`` is a video or a folder of frames, absolute or relative
            to the list's folder, and found where its file is spelled in another Unicode form, or case, or with Windows'
            backslashes; what is not there is a clip without source. One that begins with a slash and is not there, but
            is there below the list's folder, is meant so. An empty ``label``, ``split`` (``train``, ``val``, ``test``)
            or ``group`` means that there is none. Other columns are not read, and named in a remark.

    Returns:
        The clips in the list's order, and the videos beside them that are in no row. A clip's key is its path without
        suffix if that is relative and has no ``..``, otherwise ``<label>/<file name without suffix>``.

    Raises:
        SourceError: The list is unreadable or empty, a row is malformed, or two rows name one path or would have one
            key, or a key below another's.
    """
    clips: list[Clip] = []
    lines: dict[str, int] = {}  # path or key: line
    paths = Paths()
    otherwise: list[tuple[str, str]] = []
    rooted: list[str] = []
    rows, unread = _list_table.rows(path, _NAMES, ("path", "label"))
    for number, row in rows:
        row["path"] = _with_slashes(path.parent, row["path"])
        if (below := _below(path.parent, row["path"], paths)) is not None:
            rooted.append(row["path"])
            row["path"] = below
        clip = _clip(path, number, row, paths)
        place = os.path.normpath(clip.source or path.parent / row["path"])
        if clip.source is not None and clip.source.name != PurePosixPath(row["path"]).name:
            otherwise.append((row["path"], clip.source.name))
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
    return Listing(tuple(clips), _beside(path, clips), _remarks(otherwise, rooted, unread))


def _with_slashes(folder: Path, name: str) -> str:
    """Return a path of Windows as one of this system; a name that has backslashes stays as it is."""
    return name if "\\" not in name or os.path.lexists(folder / name) else PureWindowsPath(name).as_posix()


def _below(folder: Path, name: str, paths: Paths) -> str | None:
    """Return the path below the list's folder that an absolute path stands for, if it is there nowhere else."""
    below = name.lstrip("/")
    if below in ("", name) or paths.find(Path(name)) is not None or paths.find(folder / below) is None:
        return None
    return below


def _remarks(otherwise: list[tuple[str, str]], rooted: list[str], unread: tuple[str, ...]) -> tuple[str, ...]:
    remarks = []
    if unread:
        remarks.append(
            f"not read of the list: {counted(len(unread), 'column')}, {', '.join(map(repr, unread[:5]))}"
            f"{', …' if len(unread) > 5 else ''}; what is read are the columns {', '.join(_NAMES)}"
        )
    if rooted:
        remarks.append(
            f"{counted(len(rooted), 'path')} of the list, such as {rooted[0]!a}, "
            f"{'begins' if len(rooted) == 1 else 'begin'} with a slash; taken as below the list's folder"
        )
    if otherwise:
        name, file = otherwise[0]
        remarks.append(
            f"{counted(len(otherwise), 'name')} of the list {'is' if len(otherwise) == 1 else 'are'} spelled otherwise "
            f"than in the folder, in Unicode form or case, such as {name!a} for {file!a}"
        )
    return tuple(remarks)


def _beside(path: Path, clips: list[Clip]) -> tuple[PassedOver, ...]:
    """Count the videos that lie beside listed ones, below the list's folder, and are in no row."""
    listed = {os.path.normpath(clip.source) for clip in clips if clip.source is not None}
    folders = {Path(place).parent for place in listed}
    over = Leftovers()
    for folder in sorted(one for one in folders if one.is_relative_to(path.parent)):
        with contextlib.suppress(OSError):  # its clips say so, each in its row
            for file in folder.iterdir():
                if file.suffix.lower() in VIDEO_SUFFIXES and not file.name.startswith(".") and str(file) not in listed:
                    over.add("not-listed", file.suffix.lower(), file.relative_to(path.parent).as_posix())
    return over.entries()


def _clip(path: Path, number: int, row: dict[str, str], paths: Paths) -> Clip:
    name, label, said = row["path"], row["label"] or None, row.get("split", "")
    pure = PurePosixPath(name)
    if pure.name in ("", "..") or "\0" in name:
        raise SourceError(f"{path}:{number}: path is {name!r}; expected a video or a folder of frames")
    if (subset := splits.named(said)) is None and said:
        raise SourceError(f"{path}:{number}: split is {said!r}; expected train, val, test, or nothing")
    if label is not None and ("/" in label or "\0" in label or label in (".", "..")):
        raise SourceError(f"{path}:{number}: label is {label!r}; it names a folder, so it cannot be that or hold '/'")
    place = paths.find(path.parent / name)
    is_folder = place is not None and place.is_dir()
    # "...avi" without its suffix would lead out of the output.
    stem = pure if is_folder or pure.stem in (".", "..") else pure.with_suffix("")
    inside = not pure.is_absolute() and not PureWindowsPath(name).drive and ".." not in pure.parts
    return Clip(
        dataset="folder",
        key=str(stem) if inside else f"{label}/{stem.name}" if label else stem.name,
        label=label,
        group=row.get("group") or None,
        name=name,
        source=place if place is not None and place.exists() else None,
        subset=subset,
    )
