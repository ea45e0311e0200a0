"""Which files in a folder are araflow's: each folder that a command writes into keeps a list, with digests.

A file is replaced only if the list says that araflow wrote what it holds now. Anything else is the user's: a file that
was there before (also one that happens to hold what araflow would write: it is not put on the list), one that was
edited since, and every link. The list is written first, so that a command which is killed leaves no file of araflow's
that is not known as one.

An output has no such list: its clips have proofs (``araflow.store``).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from araflow.core import files
from araflow.core.errors import OutputError
from araflow.core.files import explained
from araflow.core.reading import json_of

LIST = ".araflow-files.json"
"""The list: name of each file beside it to the SHA-256 of what araflow wrote last and before that."""
_MOST_BYTES = 1 << 20
"""No list is longer; what is longer is none."""


def check(paths: Iterable[Path], root: Path | None = None, *, adopt: bool = False) -> None:
    """Make sure, before the work whose results they take, that files may be written: absent, or araflow's own.

    Args:
        paths: The files.
        root: The folder that was named by the user, below which no link is followed; ``None``: there is none.
        adopt: Another proof says that the folder is araflow's: where it has no list, since a version without lists
            wrote there, what lies there is put on one.

    Raises:
        OutputError: Something else is there; it stays as it is, and the message names it.
    """
    paths, theirs = list(paths), []
    old = {folder for folder in {path.parent for path in paths} if adopt and not os.path.lexists(folder / LIST)}
    for path in paths:
        if root is not None:
            refuse_links(root, path.parent)
        with explained(path, "cannot be read"):
            if path.parent in old and path.is_file() and not path.is_symlink():
                note(path, _digest(path))
            if not _is_ours(path, _read(path.parent)):
                theirs.append(path)
    if theirs:
        more = f" (and {len(theirs) - 1} more)" if len(theirs) > 1 else ""
        raise OutputError(
            f"{theirs[0]}{more}: is there already, and is not what araflow wrote; it stays as it is: move it away, or "
            "choose another folder"
        )


def refuse_links(root: Path, path: Path) -> None:
    """Make sure that no link leads from a folder, which may be one itself, to what lies below.

    Raises:
        OutputError: One does; the message names it.
    """
    if (link := files.link_below(root, path)) is not None:
        raise OutputError(f"{link}: is a link, and araflow writes through none; remove it, or choose another folder")


def write(contents: Mapping[Path, bytes], root: Path | None = None) -> list[Path]:
    """Write files, each whole or not at all, one after the other, and make the folders that they need.

    Args:
        contents: What to write.
        root: See ``check``.

    Returns:
        Their paths.

    Raises:
        OutputError: See ``check``: then none is written; or one cannot be written, and the message names it.
    """
    fresh = {path: content for path, content in contents.items() if not _says(path, content)}
    check(fresh, root)
    for path in fresh:
        with explained(path, "cannot be written"):
            path.parent.mkdir(parents=True, exist_ok=True)
    for path, content in fresh.items():
        with explained(path, "cannot be written"):
            note(path, hashlib.sha256(content).hexdigest())
    files.write_all(fresh)
    return list(contents)


def write_json(path: Path, content: object) -> None:
    """Write a JSON file as ``write`` does.

    Raises:
        OutputError: See ``write``.
    """
    write({path: files.as_json(content)})


def remove(path: Path, root: Path | None = None) -> None:
    """Remove a file that araflow wrote, and its folder with the list if it was the last there; another file stays.

    Args:
        path: The file; there may be none.
        root: See ``check``.

    Raises:
        OutputError: It cannot be removed.
    """
    if root is not None:
        refuse_links(root, path.parent)
    with explained(path, "cannot be removed"):
        if path.parent.is_dir() and _is_ours(path, _read(path.parent)):
            path.unlink(missing_ok=True)
            if [one.name for one in path.parent.iterdir()] in ([], [LIST]):
                shutil.rmtree(path.parent)


@contextlib.contextmanager
def draft(path: Path) -> Iterator[Path]:
    """Give a new file to be written that takes its place when the block ends, as ``files.draft`` does.

    The caller has called ``check``, or was told to replace what is there.

    Yields:
        The draft's path.

    Raises:
        OSError: It cannot be written.
    """
    with files.draft(path) as part:
        yield part
        note(path, _digest(part))


def note(path: Path, sha256: str) -> None:
    """Put a file on the list of its folder; its digest before stays, until there is another.

    Raises:
        OSError: It cannot be written.
    """
    known = _read(path.parent)
    before = known.get(path.name, [])
    if before[-1:] != [sha256]:
        known[path.name] = [*before, sha256][-2:]
        files.replace(path.parent / LIST, files.as_json(known))


def _says(path: Path, content: bytes) -> bool:
    with explained(path, "cannot be read"):
        return files.says(path, content)


def _is_ours(path: Path, known: Mapping[str, list[str]]) -> bool:
    if path.is_symlink():
        return False
    if not path.exists():
        return True
    if not path.is_file():
        return False
    wrote = known.get(path.name, [])
    return bool(wrote) and _digest(path) in wrote


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(folder: Path) -> dict[str, list[str]]:
    """Return the list; empty where there is none.

    Raises:
        OutputError: Something else has its name: what lies beside it is not known, and it is not replaced either.
    """
    path = folder / LIST
    if not os.path.lexists(path):
        return {}
    try:
        known = json_of(path.read_bytes()) if _may_be_list(path) else None
    except ValueError:
        known = None
    if not isinstance(known, dict) or not all(map(_are_texts, known.values())):
        raise OutputError(f"{path}: is not what araflow wrote; move it away, or choose another folder")
    return known


def _may_be_list(path: Path) -> bool:
    status = path.lstat()
    return stat.S_ISREG(status.st_mode) and status.st_size <= _MOST_BYTES


def _are_texts(digests: object) -> bool:
    return isinstance(digests, list) and all(isinstance(digest, str) for digest in digests)
