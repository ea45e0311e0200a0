"""What a user has: a folder, an archive or an address, made a folder on this machine."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from araflow.acquire import fetch, ingest, registry, walk
from araflow.acquire.registry import is_address
from araflow.acquire.types import Progress, no_progress
from araflow.core.addresses import lasting
from araflow.core.errors import SourceError
from araflow.core.resources import cache_folder


def make_local(
    text: str,
    work: Path,
    places: ingest.Places,
    what: str,
    report: Callable[[str], None],
    progress: Progress = no_progress,
) -> Path:
    """Return the folder for a source given as a folder, an archive or an http(s) address.

    Args:
        text: The source.
        work: Where archives are unpacked to.
        places: What belongs where.
        what: ``videos`` or ``splits``.
        report: Called with lines for a log.
        progress: Called while bytes arrive.

    Raises:
        SourceError: There is no such folder or file, or it cannot be unpacked or downloaded, or holds nothing wanted.
    """
    if is_address(text):
        target = cache_folder() / short_digest(lasting(text)) / registry.file_name(text)
        text = str(fetch.download([text], target, report=report, progress=progress).path)
    path = Path(text).expanduser()
    if not path.exists():
        raise SourceError(f"{path}: no such folder or archive")
    if path.is_dir() and not walk.holds_archives(path):
        return path
    status = path.stat()
    # A folder's own time says little of what lies in it; looking it through again costs little.
    content = "" if path.is_dir() else f" {status.st_size} {status.st_mtime_ns}"
    target = work / f"unpacked-{short_digest(f'{path.resolve()}{content}')}"
    found = ingest.ingest(path, target, places, report=report)
    if not any(place.parts[0] == what for place in found):
        if path.is_dir():
            return path  # its archives are something else
        raise SourceError(f"{path}: holds no {'clips of the wanted classes' if what == 'videos' else 'split files'}")
    return target / what


def short_digest(text: str) -> str:
    """Return a name for what is kept of a source or an address."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]
