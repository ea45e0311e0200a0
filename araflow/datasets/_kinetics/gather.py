"""Kinetics' parts fetched without a build: all of them, or until a sample is whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath

from araflow.acquire import registry
from araflow.acquire.types import Progress, Sources
from araflow.core.clip import Clip
from araflow.core.spec import DatasetSpec
from araflow.datasets._kinetics.parts import Parts


def sample(
    parts: Parts,
    files: Sources,
    clips: Sequence[Clip],
    spec: DatasetSpec,
    report: Callable[[str], None],
    progress: Progress,
) -> Sources:
    """Fetch parts, in their order, until each class and subset has its clips; their videos are kept.

    Args:
        parts: Without replacements.
        files: Where the lists and videos are.
        clips: Every listed clip of the wanted classes.
        spec: How many of each class and subset, and whether archives are kept.
        report: Called with lines for a log.
        progress: Called while bytes arrive.

    Returns:
        The sources, with the names of the clips that were chosen.
    """
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
            got = parts.try_open(part, wanted, keep_archive=keep, keep_videos=True, report=report, progress=progress)
            if got is None:  # other parts may have as many
                report(str(parts.failures[part]))
    if short := sorted({str(label) for (label, _), number in lacking.items() if number > 0}):
        report(f"the archives that could be had hold fewer clips of {', '.join(short[:5])} than asked for")
    names = frozenset(PurePosixPath(name).name for name in chosen)
    downloads = files.downloads | frozenset(opened)
    return Sources(files.videos, files.splits, files.subsets, chosen=names, downloads=downloads)


def fetch_all(parts: Parts, keep_archives: bool | None, report: Callable[[str], None], progress: Progress) -> list[str]:
    """Fetch every part; return what could not be had."""
    for number, part in enumerate(parts.parts, start=1):
        report(f"part {number} of {len(parts.parts)}: {registry.file_name(part.url)}")
        clips = parts.try_open(
            part, lambda clip: True, keep_archive=keep_archives, keep_videos=True, report=report, progress=progress
        )
        if clips is None:
            report(str(parts.failures[part]))
    return [f"not fetched: {error}" for error in parts.failures.values()]


def ask_youtube(parts: Parts, clips: Sequence[Clip], report: Callable[[str], None]) -> str:
    """Ask for the clips that no part holds, unless some part could not be had; return what is to be said of it."""
    if parts.failures:
        return "YouTube: not asked, since a clip may be in an archive that could not be fetched"
    route = parts.route()
    route.fetch([clip.name for clip in clips if not parts.video(clip).exists()], report)
    return route.summary()


def _group(clip: Clip) -> tuple[str | None, str | None]:
    return clip.label, clip.subset
