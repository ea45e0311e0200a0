"""Kinetics as a dataset: lists of clips, archives in parts, or a folder of what the user has.

Each of the three editions is a file of its own beside this one, which names it and nothing more.
"""

from __future__ import annotations

import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import TypeVar

from araflow.acquire import fetch, ingest, local, registry
from araflow.acquire.folder import DatasetFolder
from araflow.acquire.registry import Registry, Subset
from araflow.acquire.types import Part, Sources
from araflow.core.clip import Clip
from araflow.core.errors import FetchError, SourceError, SpecError
from araflow.core.spec import DatasetSpec
from araflow.datasets._kinetics import lists, youtube
from araflow.datasets._kinetics.parts import REPLACED, Parts, is_replacement

_T = TypeVar("_T")
log = logging.getLogger(__name__)
_SUBSETS = {"train": "train", "val": "val", "validate": "val", "validation": "val", "test": "test"}
"""Folder names of subsets."""


class Kinetics:
    """One edition of Kinetics; its methods are what ``araflow.datasets.Dataset`` asks of a module.

    Args:
        name: Name of the registry file.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def classes(self) -> tuple[str, ...] | None:
        """Return the raw labels, sorted as the label map is."""
        return tuple(registry.load(self.name).classes) or None

    def check(self, spec: DatasetSpec, *, accept_licence: bool) -> None:
        """Check settings before any work starts; see ``araflow.datasets.Dataset``."""
        local.check(spec, accept_licence)
        if spec.source is None and spec.mirror is not None:
            raise SpecError(
                "dataset.mirror: Kinetics' archives have one address each; for a mirror of your own, copy the registry "
                "file and name its folder in ARAFLOW_REGISTRY"
            )
        if spec.source is None and spec.splits is not None:
            raise SpecError("dataset.splits: the lists are downloaded with the parts; leave it null, or set source too")
        if spec.source is None and (absent := set(spec.subsets) - set(registry.load(self.name).subsets)):
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
        progress: fetch.Progress = fetch.no_progress,
    ) -> Sources:
        """Fetch the lists, and name the parts; with a ``source``, unpack what the user has.

        Where ``clips_per_class`` is set, parts are fetched here, until every class has as many.
        """
        if spec.source is not None:
            splits = None
            if spec.splits is not None:
                splits = local.local(spec.splits, work, _Lists(), "lists", report, progress)
            videos = local.local(spec.source, work, _Shelves(self.classes() or ()), "videos", report, progress)
            return Sources(videos, splits, spec.subsets)
        known = registry.load(self.name)
        folder = DatasetFolder.of(spec, known)
        with folder.locked(report):
            local.accept(folder, report)
            parts = [] if known.replacement is None else [_replacement(known)]
            for subset in spec.subsets:
                parts += self._lists(folder, subset, known.subsets[subset], spec, report)
        chosen = (known.subsets[subset] for subset in spec.subsets)
        urls = frozenset(url for one in chosen for url in (one.parts, *one.annotations))
        files = Sources(folder.videos, folder.lists, spec.subsets, tuple(parts), downloads=urls)
        return files if spec.clips_per_class is None else self._sample(files, folder, spec, report, progress)

    def list_clips(self, files: Sources, wanted: Sequence[str] | None) -> list[Clip]:
        """List the clips of the annotation lists, or of the folders where no lists are given."""
        labels = self.classes() or ()
        there = _Videos(None if files.parts else files.videos)
        if files.splits is None:
            found = (self._found(place, labels, there) for place in there.places())
            clips = [clip for clip in found if clip.subset is None or clip.subset in files.subsets]
        else:
            known = frozenset(labels)
            clips = [self._listed(entry, labels, known, there) for entry in _listed(files.splits, files.subsets)]
        if files.chosen is not None:
            clips = [clip for clip in clips if PurePosixPath(clip.name).name in files.chosen]
        return sorted((c for c in clips if wanted is None or c.label in wanted), key=lambda clip: clip.key)

    def _listed(self, entry: lists.Listed, labels: Sequence[str], known: frozenset[str], there: _Videos) -> Clip:
        label = entry.label
        if label is not None and known and label not in known:
            label = lists.find_label(label, labels)
            if label is None:
                raise SourceError(f"{entry.name}: {entry.label!r} is not a label of {self.name}")
        return self._clip(entry.name, label, entry.subset, there)

    def _found(self, place: PurePosixPath, labels: Sequence[str], there: _Videos) -> Clip:
        return self._clip(place.name, *_label_and_subset(place, labels), there)

    def _clip(self, name: str, label: str | None, subset: str | None, there: _Videos) -> Clip:
        shelf = "unlabelled" if label is None else lists.slug(label)
        source, replaced = there.find(name)
        return Clip(
            dataset=self.name,
            key=f"{shelf}/{name.removesuffix('.mp4')}",
            label=label,
            group=name[:11],  # clips of one video look alike
            subset=subset,
            name=f"{shelf}/{name}",
            source=source,
            replaced=replaced,
        )

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

    def _sample(
        self,
        files: Sources,
        folder: DatasetFolder,
        spec: DatasetSpec,
        report: Callable[[str], None],
        progress: fetch.Progress,
    ) -> Sources:
        """Fetch parts, in their order, until each class and subset has its clips; their videos are kept."""
        clips = self.list_clips(files, spec.classes)
        parts = Parts(folder, [part for part in files.parts if not part.replaces], clips)
        most = spec.clips_per_class or 0
        lacking = {group: min(most, listed) for group, listed in Counter(map(_group, clips)).items()}
        chosen: set[str] = set()
        opened: list[str] = []

        def wanted(clip: Clip) -> bool:
            """Take a clip as long as its class lacks some; asked again, the answer is the same."""
            if clip.name not in chosen and lacking[_group(clip)] > 0:
                lacking[_group(clip)] -= 1
                chosen.add(clip.name)
            return clip.name in chosen

        for part in parts.parts:
            if any(n > 0 and part.subset == own and part.label in (None, label) for (label, own), n in lacking.items()):
                opened.append(part.url)
                keep = spec.keep_archives
                got = parts.try_open(
                    part, wanted, keep_archive=keep, keep_videos=True, report=report, progress=progress
                )
                if got is None:  # other parts may have as many
                    report(str(parts.failures[part]))
        if short := sorted({str(label) for (label, _), number in lacking.items() if number > 0}):
            report(f"the archives that could be had hold fewer clips of {', '.join(short[:5])} than asked for")
        names = frozenset(PurePosixPath(name).name for name in chosen)
        downloads = files.downloads | frozenset(opened)
        return Sources(files.videos, files.splits, files.subsets, chosen=names, downloads=downloads)


class _Lists:
    """Annotation lists, in whatever folder or archive."""

    wanted: frozenset[str] | None = None

    def place(self, found: PurePosixPath) -> PurePosixPath | None:
        hidden = found.name.startswith(".")
        return None if hidden or found.suffix not in (".csv", ".txt") else PurePosixPath("lists", found.name)

    def enter(self, found: PurePosixPath) -> bool:
        return True


class _Shelves:
    """Clips in whatever archives: flat, an archive per class, or class folders within."""

    wanted: frozenset[str] | None = None

    def __init__(self, labels: Sequence[str]) -> None:
        self._labels = labels

    def place(self, found: PurePosixPath) -> PurePosixPath | None:
        if found.name.startswith(".") or lists.parse_name(found.name) is None:
            return None
        if is_replacement(found):
            return PurePosixPath("videos", REPLACED, found.name)
        label, subset = _label_and_subset(found, self._labels)
        return PurePosixPath("videos", subset or "", "unlabelled" if label is None else lists.slug(label), found.name)

    def enter(self, found: PurePosixPath) -> bool:
        return True


def _label_and_subset(place: PurePosixPath, labels: Sequence[str]) -> tuple[str | None, str | None]:
    """Read label and subset from the folders and archives that a file lies in, the nearest first."""
    names = [folder.name for folder in place.parents]
    label = next((found for name in names if (found := lists.find_label(name, labels))), None)
    return label, next((_SUBSETS[name] for name in names if name in _SUBSETS), None)


def _group(clip: Clip) -> tuple[str | None, str | None]:
    return clip.label, clip.subset


class _Videos:
    """The videos in a folder.

    Args:
        folder: ``None`` for none.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._by_name: dict[str, PurePosixPath] = {}
        self._replacements: dict[str, PurePosixPath] = {}
        for path in [] if folder is None else sorted(ingest.files(folder), reverse=True):
            if lists.parse_name(path.name) is None or folder is None:
                continue
            place = PurePosixPath(path.relative_to(folder).as_posix())
            if is_replacement(place):
                self._replacements[path.name[:11]] = place
            else:
                self._by_name[path.name] = place  # of two, the one that sorts first

    def places(self) -> list[PurePosixPath]:
        """Return where each clip is, relative to the folder; replacements apart."""
        return sorted(self._by_name.values())

    def find(self, name: str) -> tuple[Path | None, bool]:
        """Return where a clip's video is, and whether that is a replacement, known by the id of its video."""
        if self._folder is None:
            return None, False
        replacement, place = self._replacements.get(name[:11]), self._by_name.get(name)
        # By name, or by id where the clip has no file: one video may have several clips.
        if replacement is not None and (replacement.name == name or place is None):
            return self._folder / replacement, True
        return (None if place is None else self._folder / place), False


def _listed(folder: Path, subsets: Sequence[str]) -> Iterator[lists.Listed]:
    """Yield every clip of the subsets' lists; one that two subsets list belongs to the first."""
    seen: set[str] = set()
    twice = 0
    for entry in _entries(folder, subsets):
        if entry.name in seen:
            twice += 1
            continue
        seen.add(entry.name)
        yield entry
    if twice:
        log.warning("%d clips are listed in more than one subset; the first of %s counts", twice, ", ".join(subsets))


def _check_labels(path: Path, subset: str) -> None:
    entries = lists.read_annotations(path, subset)
    if subset != "test" and not any(entry.label for entry in entries):
        raise SourceError(f"{path}: names no labels")


def _entries(folder: Path, subsets: Sequence[str]) -> Iterator[lists.Listed]:
    found = sorted(path for path in ingest.files(folder) if path.suffix in (".csv", ".txt"))
    for subset in subsets:
        words = [word for word, meant in _SUBSETS.items() if meant == subset]
        exact = [path for path in found if path.stem in words]
        near = [
            path for path in found if any(word in path.stem for word in words) and not re.search("part|path", path.stem)
        ]
        if not exact and not near:
            raise SourceError(f"{folder}: holds no list of the {subset} clips ({subset}.csv or {subset}.txt)")
        # Where both are there, Kinetics-600's .csv is the one that is incomplete.
        yield from lists.read_annotations(max(exact or near, key=lambda path: (path.suffix == ".txt", path)), subset)


def _replacement(known: Registry) -> Part:
    artefact = known.replacement
    assert artefact is not None, "the caller has looked"
    return Part(artefact.mirrors[0], None, replaces=True, size=artefact.size, sha256=artefact.sha256)
