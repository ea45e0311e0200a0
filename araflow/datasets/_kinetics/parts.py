"""A dataset in parts, one archive at a time: fetch a part, make its clips, delete it, so that disk holds one part.

Kinetics-400 is 242 archives of mixed classes for training alone, 370 GB. What each held is remembered, so that a part
whose clips are all made is never fetched again.
"""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from araflow.acquire import archives, fetch, ingest, registry
from araflow.acquire.counted import Counted
from araflow.acquire.folder import DatasetFolder
from araflow.acquire.notes import DamagedNoteError
from araflow.acquire.types import Part, Progress, no_progress
from araflow.core.addresses import masked
from araflow.core.clip import Clip
from araflow.core.errors import ArchiveError, SourceError
from araflow.core.listing import Leftovers, told
from araflow.datasets._kinetics.index import REPLACED, Index, Lying, PartPlaces, clip_of
from araflow.datasets._kinetics.records import Held, Records, short_digest
from araflow.datasets._kinetics.route import Route

log = logging.getLogger(__name__)
_FAILURES_IN_A_ROW = 3
"""Parts that cannot be had one after the other before a run stops: then it is not the part's fault."""


class Parts:
    """The parts of a dataset in its folder.

    Args:
        folder: The dataset's folder.
        parts: In the order in which they are to be fetched; replacements first.
        clips: Every listed clip.

    Attributes:
        failures: Why parts could not be had in this run (``try_open``).
    """

    def __init__(self, folder: DatasetFolder, parts: Sequence[Part], clips: Iterable[Clip]) -> None:
        self.folder, self.parts, self.index = folder, parts, Index(clips)
        self._records, self._lying = Records(folder.path), Lying(folder.videos)
        self.failures: dict[Part, SourceError] = {}
        self._failures_in_a_row = 0

    def held(self, part: Part) -> Held | None:
        """Return what a part held, or ``None`` while it has not been fetched, or where that is not to be understood.

        Raises:
            SourceError: That is on record, but cannot be read.
        """
        try:
            return self._records.held(part)
        except DamagedNoteError as error:  # what it held is seen by another look, and nothing is deleted for it
            log.warning("%s", error)
            return None

    def clips(self, part: Part, held: Held) -> list[Clip]:
        """Return the listed clips that a part held, in the archive's order."""
        found = (self.index.get(name, by_id=part.replaces) for name in held.names)
        return list(dict.fromkeys(clip for clip in found if clip is not None))

    def replaced(self) -> set[str]:
        """Return the keys of the clips that a replacement archive holds.

        Raises:
            SourceError: That is on record, but cannot be read, or not be understood.
        """
        helds = ((part, self._records.held(part)) for part in self.parts if part.replaces)
        return {clip.key for part, held in helds if held is not None for clip in self.clips(part, held)}

    def open(
        self,
        part: Part,
        wanted: Callable[[Clip], bool],
        *,
        keep_archive: bool | None,
        keep_videos: bool,
        report: Callable[[str], None],
        progress: Progress = no_progress,
    ) -> list[Clip]:
        """Make the wanted clips of one part local.

        Args:
            part: Which.
            wanted: Whether a clip is wanted.
            keep_archive: Leave the archive where it is, or delete it once unpacked; ``None``: delete it unless it was
                to be kept before.
            keep_videos: ``drop`` shall leave the videos.
            report: Called with lines for a log.
            progress: Called while bytes arrive.

        Returns:
            The wanted clips of the part, sorted by key, with ``source`` set.

        Raises:
            SourceError: It cannot be downloaded or unpacked, or holds no clip of the label that it is listed for.
        """
        with self.folder.locked(report):
            replaced = set() if part.replaces else self.replaced()
            held = self.held(part)

            def taken(clip: Clip) -> bool:
                return clip.key not in replaced and wanted(clip)

            def there(held: Held) -> list[Clip]:
                return [clip for clip in self.clips(part, held) if taken(clip)]

            if held is None or not all(self._place(part, clip).is_file() for clip in there(held)):
                names, theirs = self._get(part, taken, report, progress)
                before = held or Held(
                    url=masked(part.url), names=names, kept=theirs, archive=self._records.lies_there(part)
                )
                held = before.model_copy(update={"names": names})
            kept = held.kept | ({clip.key for clip in there(held)} if keep_videos else frozenset())
            archive = held.archive if keep_archive is None else keep_archive
            # Last: from now on it is not fetched again.
            self._records.write_held(part, held.model_copy(update={"kept": kept, "archive": archive}))
            if not archive:
                self._archive(part).unlink(missing_ok=True)
            clips = [dataclasses.replace(c, source=self.video(c), replaced=part.replaces) for c in there(held)]
            return sorted(clips, key=lambda clip: clip.key)

    def try_open(
        self,
        part: Part,
        wanted: Callable[[Clip], bool],
        *,
        keep_archive: bool | None,
        keep_videos: bool,
        report: Callable[[str], None],
        progress: Progress = no_progress,
    ) -> list[Clip] | None:
        """As ``open``, but a part that cannot be had is noted in ``failures`` and gives ``None``.

        Raises:
            SourceError: Several parts in a row cannot be had.
        """
        try:
            clips = self.open(
                part, wanted, keep_archive=keep_archive, keep_videos=keep_videos, report=report, progress=progress
            )
        except SourceError as error:
            self.failures[part] = error
            self._failures_in_a_row += 1
            if self._failures_in_a_row >= _FAILURES_IN_A_ROW:
                raise
            return None
        self._failures_in_a_row = 0
        return clips

    def drop(self, part: Part) -> None:
        """Delete the videos of a part, and its archive where a killed run has left it, unless they are to be kept."""
        if self.held(part) is None:
            return
        with self.folder.locked(log.info):
            held = self.held(part)  # under the lock: another process may have begun to keep it
            if held is None:
                return
            # All that is on record is read before anything is deleted.
            keep = held.kept | self.given(replacements=part.replaces) | (set() if part.replaces else self.replaced())
            if not held.archive:
                self._archive(part).unlink(missing_ok=True)
            for clip in self.clips(part, held):
                if clip.key not in keep:
                    self._place(part, clip).unlink(missing_ok=True)

    def take(self, path: Path, report: Callable[[str], None], over: Leftovers) -> None:
        """Take in what the user has: an archive or a folder; it stays, whatever is fetched or dropped later.

        What of it is no listed clip is added to ``over``.

        Raises:
            SourceError: There is no such file, or it holds no listed clip.
        """
        if not path.exists():
            raise SourceError(f"{path}: no such file or folder")
        with self.folder.locked(report):
            before = self._records.given()
            places = PartPlaces(self.index, lambda clip: True, replaces=None)
            found = ingest.ingest(
                path, self.folder.path, Counted(places, places.why_not, over), report=report, again=True, over=over
            )
            if not found:
                name, seen = self.folder.known.name, told(over.entries())
                raise SourceError(f"{path}: holds no {name} clips that are wanted{seen and '; '}{seen}")
            clips = [(REPLACED in place.parts, clip) for place in found if (clip := self.index.get(clip_of(place)))]
            plain, apart = ({clip.key for other, clip in clips if other is replaces} for replaces in (False, True))
            now = {"clips": before.clips | plain, "replacements": before.replacements | apart}
            self._lying = Lying(self.folder.videos)
            self._records.write_given(before.model_copy(update=now))

    def given(self, *, replacements: bool = False) -> frozenset[str]:
        """Return the keys of the clips that the user gave, or of those of which the user gave replacements.

        Raises:
            SourceError: They are on record, but cannot be read.
        """
        return self._records.given().replacements if replacements else self._records.given().clips

    def video(self, clip: Clip) -> Path:
        """Return where a clip's video lies, or would; a replacement comes first."""
        return self._lying.video(clip)

    def is_replaced(self, clip: Clip) -> bool:
        """Whether there is a replacement of a clip."""
        return self._lying.replacement(clip) is not None

    def remarks(self, subsets: Sequence[str], *, every_class: bool) -> list[str]:
        """Say, per subset, how many of the listed clips the parts hold, beside what is known of the whole dataset.

        Args:
            subsets: Which.
            every_class: The clips are those of all classes; only then is it known what no list names.
        """
        present = self.present()
        lines = []
        for subset in subsets:
            listed = sum(clip.subset == subset for clip in self.index)
            if not listed:
                continue
            absent = sum(part.subset == subset and self.held(part) is None for part in self.parts)
            if absent and present[subset] < listed:
                lines.append(f"{subset}: {absent} archives have not been fetched")
                continue
            line = f"{subset}: {present[subset]:,} of {listed:,} listed clips are in the archives"
            line += f" ({1 - present[subset] / listed:.1%} missing"
            known = self.folder.known.subsets[subset]
            if known.listed and known.present:
                line += f"; others counted {1 - known.present / known.listed:.1%}"
            lines.append(line + ")")
        if every_class and (unlisted := self.unlisted()):
            lines.append(f"videos in the archives that no list names: {unlisted:,}")
        return lines

    def route(self) -> Route:
        """Return the way to clips that no part holds."""
        return Route(self.folder)

    def present(self) -> Counter[str]:
        """Count, of the parts fetched so far, the listed clips per subset."""
        there: set[Clip] = set()
        for part in self.parts:
            if (held := self.held(part)) is not None:
                there.update(self.clips(part, held))
        return Counter(clip.subset or "" for clip in there)

    def unlisted(self) -> int:
        """Count the videos of the parts fetched so far that no list names; the index must hold every listed clip."""
        helds = ((part, held) for part in self.parts if (held := self.held(part)) is not None)
        return sum(self.index.get(name, by_id=part.replaces) is None for part, held in helds for name in held.names)

    def _get(
        self,
        part: Part,
        taken: Callable[[Clip], bool],
        report: Callable[[str], None],
        progress: Progress,
    ) -> tuple[tuple[str, ...], frozenset[str]]:
        """Fetch and unpack; return the names of the clips in it, and the keys of those that lay there already."""
        fetched = fetch.download(
            [part.url], self._archive(part), size=part.size, sha256=part.sha256, report=report, progress=progress
        )
        # What lies in a clip's place is the user's, but for what a run has left that was killed in this very part; of
        # one whose record is not to be understood, all is.
        theirs: set[str] = set()
        begun = self._records.begun(part)
        if self.held(part) is None and (self._records.lies_there(part) or not begun.exists()):
            theirs = {clip.key for clip in self.index if self._place(part, clip).is_file()}
        begun.touch()
        places = PartPlaces(self.index, lambda clip: clip.key not in theirs and taken(clip), replaces=part.replaces)
        try:
            placed = ingest.ingest(fetched.path, self.folder.path, places, report=report, again=True)
        except ArchiveError as error:
            if part.sha256 is None and not archives.may_be_good(error):
                fetch.forget(fetched.path)  # what arrived is not known to be right: the next run asks again
            raise
        found = (self.index.get(name) for name in places.names)
        if part.guessed and places.names and not any(clip and clip.label == part.label for clip in found):
            for place in placed:
                (self.folder.path / place).unlink(missing_ok=True)
            fetch.forget(fetched.path)
            raise SourceError(
                f"{masked(part.url)}: was taken for the archive of {part.label!r}, but holds none of its clips: the "
                "archives are in another order than is known; take all classes (dataset.classes: null)"
            )
        self.folder.note_download(fetched)
        return tuple(places.names), frozenset(theirs)

    def _place(self, part: Part, clip: Clip) -> Path:
        return self.folder.videos / (REPLACED if part.replaces else "") / clip.name

    def _archive(self, part: Part) -> Path:
        subset = part.subset or "replacement"
        return self.folder.archives / subset / short_digest(part) / registry.file_name(part.url)
