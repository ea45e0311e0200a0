"""The sample dataset: an HMDB51 look-alike that araflow draws by itself. No real footage.

It has HMDB51's file names, attributes, split files and codec, so that everything can be tried without a download.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from araflow.acquire import fetch
from araflow.acquire.types import Sources
from araflow.core.clip import Clip
from araflow.core.errors import SpecError
from araflow.core.fingerprint import digest
from araflow.core.spec import DatasetSpec
from araflow.datasets import _hmdb51

CLASSES = ("walk", "ride_bike", "run", "fall_floor", "push")


def classes() -> tuple[str, ...]:
    """Return the five drawn classes, which are those of HMDB5."""
    return CLASSES


def check(spec: DatasetSpec, *, accept_licence: bool) -> None:
    """Refuse a source: the sample is drawn; see ``araflow.datasets.Dataset``."""
    if spec.source is not None or spec.splits is not None:
        raise SpecError("dataset.source: the sample is drawn; leave source and splits null, or name another dataset")


def prepare(
    spec: DatasetSpec,
    work: Path,
    *,
    report: Callable[[str], None],
    progress: fetch.Progress = fetch.no_progress,
) -> Sources:
    """Draw the videos and split files into the work folder; see ``araflow.datasets.Dataset``."""
    from araflow.datasets._sample import draw_sample

    folder = work / f"drawn-{digest(spec.sample.model_dump())}"
    report(f"sample dataset (drawn, not footage) in {folder}")
    draw_sample(
        folder,
        clips_per_class=spec.sample.clips_per_class,
        sources_per_class=spec.sample.sources_per_class,
        width=spec.sample.width,
        height=spec.sample.height,
        seed=spec.sample.seed,
        classes=spec.classes or CLASSES,
    )
    return Sources(folder / "videos", folder / "splits")


def list_clips(files: Sources, wanted: Sequence[str] | None) -> list[Clip]:
    """List the drawn clips."""
    return _hmdb51.list_clips("sample", files.videos, files.splits, wanted or CLASSES)
