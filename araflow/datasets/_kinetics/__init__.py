"""Kinetics as a dataset: lists of clips, archives in parts, or a folder of what the user has.

Each of the three editions is a file of its own beside this one, which names it and nothing more.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import TypeVar

from araflow.acquire import fetch, registry, terms
from araflow.acquire.folder import DatasetFolder
from araflow.acquire.registry import Registry, Subset
from araflow.acquire.sources import make_local
from araflow.acquire.statuses import Listed
from araflow.acquire.types import Part, Progress, Sources, no_progress
from araflow.core.clip import Clip
from araflow.core.errors import FetchError, SourceError, SpecError
from araflow.core.listing import Leftovers, Listing, told
from araflow.core.spec import DatasetSpec
from araflow.datasets._kinetics import lists, youtube
from araflow.datasets._kinetics.gather import ask_youtube, fetch_all, sample
from araflow.datasets._kinetics.parts import Parts
from araflow.datasets._kinetics.shelves import ListPlaces, VideoPlaces, Videos, listed

_T = TypeVar("_T")


class Kinetics:
    """One edition of Kinetics, for ``araflow.datasets.Dataset``.

    Args:
        name: Name of the registry file.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def classes(self) -> tuple[str, ...] | None:
        """Return the raw labels, sorted as the label map is."""
        return tuple(registry.load(self.name).classes) or None

    def subsets(self) -> tuple[str, ...]:
        """Return the names of its subsets."""
        return tuple(registry.load(self.name).subsets)

    def knows_splits(self, spec: DatasetSpec) -> bool:
        """Lists, or folders, say which subset each clip is of."""
        return True

    def check(self, spec: DatasetSpec, *, accept_licence: bool) -> None:
        """Check settings before any work starts; see ``araflow.datasets.Dataset``."""
        terms.check(spec, accept_licence)
        if spec.source is None and spec.mirror is not None:
            raise SpecError(
                "dataset.mirror: Kinetics' archives have one address each; for a mirror of your own, copy the registry "
                "file and name its folder in ARAFLOW_REGISTRY"
            )
        if spec.source is None and spec.splits is not None:
            raise SpecError("dataset.splits: the lists are downloaded with the parts; leave it null, or set source too")
        if spec.source is None and (absent := set(spec.subsets) - set(self.subsets())):
            raise SpecError(f"dataset.subsets: {self.name} has no {', '.join(sorted(absent))}")
        if spec.youtube:
            if spec.source is not None or spec.clips_per_class is not None:
                other = "source" if spec.source is not None else "clips_per_class"
                raise SpecError(f"dataset.youtube: is for clips that no archive holds; leave dataset.{other} null")
            youtube.check()

    def prepare(
        self,
        spec: DatasetSpec,
        work: Path,
        *,
        report: Callable[[str], None],
        progress: Progress = no_progress,
    ) -> Sources:
        """Fetch the lists, and name the parts; with a ``source``, unpack what the user has.

        Where ``clips_per_class`` is set, parts are fetched here, until every class has as many.
        """
        if spec.source is not None:
            splits = None
            if spec.splits is not None:
                splits = make_local(spec.splits, work, ListPlaces(), "lists", report, progress)
            over, places = Leftovers(), VideoPlaces(self.classes() or ())
            why_not = places.why_not
            videos = make_local(spec.source, work, places, "videos", report, progress, over=over, why_not=why_not)
            return Sources(videos, splits, spec.subsets, passed_over=over.entries())
        known = registry.load(self.name)
        folder = DatasetFolder.of(spec, known)
        with folder.locked(report):
            terms.accept(folder, report)
            parts = [] if known.replacement is None else [_replacement(known)]
            for subset in spec.subsets:
                parts += self._lists(folder, subset, known.subsets[subset], spec, report)
        chosen = (known.subsets[subset] for subset in spec.subsets)
        urls = frozenset(url for one in chosen for url in (one.parts, *one.annotations))
        files = Sources(folder.videos, folder.lists, spec.subsets, tuple(parts), downloads=urls)
        if spec.clips_per_class is None:
            return files
        clips = self.list_clips(files, spec.classes).clips
        once = Parts(folder, [part for part in files.parts if not part.replaces], clips)
        return sample(once, files, clips, spec, report, progress)

    def at_hand(self, spec: DatasetSpec, work: Path) -> Sources | None:
        """Return what is here already: what the user has, or else the lists."""
        if spec.source is not None:
            return self.prepare(spec, work, report=lambda _: None)
        folder = DatasetFolder.of(spec, registry.load(self.name))
        return Sources(None, folder.lists, spec.subsets) if folder.lists.is_dir() else None

    def parts(self, spec: DatasetSpec, files: Sources, clips: Sequence[Clip]) -> Parts | None:
        """Return the archives that clips are to come from; none where the user has the videos, or of a sample."""
        return Parts(DatasetFolder.of(spec, registry.load(self.name)), files.parts, clips) if files.parts else None

    def fetch(
        self,
        spec: DatasetSpec,
        folder: DatasetFolder,
        given: Sequence[Path],
        report: Callable[[str], None],
        progress: Progress,
    ) -> Listed:
        """Fetch every part and keep the videos of the wanted clips; see ``araflow.datasets.Dataset``."""
        files = self.prepare(spec, folder.path, report=report, progress=progress)
        listing = self.list_clips(files, spec.classes)
        clips, remarks = listing.clips, list(listing.remarks)
        parts = Parts(folder, files.parts, clips)
        over = Leftovers()
        for path in given:
            parts.take(path, report, over)
        if not given and files.parts:
            remarks += fetch_all(parts, spec.keep_archives, report, progress)
            remarks += parts.remarks(spec.subsets, every_class=spec.classes is None)
            if spec.youtube:
                remarks.append(ask_youtube(parts, clips, report))
        listed = [(dataclasses.replace(clip, replaced=parts.is_replaced(clip)), parts.video(clip)) for clip in clips]
        return Listed(listed, remarks, over.entries())

    def list_clips(self, files: Sources, wanted: Sequence[str] | None) -> Listing:
        """List the clips of the annotation lists, or of the folders where no lists are given."""
        labels = self.classes() or ()
        if files.splits is None:
            there = Videos(files.videos, labels, None)
            found = list(there.clips())
            there.leave("unwanted-subset", (stem for stem, _, own in found if own not in (None, *files.subsets)))
            clips = [self._clip(*one, there) for one in found if one[2] in (None, *files.subsets)]
        else:
            entries = list(listed(files.splits, files.subsets))
            stems = [entry.name.removesuffix(".mp4") for entry in entries]
            there = Videos(None if files.parts else files.videos, labels, stems)
            known = frozenset(labels)
            clips = [self._listed(stem, entry, known, there) for stem, entry in zip(stems, entries, strict=True)]
            self._leave_unlisted(there, set(stems), files.subsets)
        if files.chosen is not None:
            clips = [clip for clip in clips if PurePosixPath(clip.name).name in files.chosen]
        taken = [clip for clip in clips if wanted is None or clip.label in wanted]
        if wanted is not None:
            gone = (
                clip for clip in clips if clip.label not in wanted and clip.source is not None and not clip.replaced
            )
            there.leave("unwanted-class", (clip.key.rpartition("/")[2] for clip in gone))
        remarks = tuple(there.remarks())
        if not taken and files.splits is None:
            seen = told(there.passed_over) or f"it holds {len(clips):,} other clips"
            raise SourceError(
                f"{files.videos}: holds no {self.name} clips that are wanted; dataset.source must hold "
                f"<class>/<id>_<start>_<end>.mp4, or the like; {seen}"
            )
        passed_over = Leftovers()
        passed_over.extend((*files.passed_over, *there.passed_over))
        return Listing(tuple(sorted(taken, key=lambda clip: clip.key)), passed_over.entries(), remarks)

    def _listed(self, stem: str, entry: lists.Listed, known: frozenset[str], there: Videos) -> Clip:
        label = entry.label
        if label is not None and known and label not in known:
            label = lists.find_label(label, self.classes() or ())
        if label is None and entry.label is not None:
            raise SourceError(f"{entry.name}: {entry.label!r} is not a label of {self.name}")
        return self._clip(stem, label, entry.subset, there)

    def _clip(self, stem: str, label: str | None, subset: str | None, there: Videos) -> Clip:
        shelf = "unlabelled" if label is None else lists.slug(label)
        source, replaced = there.find(stem)
        return Clip(
            dataset=self.name,
            key=f"{shelf}/{stem}",
            label=label,
            group=stem[:11],  # clips of one video look alike
            subset=subset,
            name=f"{shelf}/{stem}.mp4",
            source=source,
            replaced=replaced,
        )

    def _leave_unlisted(self, there: Videos, known: set[str], subsets: Sequence[str]) -> None:
        for stem, _, own in there.clips():
            if stem not in known:
                there.leave("not-listed" if own in (None, *subsets) else "unwanted-subset", [stem])

    def _lists(
        self, folder: DatasetFolder, subset: str, known: Subset, spec: DatasetSpec, report: Callable[[str], None]
    ) -> Iterator[Part]:
        """Fetch a subset's lists, and yield the parts that may hold wanted clips."""
        urls = self._fetch_list(folder, known.parts, f"{subset}_parts.txt", lists.read_parts, report)
        failures: list[str] = []
        for address in known.annotations:
            suffix = PurePosixPath(registry.file_name(address)).suffix or ".csv"
            try:
                self._fetch_list(folder, address, f"{subset}{suffix}", lambda path: _check_labels(path, subset), report)
                break
            except SourceError as error:
                report(str(error))
                failures.append(str(error))
        else:
            raise FetchError("\n".join(failures))
        labels = self.classes() or ()
        for number, url in enumerate(urls):
            label = lists.find_label(registry.file_name(url), labels)
            # Kinetics-700-2020's are numbered, in the order of the labels; only a choice of classes depends on it.
            guessed = label is None and spec.classes is not None and len(urls) == len(labels) and subset != "test"
            if guessed:
                label = labels[number]
            if label is None or spec.classes is None or label in spec.classes:
                yield Part(url, subset, label, guessed)

    def _fetch_list(
        self,
        folder: DatasetFolder,
        address: str,
        name: str,
        read: Callable[[Path], _T],
        report: Callable[[str], None],
    ) -> _T:
        """Download a list and read it; one that is no list is forgotten, unless it lay there before."""
        target = folder.lists / name
        lay_there = os.path.lexists(target)
        got = fetch.download([address], target, kind="text", report=report)
        try:
            content = read(target)
        except SourceError as error:
            if lay_there:
                raise SourceError(f"{error}; delete {target} to have it downloaded again") from error
            fetch.forget(target)  # what arrived is not known to be right: the next run asks again
            raise
        folder.note_download(got)
        return content


def _check_labels(path: Path, subset: str) -> None:
    entries = lists.read_annotations(path, subset)
    if subset != "test" and not any(entry.label for entry in entries):
        raise SourceError(f"{path}: names no labels")


def _replacement(known: Registry) -> Part:
    artefact = known.replacement
    assert artefact is not None, "the caller has looked"
    return Part(artefact.mirrors[0], None, replaces=True, size=artefact.size, sha256=artefact.sha256)
