"""What ``araflow fetch`` runs: a dataset's videos and lists in its folder, and a status for every listed clip."""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from araflow.acquire import fetch, local, registry
from araflow.acquire.folder import DatasetFolder
from araflow.acquire.ingest import ingest
from araflow.acquire.notes import read_table, write_table
from araflow.acquire.types import Sources
from araflow.build.portions import missing_rates
from araflow.core.clip import Clip
from araflow.core.errors import SourceError, SpecError
from araflow.core.spec import DatasetSpec
from araflow.core.tally import Tally
from araflow.datasets import Dataset, check_classes, load
from araflow.datasets._kinetics.parts import Parts
from araflow.datasets._kinetics.route import Route
from araflow.media.video import declared_size

log = logging.getLogger(__name__)
STATUS_FILE = "clips.csv"
_COLUMNS = ("key", "label", "subset", "file", "status")
_SHORTEST = 12
"""Bytes of a RIFF header, or of the first box of an MP4 file."""


@dataclasses.dataclass(frozen=True, slots=True)
class Acquired:
    """What lies in a dataset's folder.

    Attributes:
        name: The dataset.
        folder: Where.
        classes: Per class its listed clips by status.
        total: The same of all classes together.
        bytes: Size of the videos that are there.
        remarks: What else is to be said.
    """

    name: str
    folder: str
    classes: list[dict[str, Any]]
    total: dict[str, int]
    bytes: int
    remarks: list[str]

    @property
    def absent(self) -> int:
        """Listed clips that are missing or cut short."""
        return self.total["missing"] + self.total["corrupt"]


def offer(spec: DatasetSpec, given: Sequence[Path] = ()) -> dict[str, Any]:
    """Say what would be fetched, without asking any server; ``given`` is what the user has.

    Raises:
        SpecError: A class, subset or mirror is unknown.
        SourceError: The dataset has no address.
    """
    known, folder = _known(spec)
    check_classes(load(spec.name), spec.name, spec.classes)
    files: list[dict[str, Any]] = []
    for what in ("videos", "splits") if known.videos else ():
        own = local.ways(known, what, spec.mirror)
        kept = any(fetch.receipt(local.archive_of(folder, way)) for way in own)
        mine = what == "videos" and bool(given)
        if not (kept or mine or folder.holds(what, spec.classes if what == "videos" else None)):
            way = own[0]
            files.append({"what": what, "url": way.mirrors[0], "size": way.size, "sha256": way.sha256})
    for subset in spec.subsets if known.subsets and not given else ():
        facts = known.subsets.get(subset)
        if facts is None:
            raise SpecError(f"dataset.subsets: {known.name} has no {subset}; it has {', '.join(known.subsets)}")
        what = f"{subset}: up to {facts.archives or 'an unknown number of'} archives"
        files.append({"what": what, "url": facts.parts, "size": facts.size, "sha256": None})
    if known.replacement is not None and not given and spec.clips_per_class is None:
        files.append({"what": "replacements", "url": known.replacement.mirrors[0], "size": known.replacement.size})
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
        "free": local.free_space(folder.path),
    }


def acquire(
    spec: DatasetSpec,
    *,
    given: Sequence[Path] = (),
    report: Callable[[str], None] = log.info,
    progress: fetch.Progress = fetch.no_progress,
) -> Acquired:
    """Bring a dataset into its folder, or finish what was begun; the licence has been accepted.

    Args:
        spec: Which dataset, which classes; ``source`` and ``splits`` have no part in it.
        given: Archives or folders that the user has. Then no videos are downloaded.
        report: Called with lines for a log.
        progress: Called while bytes arrive.

    Raises:
        SpecError: A setting is wrong.
        SourceError: Something cannot be had; what has been is kept, and the same call goes on from there.
    """
    known, folder = _known(spec)
    dataset = load(spec.name)
    wanted = check_classes(dataset, spec.name, spec.classes)
    dataset.check(spec, accept_licence=True)
    if given and spec.clips_per_class is not None:
        raise SpecError(
            "dataset.clips_per_class: a sample is downloaded; it does not go with files of your own (--from)"
        )
    _read_statuses(folder)  # before anything is asked for
    how = _acquire_parts if known.subsets else _acquire_whole
    videos, remarks = how(dataset, spec, folder, given, report, progress)
    if not videos:
        raise SourceError(f"{known.name}: the lists name no clips of the wanted classes")
    statuses = [(clip, path, _status(path, replaced=clip.replaced)) for clip, path in videos]
    _write_statuses(folder, statuses)
    size = sum(path.stat().st_size for _, path, status in statuses if status != "missing")
    by_class = _by_class(statuses, wanted)
    return Acquired(known.name, str(folder.path), by_class.classes, by_class.total, size, remarks)


_Videos = list[tuple[Clip, Path]]
"""Every listed clip, and where its video lies, or would."""


def _acquire_parts(
    dataset: Dataset,
    spec: DatasetSpec,
    folder: DatasetFolder,
    given: Sequence[Path],
    report: Callable[[str], None],
    progress: fetch.Progress,
) -> tuple[_Videos, list[str]]:
    files = dataset.prepare(spec, folder.path, report=report, progress=progress)
    clips = dataset.list_clips(files, spec.classes)
    parts = Parts(folder, files.parts, clips)
    remarks: list[str] = []
    for path in given:
        parts.take(path, report)
    if not given and files.parts:
        remarks += (failures := _fetch_parts(parts, spec, report, progress))
        remarks += missing_rates(parts, tuple(clips), spec.subsets)
        if spec.classes is None and (unlisted := parts.unlisted()):
            remarks.append(f"videos in the archives that no list names: {unlisted:,}")
        if spec.youtube:
            remarks.append(_ask_youtube(parts, clips, report, asked=not failures))
    return [(dataclasses.replace(clip, replaced=parts.is_replaced(clip)), parts.video(clip)) for clip in clips], remarks


def _acquire_whole(
    dataset: Dataset,
    spec: DatasetSpec,
    folder: DatasetFolder,
    given: Sequence[Path],
    report: Callable[[str], None],
    progress: fetch.Progress,
) -> tuple[_Videos, list[str]]:
    layout: local.Layout = dataset.layout  # type: ignore[attr-defined] # datasets that come whole have it
    wanted = frozenset(spec.classes) if spec.classes else None
    there = Sources(folder.videos, folder.splits)
    with folder.locked(report):
        origin = ", ".join(map(str, given)) or (spec.mirror and f"the mirror {spec.mirror}")
        local.accept(folder, report, origin)
        for path in given:
            local.take(path, folder, layout, wanted, report=report)
        if not given:
            local.obtain(folder, "videos", layout, spec, report, progress)
        local.obtain(folder, "splits", layout, spec, report, progress)
        clips = dataset.list_clips(there, spec.classes)
        if not given and any(_status(clip.source or folder.path / "absent") != "ok" for clip in clips):
            _unpack_again(folder, layout, wanted, report)
            clips = dataset.list_clips(there, spec.classes)
    return [(clip, clip.source or folder.videos / clip.name) for clip in clips], []


def _unpack_again(
    folder: DatasetFolder, layout: local.Layout, wanted: frozenset[str] | None, report: Callable[[str], None]
) -> None:
    """Look for clips that are not there, or no longer, in the archives that are kept."""
    for way in folder.known.videos:
        if (path := local.archive_of(folder, way)).is_file():
            ingest(path, folder.path, layout.places(wanted), report=report)


def _known(spec: DatasetSpec) -> tuple[registry.Registry, DatasetFolder]:
    known = registry.load(spec.name)
    if not (known.videos or known.subsets):
        raise SourceError(f"{spec.name}: its registry file names no address")
    return known, DatasetFolder.of(spec, known)


def _fetch_parts(parts: Parts, spec: DatasetSpec, report: Callable[[str], None], progress: fetch.Progress) -> list[str]:
    for number, part in enumerate(parts.parts, start=1):
        report(f"part {number} of {len(parts.parts)}: {registry.file_name(part.url)}")
        keep = spec.keep_archives
        if parts.try_open(part, _any, keep_archive=keep, keep_videos=True, report=report, progress=progress) is None:
            report(str(parts.failures[part]))
    return [f"not fetched: {error}" for error in parts.failures.values()]


def _any(clip: Clip) -> bool:
    return True


def _ask_youtube(parts: Parts, clips: Sequence[Clip], report: Callable[[str], None], *, asked: bool) -> str:
    if not asked:
        return "YouTube: not asked, since a clip may be in an archive that could not be fetched"
    route = Route(parts.folder)
    route.fetch([clip.name for clip in clips if not parts.video(clip).is_file()], report)
    return route.summary()


def _status(path: Path, *, replaced: bool = False) -> str:
    """``ok``, ``missing``, ``replaced``, or ``corrupt``: shorter than the container says. Nothing is decoded."""
    try:
        size = path.stat().st_size
        if size < _SHORTEST or size < (declared_size(path) or 0):
            return "corrupt"
    except FileNotFoundError:
        return "missing"
    except OSError:  # a folder in its place, or one that may not be read
        return "corrupt"
    return "replaced" if replaced else "ok"


def _write_statuses(folder: DatasetFolder, statuses: Sequence[tuple[Clip, Path, str]]) -> None:
    rows = _read_statuses(folder)
    for clip, path, status in statuses:
        place = path.relative_to(folder.path).as_posix()
        rows[clip.key] = [clip.key, clip.label or "", clip.subset or "", place, status]
    write_table(folder.path / STATUS_FILE, _COLUMNS, [row for _, row in sorted(rows.items())])


def _read_statuses(folder: DatasetFolder) -> dict[str, list[str]]:
    """The rows that are there, by key: those of other classes, fetched before, stay, and so does what is no status."""
    rows = read_table(folder.path / STATUS_FILE, _COLUMNS)
    return {row[0] if len(row) == len(_COLUMNS) else ",".join(row): row for row in rows}


def _by_class(statuses: Sequence[tuple[Clip, Path, str]], labels: Sequence[str] | None) -> Tally:
    counts: Counter[tuple[str | None, str]] = Counter()
    for clip, _, status in statuses:
        counts[clip.label, "listed"] += 1
        counts[clip.label, status] += 1
    return Tally.of(counts, ("listed", *_STATUSES), labels or ())


_STATUSES = ("ok", "replaced", "corrupt", "missing")
