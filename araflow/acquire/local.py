"""Make a dataset's files local: a folder is taken as it is, archives are unpacked, an address is downloaded first."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from araflow.acquire import fetch, ingest, registry
from araflow.acquire.folder import DatasetFolder
from araflow.acquire.registry import Artefact, Registry
from araflow.acquire.types import Sources
from araflow.core.clip import Clip
from araflow.core.errors import ArchiveError, FetchError, NoToolError, SourceError, SpecError
from araflow.core.resources import cache_folder
from araflow.core.spec import DatasetSpec


@dataclasses.dataclass(frozen=True, slots=True)
class Layout:
    """How a dataset that comes whole is laid out.

    Attributes:
        places: Takes the classes that are wanted; places videos below ``videos/`` and split files below ``splits/``.
        list_clips: As of ``araflow.datasets.Dataset``.
    """

    places: Callable[[frozenset[str] | None], ingest.Places]
    list_clips: Callable[[Sources, Sequence[str] | None], list[Clip]]

    def prepare(
        self,
        spec: DatasetSpec,
        work: Path,
        *,
        report: Callable[[str], None],
        progress: fetch.Progress = fetch.no_progress,
    ) -> Sources:
        """Make videos and split files local; see ``prepare`` below."""
        return prepare(spec, self, work, report=report, progress=progress)

    def has_lists(self, folder: Path) -> bool:
        """Whether a folder holds all split files."""
        try:
            return bool(self.list_clips(Sources(None, folder), None))
        except SourceError:
            return False


def is_address(text: str) -> bool:
    """Whether a source is an http(s) address, and not a path."""
    return text.lower().startswith(("http://", "https://"))


def check(spec: DatasetSpec, accept_licence: bool) -> None:
    """Refuse a source that is not there, and a download whose licence is not accepted.

    Raises:
        SpecError: ``source`` is null and the licence has not been accepted, now or for this folder before; shows
            address, size, licence and citation. Or ``mirror`` fits no address.
        SourceError: A local source or split folder is not there.
    """
    for text in (spec.source, spec.splits):
        if text is not None and not is_address(text) and not Path(text).expanduser().exists():
            raise SourceError(f"{text}: no such folder or archive")
    if spec.source is not None:
        return
    known = registry.load(spec.name)
    if known.videos:
        choose(known.videos, spec.mirror)
    if not accept_licence and not DatasetFolder.of(spec, known).accepted():
        raise SpecError(
            f"dataset.source is null, so {spec.name} would be downloaded:\n{announcement(known)}\n"
            f"to: {DatasetFolder.of(spec, known).path}\n"
            "Accept with --accept-licence, or set dataset.source to what you have: a folder class/clip, or an archive"
        )


def prepare(
    spec: DatasetSpec,
    layout: Layout,
    work: Path,
    *,
    report: Callable[[str], None],
    progress: fetch.Progress = fetch.no_progress,
) -> Sources:
    """Make videos and split files local.

    With ``source`` null both are downloaded from the registry's addresses into the dataset's folder, and only the
    wanted classes are unpacked; ``check`` comes first. With a ``source`` but no ``splits``, clips are listed from the
    folders and have no official folds.

    Args:
        spec: Settings.
        layout: How the dataset is laid out.
        work: Where archives that the user gave are unpacked to.
        report: Called with lines for a log.
        progress: Called while bytes arrive.

    Raises:
        SourceError: A folder, archive or address is not what it should be.
    """
    if spec.source is not None:
        videos = local(spec.source, work, layout.places(_wanted(spec)), "videos", report, progress)
        splits = (
            None if spec.splits is None else local(spec.splits, work, layout.places(None), "splits", report, progress)
        )
        return Sources(videos, splits)
    folder = DatasetFolder.of(spec, registry.load(spec.name))
    wanted = _wanted(spec)
    # What is whole is only read: it may lie where this user cannot write.
    whole = folder.holds("videos", wanted) and (spec.splits is not None or folder.holds("splits", None))
    if not (whole and folder.accepted()) or spec.keep_archives is False:
        with folder.locked(report):
            accept(folder, report)
            obtain(folder, "videos", layout, spec, report, progress)
            if spec.splits is None:
                obtain(folder, "splits", layout, spec, report, progress)
    splits = folder.splits
    if spec.splits is not None:
        splits = local(spec.splits, work, layout.places(None), "splits", report, progress)
    return Sources(folder.videos, splits, downloads=frozenset(file["url"] for file in folder.files()))


def accept(folder: DatasetFolder, report: Callable[[str], None], origin: str | None = None) -> None:
    """Record that the licence is accepted (``check`` has made sure), and show it where that is news."""
    if not folder.accepted():
        report(announcement(folder.known, origin))
        folder.accept()


def take(
    given: Path,
    folder: DatasetFolder,
    layout: Layout,
    wanted: frozenset[str] | None = None,
    *,
    report: Callable[[str], None] = lambda _: None,
) -> int:
    """Bring into the dataset's folder what the user has: an archive in any layout, or a folder.

    Returns:
        How many files of the dataset were found in it.

    Raises:
        SourceError: There is no such file, or it holds nothing that is wanted.
    """
    if not given.exists():
        raise SourceError(f"{given}: no such file or folder")
    found = ingest.ingest(given, folder.path, layout.places(wanted), report=report)
    if not found:
        raise SourceError(f"{given}: holds no {folder.known.name} clips of the wanted classes, and no split files")
    _note(folder, layout, found)
    return len(found)


def _note(folder: DatasetFolder, layout: Layout, found: Sequence[PurePosixPath]) -> None:
    """Record what is whole now: classes with as many clips as are known, and the split files if all are there."""
    for label in {place.parts[1] for place in found if place.parts[0] == "videos"}:
        if len(list((folder.videos / label).iterdir())) >= (folder.known.classes.get(label) or 0):
            folder.note_unpacked("videos", [label])
    if any(place.parts[0] == "splits" for place in found) and layout.has_lists(folder.splits):
        folder.note_unpacked("splits", None)


def local(
    text: str,
    work: Path,
    places: ingest.Places,
    what: str,
    report: Callable[[str], None],
    progress: fetch.Progress = fetch.no_progress,
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
        target = cache_folder() / _short_digest(text) / registry.file_name(text)
        text = str(fetch.download([text], target, report=report, progress=progress).path)
    path = Path(text).expanduser()
    if not path.exists():
        raise SourceError(f"{path}: no such folder or archive")
    if path.is_dir() and not ingest.holds_archives(path) and not _is_flat(path, places, what):
        return path
    status = path.stat()
    # A folder's own time says little of what lies in it; looking it through again costs little.
    content = "" if path.is_dir() else f" {status.st_size} {status.st_mtime_ns}"
    target = work / f"unpacked-{_short_digest(f'{path.resolve()}{content}')}"
    found = ingest.ingest(path, target, places, report=report)
    if not any(place.parts[0] == what for place in found):
        if path.is_dir():
            return path  # its archives are something else
        raise SourceError(f"{path}: holds no {'clips of the wanted classes' if what == 'videos' else 'split files'}")
    return target / what


def _is_flat(folder: Path, places: ingest.Places, what: str) -> bool:
    """Whether videos lie in no class folders, though the dataset knows their classes."""
    if what != "videos" or places.wanted == frozenset():
        return False
    for file in ingest.files(folder):
        found = PurePosixPath(file.relative_to(folder).as_posix())
        place = places.place(found)
        if place is not None:
            return len(found.parts) == 1 and len(place.parts) > 2
    return False


def choose(artefacts: Sequence[Artefact], mirror: str | None) -> list[Artefact]:
    """Return the ways to get a file that ``dataset.mirror`` allows; an address stands for itself.

    Raises:
        SpecError: It is part of no known host's name.
    """
    if mirror is None:
        return list(artefacts)
    if is_address(mirror):
        known = [artefact for artefact in artefacts if mirror in artefact.mirrors]
        return [a.model_copy(update={"mirrors": (mirror,)}) for a in known] or [
            Artefact(mirrors=(mirror,), source="the user")
        ]
    fitting = (
        [url for url in artefact.mirrors if mirror.lower() in (urlsplit(url).hostname or "")] for artefact in artefacts
    )
    chosen = [
        artefact.model_copy(update={"mirrors": tuple(urls)})
        for artefact, urls in zip(artefacts, fitting, strict=True)
        if urls
    ]
    if not chosen:
        hosts = sorted({urlsplit(url).hostname or "" for artefact in artefacts for url in artefact.mirrors})
        raise SpecError(f"dataset.mirror: {mirror!r} is part of no known host; known: {', '.join(hosts)}")
    return chosen


def announcement(known: Registry, origin: str | None = None) -> str:
    """Say what would be downloaded, from where (or ``origin``), how much, under which licence, and what to cite."""
    if origin is not None:
        text, note = f"from {origin}", None
    elif known.subsets:
        sizes = {name: fetch.amount(s.size) if s.size else "size unknown" for name, s in known.subsets.items()}
        origin = urlsplit(next(iter(known.subsets.values())).parts).hostname
        text = f"{', '.join(f'{name} {size}' for name, size in sizes.items())} from {origin}"
        note = None
    else:
        first = known.videos[0]
        text = f"{fetch.amount(first.size) if first.size else 'size unknown'} from {first.mirrors[0]}"
        note = first.note
    lines = [f"{known.title}: {text}", f"licence: {known.licence}", f"cite: {known.citation}"]
    return "\n".join([*lines, f"note: {note}"] if note else lines)


def free_space(folder: Path) -> int:
    """Return the free bytes where a folder is, or would be."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def provenance(spec: DatasetSpec, files: Sources) -> dict[str, Any] | None:
    """Return what a manifest says of where its clips come from; ``None`` for a dataset without registry file.

    No dates, and no files that other builds of the dataset fetched: the same input gives the same manifest. Dates of
    download and acceptance are in ``dataset.json``.
    """
    try:
        known = registry.load(spec.name)
    except SourceError:
        return None
    about: dict[str, Any] = {"title": known.title, "page": known.page, "licence": known.licence}
    about["citation"] = known.citation
    if spec.source is None:
        folder = DatasetFolder.of(spec, known)
        about["licence_accepted"] = folder.accepted()
        urls = {part.url for part in files.parts} | files.downloads
        about["files"] = [
            {name: file[name] for name in ("name", "url", "size", "sha256")}
            for file in folder.files()
            if file["url"] in urls
        ]
    return about


def obtain(
    folder: DatasetFolder,
    what: str,
    layout: Layout,
    spec: DatasetSpec,
    report: Callable[[str], None],
    progress: fetch.Progress = fetch.no_progress,
) -> None:
    """Download and unpack ``videos`` or ``splits`` into the dataset's folder, unless they are there.

    The licence has been accepted, and the caller holds the folder's lock.

    Raises:
        SourceError: No address yields them, they cannot be unpacked, or hold nothing that is wanted.
    """
    wanted = _wanted(spec) if what == "videos" else None
    if not (folder.holds(what, wanted) and (what == "videos" or layout.has_lists(folder.splits))):
        failures: list[SourceError] = []
        for way in _downloaded_first(folder, ways(folder.known, what, spec.mirror)):
            try:
                _unpack(folder, what, way, layout, wanted, report, progress)
                break
            except NoToolError:
                raise  # the archive may be good: another mirror would not help
            except SourceError as error:
                failures.append(error)
                report(str(error))
        else:
            dead = all(isinstance(error, FetchError) for error in failures)
            raise (FetchError if dead else SourceError)("\n".join(map(str, failures)))
    if spec.keep_archives is False:
        for way in {*ways(folder.known, what, None), *ways(folder.known, what, spec.mirror)}:
            if (path := archive_of(folder, way)).is_file():
                report(f"deleting {path}")
                path.unlink()


def ways(known: Registry, what: str, mirror: str | None) -> list[Artefact]:
    """Return the ways to get ``videos`` or ``splits``; a mirror is for the big files, lists come from wherever.

    Raises:
        SpecError: The mirror is part of no known host's name.
    """
    return choose(known.videos, mirror) if what == "videos" else list(known.splits)


def archive_of(folder: DatasetFolder, way: Artefact) -> Path:
    """Return where a download is kept, whichever of its mirrors it comes from."""
    # Copies of different bytes may have one name.
    own = next((a for a in (*folder.known.videos, *folder.known.splits) if set(way.mirrors) <= set(a.mirrors)), way)
    return folder.archives / _short_digest(own.mirrors[0])[:8] / own.file_name


def _downloaded_first(folder: DatasetFolder, ways: Sequence[Artefact]) -> list[Artefact]:
    """Any archive that has been downloaded will do, before another one is."""

    def is_here(way: Artefact) -> bool:
        got = fetch.receipt(archive_of(folder, way))
        return got is not None and way.size in (None, got.size) and way.sha256 in (None, got.sha256)

    return sorted(ways, key=lambda way: not is_here(way))


def _unpack(
    folder: DatasetFolder,
    what: str,
    way: Artefact,
    layout: Layout,
    wanted: frozenset[str] | None,
    report: Callable[[str], None],
    progress: fetch.Progress,
) -> None:
    """Download one archive, and bring what is wanted of it into its place."""
    target = archive_of(folder, way)
    fetched = fetch.download(way.mirrors, target, size=way.size, sha256=way.sha256, report=report, progress=progress)
    try:
        found = ingest.ingest(fetched.path, folder.path, layout.places(wanted), report=report)
        if not any(place.parts[0] == what for place in found):
            raise ArchiveError(f"{fetched.path} (from {fetched.url}): holds none of the {what} that are wanted")
    except NoToolError:
        raise
    except ArchiveError:
        if way.sha256 is None:
            fetch.forget(fetched.path)  # what arrived is not known to be right: the next run asks again
        raise
    folder.note_download(fetched)
    _note(folder, layout, found)
    labels = {place.parts[1] for place in found if place.parts[0] == "videos"}
    folder.note_unpacked(what, labels if what == "videos" else None)


def _wanted(spec: DatasetSpec) -> frozenset[str] | None:
    return None if spec.classes is None else frozenset(spec.classes)


def _short_digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]
