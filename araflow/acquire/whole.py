"""A dataset that comes whole: one archive of videos and one of split files, brought into the dataset's folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from araflow.acquire import archives, fetch, ingest, registry, terms
from araflow.acquire.counted import Counted
from araflow.acquire.folder import DatasetFolder
from araflow.acquire.registry import Artefact
from araflow.acquire.sources import make_local, short_digest
from araflow.acquire.statuses import Listed, status_of
from araflow.acquire.types import Places, Progress, Sources, no_progress
from araflow.core.addresses import lasting
from araflow.core.clip import Clip
from araflow.core.errors import ArchiveError, FetchError, NoToolError, SourceError
from araflow.core.listing import Leftovers, Listing, told
from araflow.core.spec import DatasetSpec


@dataclasses.dataclass(frozen=True, slots=True)
class Whole:
    """A dataset that comes whole, for ``araflow.datasets.Dataset``.

    Attributes:
        name: Name of the registry file.
        places: Takes the classes that are wanted; places videos below ``videos/`` and split files below ``splits/``.
            With ``subsets=True`` folders of videos named train, val and test are kept.
        has_subsets: Whether a user's folder has folders named train, val, test.
        why_not: Says of a file that has no place there why that is so, by a code of ``core.listing``.
        list_clips: As of ``araflow.datasets.Dataset``.
    """

    name: str
    places: Callable[..., Places]
    has_subsets: Callable[[Path], bool]
    why_not: Callable[[PurePosixPath], str]
    list_clips: Callable[[Sources, Sequence[str] | None], Listing]

    def classes(self) -> tuple[str, ...]:
        """Return the class names, in the registry's order."""
        return tuple(registry.load(self.name).classes)

    def subsets(self) -> tuple[str, ...]:
        """It has none of its own."""
        return ()

    def knows_splits(self, spec: DatasetSpec) -> bool:
        """Whether split files come with the download, or are given, or folders are named as if they were."""
        given = spec.source is None or spec.splits is not None
        return given or self.has_subsets(Path(spec.source or "").expanduser())

    def check(self, spec: DatasetSpec, *, accept_licence: bool) -> None:
        """Check settings before any work starts; see ``terms.check``."""
        terms.check(spec, accept_licence)

    def prepare(
        self,
        spec: DatasetSpec,
        work: Path,
        *,
        report: Callable[[str], None],
        progress: Progress = no_progress,
    ) -> Sources:
        """Make videos and split files local.

        With ``source`` null both are downloaded from the registry's addresses into the dataset's folder, and only the
        wanted classes are unpacked; ``check`` comes first. With a ``source`` but no ``splits``, clips are listed from
        the folders and have no official folds.

        Args:
            spec: Settings.
            work: Where archives that the user gave are unpacked to.
            report: Called with lines for a log.
            progress: Called while bytes arrive.

        Raises:
            SourceError: A folder, archive or address is not what it should be.
        """
        splits = None
        if spec.source is not None:
            places = self.places(_wanted(spec), subsets=spec.splits is None)
            over = Leftovers()
            why_not = self.why_not
            videos = make_local(spec.source, work, places, "videos", report, progress, over=over, why_not=why_not)
            if spec.splits is not None:
                splits = make_local(spec.splits, work, self.places(None), "splits", report, progress)
            return Sources(videos, splits, passed_over=over.entries())
        folder = DatasetFolder.of(spec, registry.load(spec.name))
        wanted = _wanted(spec)
        # What is whole is only read: it may lie where this user cannot write.
        whole = folder.holds("videos", wanted) and (spec.splits is not None or folder.holds("splits", None))
        if not (whole and folder.accepted()) or spec.keep_archives is False:
            with folder.locked(report):
                terms.accept(folder, report)
                obtain(folder, "videos", self, spec, report, progress)
                if spec.splits is None:
                    obtain(folder, "splits", self, spec, report, progress)
        splits = folder.splits
        if spec.splits is not None:
            splits = make_local(spec.splits, work, self.places(None), "splits", report, progress)
        return Sources(folder.videos, splits, downloads=frozenset(file["url"] for file in folder.files()))

    def at_hand(self, spec: DatasetSpec, work: Path) -> Sources | None:
        """Return what is here already; see ``araflow.datasets.Dataset``."""
        if spec.source is not None:
            return self.prepare(spec, work, report=lambda _: None)
        if spec.splits is not None:
            return Sources(None, make_local(spec.splits, work, self.places(None), "splits", lambda _: None))
        folder = DatasetFolder.of(spec, registry.load(spec.name))
        if folder.holds("videos", spec.classes) and folder.holds("splits", None):
            return Sources(folder.videos, folder.splits)
        return None

    def parts(self, spec: DatasetSpec, files: Sources, clips: Sequence[Clip]) -> None:
        """It has none."""

    def fetch(
        self,
        spec: DatasetSpec,
        folder: DatasetFolder,
        given: Sequence[Path],
        report: Callable[[str], None],
        progress: Progress,
    ) -> Listed:
        """Bring it into its folder; see ``araflow.datasets.Dataset``."""
        wanted = _wanted(spec)
        there = Sources(folder.videos, folder.splits)
        over = Leftovers()
        with folder.locked(report):
            origin = ", ".join(map(str, given)) or (spec.mirror and f"the mirror {spec.mirror}")
            terms.accept(folder, report, origin)
            for path in given:
                take(path, folder, self, wanted, over=over, report=report)
            if not given:
                obtain(folder, "videos", self, spec, report, progress)
            obtain(folder, "splits", self, spec, report, progress)
            listing = self.list_clips(there, spec.classes)
            whole = all(status_of(clip.source or folder.path / "absent") == "ok" for clip in listing.clips)
            if not given and not whole:
                _unpack_again(folder, self, wanted, report)
                listing = self.list_clips(there, spec.classes)
        if given:
            over.extend(listing.passed_over)
        clips = [(clip, clip.source or folder.videos / clip.name) for clip in listing.clips]
        return Listed(clips, list(listing.remarks), over.entries())

    def has_lists(self, folder: Path) -> bool:
        """Whether a folder holds all split files."""
        try:
            return bool(self.list_clips(Sources(None, folder), None).clips)
        except SourceError:
            return False


def take(
    given: Path,
    folder: DatasetFolder,
    dataset: Whole,
    wanted: frozenset[str] | None = None,
    *,
    over: Leftovers | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> int:
    """Bring into the dataset's folder what the user has: an archive in any layout, or a folder.

    What of it gets no place there is added to ``over``.

    Returns:
        How many files of the dataset were found in it.

    Raises:
        SourceError: There is no such file, or it holds nothing that is wanted.
    """
    if not given.exists():
        raise SourceError(f"{given}: no such file or folder")
    over = Leftovers() if over is None else over
    places = Counted(dataset.places(wanted), dataset.why_not, over)
    found = ingest.ingest(given, folder.path, places, report=report, over=over)
    if not found:
        seen = told(over.entries())
        raise SourceError(
            f"{given}: holds no {folder.known.name} clips of the wanted classes, and no split files"
            + (f"; {seen}" if seen else "")
        )
    _note(folder, dataset, found)
    return len(found)


def _note(folder: DatasetFolder, dataset: Whole, found: Sequence[PurePosixPath]) -> None:
    """Record what is whole now: classes with as many clips as are known, and the split files if all are there."""
    for label in {place.parts[1] for place in found if place.parts[0] == "videos"}:
        if len(list((folder.videos / label).iterdir())) >= (folder.known.classes.get(label) or 0):
            folder.note_unpacked("videos", [label])
    if any(place.parts[0] == "splits" for place in found) and dataset.has_lists(folder.splits):
        folder.note_unpacked("splits", None)


def obtain(
    folder: DatasetFolder,
    what: str,
    dataset: Whole,
    spec: DatasetSpec,
    report: Callable[[str], None],
    progress: Progress = no_progress,
) -> None:
    """Download and unpack ``videos`` or ``splits`` into the dataset's folder, unless they are there.

    The licence has been accepted, and the caller holds the folder's lock.

    Raises:
        SourceError: No address yields them, they cannot be unpacked, or hold nothing that is wanted.
    """
    wanted = _wanted(spec) if what == "videos" else None
    if not (folder.holds(what, wanted) and (what == "videos" or dataset.has_lists(folder.splits))):
        failures: list[SourceError] = []
        for way in _downloaded_first(folder, registry.ways(folder.known, what, spec.mirror)):
            try:
                _unpack(folder, what, way, dataset, wanted, report, progress)
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
        for way in {*registry.ways(folder.known, what, None), *registry.ways(folder.known, what, spec.mirror)}:
            if (path := archive_of(folder, way)).is_file():
                report(f"deleting {path}")
                path.unlink()


def archive_of(folder: DatasetFolder, way: Artefact) -> Path:
    """Return where a download is kept, whichever of its mirrors it comes from."""
    # Copies of different bytes may have one name.
    own = next((a for a in (*folder.known.videos, *folder.known.splits) if set(way.mirrors) <= set(a.mirrors)), way)
    return folder.archives / short_digest(lasting(own.mirrors[0]))[:8] / own.file_name


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
    dataset: Whole,
    wanted: frozenset[str] | None,
    report: Callable[[str], None],
    progress: Progress,
) -> None:
    """Download one archive, and bring what is wanted of it into its place."""
    target = archive_of(folder, way)
    fetched = fetch.download(way.mirrors, target, size=way.size, sha256=way.sha256, report=report, progress=progress)
    try:
        found = ingest.ingest(fetched.path, folder.path, dataset.places(wanted), report=report)
        if not any(place.parts[0] == what for place in found):
            raise ArchiveError(f"{fetched.path} (from {fetched.url}): holds none of the {what} that are wanted")
    except ArchiveError as error:
        if way.sha256 is None and not archives.may_be_good(error):
            fetch.forget(fetched.path)  # what arrived is not known to be right: the next run asks again
        raise
    folder.note_download(fetched)
    _note(folder, dataset, found)
    labels = {place.parts[1] for place in found if place.parts[0] == "videos"}
    folder.note_unpacked(what, labels if what == "videos" else None)


def _wanted(spec: DatasetSpec) -> frozenset[str] | None:
    return None if spec.classes is None else frozenset(spec.classes)


def _unpack_again(
    folder: DatasetFolder, dataset: Whole, wanted: frozenset[str] | None, report: Callable[[str], None]
) -> None:
    """Look for clips that are not there, or no longer, in the archives that are kept."""
    for way in folder.known.videos:
        if (path := archive_of(folder, way)).is_file():
            ingest.ingest(path, folder.path, dataset.places(wanted), report=report)
