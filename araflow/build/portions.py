"""The clips of a build, portion by portion: all at once, or, of a dataset in parts, one archive at a time.

A portion is opened (its archive fetched and unpacked), its clips are made, and it is closed (the videos deleted).
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from araflow.acquire import registry
from araflow.acquire.types import Part, Sources
from araflow.build import turned, verify
from araflow.build.resolved import ResolvedBuild
from araflow.build.selection import Selection
from araflow.build.shards import shards
from araflow.core.addresses import masked
from araflow.core.clip import Clip, ClipRecord, Outcome
from araflow.core.errors import SourceError
from araflow.store.store import Store

if TYPE_CHECKING:
    from araflow.datasets import Answer, Parts, Route

log = logging.getLogger(__name__)


class Portions:
    """Yields the portions of a build, in order.

    Args:
        build: Settings, and how clips are made.
        files: What has been made local.
        selection: The clips.
        store: Where.
    """

    def __init__(
        self,
        build: ResolvedBuild,
        files: Sources,
        selection: Selection,
        store: Store,
    ) -> None:
        self.spec, self.files, self.selection = build.spec, files, selection
        self._fingerprint, self._store = build.fingerprint, store
        self._seen: set[str] = set()
        self._parts: Parts | None = None
        if files.parts:
            assert build.dataset is not None, "a source has no parts"
            self._parts = build.dataset.parts(build.spec.dataset, files, selection.clips)

    def __iter__(self) -> Iterator[Portion]:
        if self._parts is None:
            yield Portion("", self.selection.clips)
            return
        # What the user gave comes before the parts, but after the replacements, of which it may need some.
        replacing = sum(part.replaces for part in self._parts.parts)
        for number, part in enumerate(self._parts.parts):
            if number == replacing and (given := self._given()):
                yield Portion("", given)
            if not self._is_made(part):
                yield _PartPortion(f"part {number + 1} of {len(self._parts.parts)}", self, part)
        rest = tuple(clip for clip in self.selection.clips if clip.key not in self._seen)
        for line in self.remarks():
            log.info("%s", line)
        rest = self._note_unknown(rest)
        if rest and self.spec.dataset.youtube and not self._parts.failures:
            yield from self._ask_youtube(rest)
        elif rest:
            yield Portion("", rest)

    def labelled(self) -> Selection:
        """Return the selection, with the clips marked that come from a replacement archive."""
        if self._parts is None:
            return self.selection
        replaced = self._parts.replaced()
        clips = tuple(
            dataclasses.replace(clip, replaced=clip.key in replaced or self._parts.is_replaced(clip))
            for clip in self.selection.clips
        )
        return dataclasses.replace(self.selection, clips=clips)

    def _given(self) -> tuple[Clip, ...]:
        """The clips whose videos the user has given to ``araflow fetch``."""
        assert self._parts is not None, "there are parts"
        keys = self._parts.given()
        given = [
            dataclasses.replace(clip, source=path)
            for clip in self.selection.clips
            if clip.key in keys - self._seen and (path := self._parts.video(clip)).exists()
        ]
        self._seen.update(clip.key for clip in given)
        return tuple(given)

    def remarks(self) -> list[str]:
        """Say, per subset, how many listed clips the archives hold, beside how many are known to be missing."""
        if self._parts is None:
            return []
        return self._parts.remarks(self.files.subsets, every_class=self.spec.dataset.classes is None)

    def _is_made(self, part: Part) -> bool:
        """Whether every wanted clip of a part that has been fetched before is settled; then it is not fetched again."""
        assert self._parts is not None, "there are parts"
        held = self._parts.held(part)
        if held is None:
            # Nothing is known of it; but if every clip that it may hold is at hand, it is not needed.
            here = self._seen | self._parts.given()
            maybe = (
                clip
                for clip in self.selection.clips
                if part.subset in (None, clip.subset) and (part.guessed or part.label in (None, clip.label))
            )
            return all(clip.key in here for clip in maybe)
        clips = [clip for clip in self._parts.clips(part, held) if clip.key not in self._seen]
        if not all(self._is_settled(clip) for clip in clips):
            return False
        self._seen.update(clip.key for clip in clips)
        self.close_part(part)  # a run may have been killed before it came to that
        return True

    def _is_settled(self, clip: Clip) -> bool:
        known = verify.look(self._store, clip.key, self._fingerprint, verify=self.spec.run.verify).record
        if known is None or not turned.as_wanted(known, self.spec.video.rotation, None):
            return False
        return known.outcome is not Outcome.FAILED and known.reason_code != "missing"

    def open_part(self, part: Part) -> tuple[Clip, ...]:
        """Fetch and unpack; a part that cannot be had is noted, and the build goes on with the next."""
        assert self._parts is not None, "there are parts"
        clips = self._parts.try_open(
            part,
            lambda clip: clip.key not in self._seen,
            keep_archive=self.spec.dataset.keep_archives,
            keep_videos=self.spec.dataset.keep_archives is True,
            report=log.info,
        )
        if clips is None:
            log.error("%s", self._parts.failures[part])
            return ()
        self._seen.update(clip.key for clip in clips)
        return tuple(clips)

    def close_part(self, part: Part) -> None:
        """Delete a part's videos, unless they are to be kept."""
        assert self._parts is not None, "there are parts"
        self._parts.drop(part)

    def _ask_youtube(self, rest: tuple[Clip, ...]) -> Iterator[Portion]:
        """Ask for the clips that no archive holds, a shard at a time; those that are settled are not touched."""
        assert self._parts is not None, "there are parts"
        route = self._parts.route()
        chunks = shards(tuple(clip for clip in rest if not self._is_settled(clip)), self.spec.run.shard_size)
        for number, chunk in enumerate(chunks, start=1):
            yield _YouTubePortion(f"YouTube {number} of {len(chunks)}", self, route, chunk)
        log.info("%s", route.summary())

    def note_absent(self, clip: Clip, answer: Answer) -> None:
        """Keep why a clip did not come: it is missing if that is the video's fault, and else tried again next time.

        Raises:
            SourceError: It is tried again next time, and ``run.on_error`` is ``stop``.
        """
        lasts = answer.lasts
        outcome = Outcome.QUARANTINED if lasts else Outcome.FAILED
        reason = f"{'missing' if lasts else 'io-error'}: in no archive; YouTube: {answer}"
        self._note(ClipRecord(clip.key, outcome, reason, fingerprint=self._fingerprint))

    def _note(self, record: ClipRecord) -> None:
        self._store.write_record(record)
        if record.outcome is Outcome.FAILED and self.spec.run.on_error == "stop":
            raise SourceError(f"{record.key}: {record.outcome}: {record.reason} (run.on_error is stop)")

    def _note_unknown(self, rest: tuple[Clip, ...]) -> tuple[Clip, ...]:
        """Note clips that may be in a part that could not be had: they are tried again next time, not called missing.

        Returns the others.

        Raises:
            SourceError: There is one, and ``run.on_error`` is ``stop``.
        """
        assert self._parts is not None, "there are parts"
        missing = []
        for clip in rest:
            parts = [p for p in self._parts.failures if p.subset == clip.subset and p.label in (None, clip.label)]
            if not parts:
                missing.append(clip)
                continue
            more = f" and {len(parts) - 1} more" if len(parts) > 1 else ""
            reason = f"io-error: in no part that could be fetched; not fetched: {masked(parts[0].url)}{more}"
            known = self._store.find(clip.key, self._fingerprint)
            if known is None or known.outcome is not Outcome.DONE:
                self._note(ClipRecord(clip.key, Outcome.FAILED, reason, fingerprint=self._fingerprint))
        return tuple(missing)


@dataclasses.dataclass(slots=True)
class Portion:
    """Some clips of a build.

    Attributes:
        name: For logs; empty where there is nothing to open.
        clips: The clips; of a part, they are known once it is open.
    """

    name: str
    clips: tuple[Clip, ...] = ()

    def open(self) -> tuple[Clip, ...]:
        """Make the videos local, and return the clips.

        Raises:
            SourceError: Several parts in a row cannot be had.
        """
        return self.clips

    def close(self) -> None:
        """Delete videos that are needed no longer."""


class _PartPortion(Portion):
    def __init__(self, name: str, portions: Portions, part: Part) -> None:
        super().__init__(f"{name}: {registry.file_name(part.url)}")
        self._portions, self._part = portions, part

    def open(self) -> tuple[Clip, ...]:
        self.clips = self._portions.open_part(self._part)
        return self.clips

    def close(self) -> None:
        self._portions.close_part(self._part)


class _YouTubePortion(Portion):
    def __init__(self, name: str, portions: Portions, route: Route, asked: tuple[Clip, ...]) -> None:
        super().__init__(name)
        self._portions, self._route, self._asked = portions, route, asked
        self._came: list[Path] = []

    def open(self) -> tuple[Clip, ...]:
        paths = {clip.name: self._route.folder.videos / clip.name for clip in self._asked}
        new = [path for path in paths.values() if not path.is_file()]
        answers = self._route.fetch(paths, log.info)
        self._came = [path for path in new if path.is_file()]
        clips = []
        for clip in self._asked:
            answer = answers[clip.name]
            if answer.came:
                clips.append(dataclasses.replace(clip, source=paths[clip.name]))
                continue
            self._portions.note_absent(clip, answer)
            if answer.lasts:
                clips.append(clip)  # without a source, it is counted as missing, by the record that was just written
        self.clips = tuple(clips)
        return self.clips

    def close(self) -> None:
        if self._portions.spec.dataset.keep_archives is not True:
            for path in self._came:
                path.unlink(missing_ok=True)
