"""What ``araflow fetch`` runs: a dataset's videos and lists in its folder, and a status for every listed clip."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from araflow.acquire import fetch, registry, statuses
from araflow.acquire.folder import DatasetFolder
from araflow.acquire.statuses import Acquired, Listed
from araflow.acquire.types import Progress, no_progress
from araflow.acquire.whole import archive_of
from araflow.core.addresses import masked
from araflow.core.errors import SourceError, SpecError
from araflow.core.spec import DatasetSpec

log = logging.getLogger(__name__)


class Fetchable(Protocol):
    """What ``acquire`` asks of a dataset; see ``araflow.datasets.Dataset``."""

    def check(self, spec: DatasetSpec, *, accept_licence: bool) -> None:
        """Check settings before any work starts."""
        ...

    def fetch(
        self,
        spec: DatasetSpec,
        folder: DatasetFolder,
        given: Sequence[Path],
        report: Callable[[str], None],
        progress: Progress,
    ) -> Listed:
        """Bring it into its folder."""
        ...


def offer(spec: DatasetSpec, given: Sequence[Path] = ()) -> dict[str, Any]:
    """Say what would be fetched, without asking any server; ``given`` is what the user has.

    Raises:
        SpecError: A subset or mirror is unknown.
        SourceError: The dataset has no address.
    """
    known, folder = look_up(spec)
    files: list[dict[str, Any]] = []
    for what in ("videos", "splits") if known.videos else ():
        own = registry.ways(known, what, spec.mirror)
        kept = any(fetch.receipt(archive_of(folder, way)) for way in own)
        mine = what == "videos" and bool(given)
        if not (kept or mine or folder.holds(what, spec.classes if what == "videos" else None)):
            way = own[0]
            files.append({"what": what, "url": masked(way.mirrors[0]), "size": way.size, "sha256": way.sha256})
    for subset in spec.subsets if known.subsets and not given else ():
        facts = known.subsets.get(subset)
        if facts is None:
            raise SpecError(f"dataset.subsets: {known.name} has no {subset}; it has {', '.join(known.subsets)}")
        what = f"{subset}: up to {facts.archives or 'an unknown number of'} archives"
        files.append({"what": what, "url": masked(facts.parts), "size": facts.size, "sha256": None})
    if known.replacement is not None and not given and spec.clips_per_class is None:
        files.append(
            {"what": "replacements", "url": masked(known.replacement.mirrors[0]), "size": known.replacement.size}
        )
    if spec.youtube:
        terms = "YouTube, with yt-dlp; YouTube's terms apply"
        files.append({"what": "clips in no archive", "url": terms, "size": None, "sha256": None})
    return {
        "name": known.name,
        "title": known.title,
        "licence": known.licence,
        "licence_accepted": folder.accepted(),
        "citation": known.citation,
        "folder": str(folder.path),
        "files": files,
        "free": free_space(folder.path),
    }


def acquire(
    dataset: Fetchable,
    spec: DatasetSpec,
    labels: Sequence[str] | None,
    *,
    given: Sequence[Path] = (),
    report: Callable[[str], None] = log.info,
    progress: Progress = no_progress,
) -> Acquired:
    """Bring a dataset into its folder, or finish what was begun; the licence has been accepted.

    Args:
        dataset: The dataset.
        spec: Which dataset, which classes; ``source`` and ``splits`` have no part in it.
        labels: The classes that are wanted, in label order; ``None`` for those that there are.
        given: Archives or folders that the user has. Then no videos are downloaded.
        report: Called with lines for a log.
        progress: Called while bytes arrive.

    Raises:
        SpecError: A setting is wrong.
        SourceError: Something cannot be had; what has been is kept, and the same call goes on from there.
    """
    known, folder = look_up(spec)
    dataset.check(spec, accept_licence=True)
    if given and spec.clips_per_class is not None:
        raise SpecError(
            "dataset.clips_per_class: a sample is downloaded; it does not go with files of your own (--from)"
        )
    statuses.read(folder)  # before anything is asked for
    videos, remarks, passed_over = dataset.fetch(spec, folder, given, report, progress)
    if not videos:
        raise SourceError(f"{known.name}: the lists name no clips of the wanted classes")
    found = [(clip, path, statuses.status_of(path, replaced=clip.replaced)) for clip, path in videos]
    statuses.write(folder, found)
    size = sum(statuses.size_of(path) for _, path, _ in found)
    counts = statuses.by_class(found, labels)
    return Acquired(known.name, str(folder.path), counts.classes, counts.total, size, remarks, passed_over)


def free_space(folder: Path) -> int:
    """Return the free bytes where a folder is, or would be."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def look_up(spec: DatasetSpec) -> tuple[registry.Registry, DatasetFolder]:
    """Return what is known of a dataset that can be downloaded, and its folder.

    Raises:
        SourceError: It has no address.
    """
    known = registry.load(spec.name)
    if not (known.videos or known.subsets):
        raise SourceError(f"{spec.name}: its registry file names no address")
    return known, DatasetFolder.of(spec, known)
