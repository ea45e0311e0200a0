"""What a user has: a folder, an archive or an address, made a folder on this machine."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from araflow.acquire import fetch, ingest, registry, walk
from araflow.acquire.counted import Counted
from araflow.acquire.registry import is_address
from araflow.acquire.types import Places, Progress, no_progress
from araflow.core.addresses import lasting
from araflow.core.errors import SourceError
from araflow.core.listing import Leftovers, told
from araflow.core.resources import cache_folder


def make_local(
    text: str,
    work: Path,
    places: Places,
    what: str,
    report: Callable[[str], None],
    progress: Progress = no_progress,
    *,
    over: Leftovers | None = None,
    why_not: Callable[[PurePosixPath], str] | None = None,
) -> Path:
    """Return the folder for a source given as a folder, an archive or an http(s) address.

    Args:
        text: The source.
        work: Where archives are unpacked to.
        places: What belongs where.
        what: ``videos`` or ``splits``.
        report: Called with lines for a log.
        progress: Called while bytes arrive.
        over: Gets what of archives, and beside them, is passed over.
        why_not: Says of a file without a place why that is so; ``None`` where the folder that is returned has them all.

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
    seen = Leftovers()
    counting = places if why_not is None else Counted(places, why_not, seen)
    found = ingest.ingest(path, target, counting, report=report, over=seen)
    if not any(place.parts[0] == what for place in found):
        if path.is_dir():
            return path  # its archives are something else
        lacking, beside = "clips of the wanted classes" if what == "videos" else "split files", told(seen.entries())
        raise SourceError(f"{path}: holds no {lacking}{beside and '; '}{beside}")
    if over is not None:
        over.extend(seen.entries())
    return target / what


def short_digest(text: str) -> str:
    """Return a name for what is kept of a source or an address."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]
