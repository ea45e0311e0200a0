"""How far an output is, and what failed there: from the data itself, without Prefect.

A clip counts by its proof or its record; no frame is looked at, so 20,000 clips answer in seconds.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from collections import Counter
from pathlib import Path
from typing import Any

from araflow.build import note as build_note
from araflow.build.note import BuildNote
from araflow.build.outputs import Entry, Output, begun
from araflow.core.clip import Outcome
from araflow.core.errors import SpecError
from araflow.core.files import PROOF
from araflow.core.tally import Tally
from araflow.core.words import counted, duration
from araflow.store.layout import MANIFEST
from araflow.store.manifest import Manifest

log = logging.getLogger(__name__)
_SECONDS_OF_RATE = 600.0
"""The rate is that of this last time, or of the run if that is shorter."""


@dataclasses.dataclass(frozen=True, slots=True)
class Status:
    """How far a build is. Listed is always the sum of the outcomes and ``left``.

    Attributes:
        out: The output.
        built: A build made it; else it lists folders that something else made, such as TAO's.
        running: A run holds it.
        begun: When the clips of the last run were listed, in UTC; ``None`` where an older araflow built it.
        listed: Listed clips; ``None`` where none have been listed.
        done: Clips whose folder is whole.
        filtered: Clips left out by a rule.
        quarantined: Clips that cannot be used.
        failed: Clips that the next run tries again.
        left: Clips that nothing is known of under the current settings.
        classes: The same by class.
        total: The same over all classes.
        reasons: Clips that are not done by ``outcome``, then by reason code.
        in_work: Clips that are being made now.
        sessions: Processes that write here now.
        manifest: ``current``, ``stale`` (it says something else than the data), ``unreadable`` or ``absent``.
        clips_per_minute: Clips settled per minute in the last ten minutes of the run, or of its whole.
        seconds_left: Time left at that rate; ``None`` if no run is at work.
    """

    out: str
    built: bool
    running: bool
    begun: str | None
    listed: int | None
    done: int
    filtered: int
    quarantined: int
    failed: int
    left: int
    classes: list[dict[str, Any]]
    total: dict[str, int]
    reasons: dict[str, dict[str, int]]
    in_work: int
    sessions: int
    manifest: str
    clips_per_minute: float | None
    seconds_left: float | None

    @property
    def complete(self) -> bool:
        """Whether every clip is settled and in the manifest; some may be quarantined or failed."""
        return self.listed is not None and not self.left and self.manifest == "current"

    @property
    def all_done(self) -> bool:
        """Whether it is complete without a clip quarantined or failed."""
        return self.complete and not self.quarantined and not self.failed


def status(seen: Output, now: float) -> Status:
    """Count what a survey has found.

    Args:
        seen: The survey.
        now: When it was made, in seconds since 1970.
    """
    entries = seen.entries or []
    counts = Counter(entry.outcome for entry in entries)
    sessions = seen.store.place.sessions
    live = [sessions.work(name) for name, lives in sessions.seen().items() if lives]
    rate = _rate(seen, entries, now)
    reasons: dict[str, Counter[str]] = {}
    for entry in entries:
        if entry.outcome not in (None, Outcome.DONE):
            reasons.setdefault(str(entry.outcome), Counter())[entry.reason_code] += 1
    left, by_class = counts[None], _by_class(entries)
    return Status(
        out=str(seen.store.out),
        built=seen.built,
        running=seen.running,
        begun=seen.note.begun if seen.note is not None else None,
        listed=None if seen.entries is None else len(entries),
        **{outcome.value: counts[outcome] for outcome in Outcome},
        left=left,
        classes=by_class.classes,
        total=by_class.total,
        reasons={outcome: dict(sorted(codes.items())) for outcome, codes in sorted(reasons.items())},
        in_work=sum(_half_made(folder) for folder in live),
        sessions=len(live),
        manifest=_manifest_state(seen),
        clips_per_minute=rate,
        seconds_left=left / rate * 60 if rate and left and seen.running else None,
    )


def _half_made(session: Path) -> int:
    """Count the clips in a work area; it also holds what is about to be removed, which has a proof."""
    count = 0
    try:
        for entry in os.scandir(session):
            count += (Path(entry.path) / "rgb").is_dir() and not (Path(entry.path) / PROOF).exists()
    except FileNotFoundError:
        return 0  # it has just ended
    return count


def _rate(seen: Output, entries: list[Entry], now: float) -> float | None:
    times = sorted(entry.settled for entry in entries if entry.settled is not None)
    if not times:
        return None
    end = now if seen.running else times[-1]
    start = max(end - _SECONDS_OF_RATE, begun(seen.note) if seen.note is not None else times[0])
    settled = sum(start <= time <= end for time in times)
    return settled / (end - start) * 60 if settled and end > start else None


def _by_class(entries: list[Entry]) -> Tally:
    counts: Counter[tuple[str | None, str]] = Counter()
    for entry in entries:
        counts[entry.label, "listed"] += 1
        counts[entry.label, entry.outcome or "left"] += 1
    return Tally.of(counts, ("listed", *(outcome.value for outcome in Outcome), "left"))


def _manifest_state(seen: Output) -> str:
    if seen.manifest is None:
        return "unreadable" if MANIFEST in seen.unreadable else "absent"
    now = {one.key: one for one in seen.entries or ()}
    written = seen.manifest.columns("key", "outcome", "reason", "fingerprint", "source_sha256")
    same = len(seen.manifest) == len(now) and all(
        (one := now.get(key)) and rest == [one.outcome, one.reason, *(one.made_from or (None, None))]
        for key, *rest in written
    )
    return "current" if same and _settings_are_those_of(seen.manifest, seen.note) else "stale"


def _settings_are_those_of(manifest: Manifest, note: BuildNote | None) -> bool:
    """Whether a manifest was written by the build that left the note: its splits can be others with the same clips."""
    if note is None:
        return True
    try:
        spec = build_note.settings(note, note.spec["out"])
        split = manifest.settings.get("split")
        if spec.split.protocol == "auto" and isinstance(split, dict):  # a manifest names what the clips decided
            own = spec.split.model_copy(update={"protocol": split.get("protocol")})
            spec = spec.model_copy(update={"split": own})
        wanted = spec.output_settings()
    except SpecError:
        return True  # another version's, of which nothing is known
    if note.source is not None:
        del wanted["dataset"], wanted["split"]
    return bool(manifest.settings == json.loads(json.dumps(wanted)))


def last_line(now: Status) -> str:
    """Say in one line how far it is, and what to do about it."""
    if now.listed is None:
        return "at work; its clips are not listed yet" if now.running else "stopped before its clips were listed"
    counts = ", ".join(f"{getattr(now, outcome):,} {outcome}" for outcome in Outcome if getattr(now, outcome))
    listed = f"{counted(now.listed, 'clip')} listed: {counts or 'none settled'}"
    if now.left:
        listed += f", {now.left:,} left"
    if now.running:
        pace = "" if now.clips_per_minute is None else f"; {now.clips_per_minute:,.1f} clips per minute"
        left = "" if now.seconds_left is None else f", about {duration(now.seconds_left)} left"
        return f"at work: {listed}{pace}{left}"
    go_on = f"araflow retry {now.out}" if now.begun is not None else "the same araflow build"
    if now.left and not now.built:
        return f"incomplete: {listed}; their folders are gone, and araflow manifest validate names them"
    if now.left:
        return f"stopped: {listed}; {go_on} goes on"
    if now.manifest != "current":
        return f"stopped: {listed}; its manifest is {now.manifest}: {go_on} writes it"
    return f"complete: {listed}" + (f"; {go_on} tries again what failed" if now.failed else "")
