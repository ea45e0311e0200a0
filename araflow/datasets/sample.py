"""The sample dataset: an HMDB51 look-alike that araflow draws by itself. No real footage.

It has HMDB51's file names, attributes, split files and codec, so that everything can be tried without a download.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from araflow.acquire.types import Progress, Sources, no_progress
from araflow.core.errors import SpecError
from araflow.core.fingerprint import digest
from araflow.core.listing import Listing
from araflow.core.spec import DatasetSpec
from araflow.datasets import Dataset, _named
from araflow.datasets._hmdb51 import Grammar
from araflow.datasets._sample import CLASSES, draw_sample


class Sample(Dataset):
    """The sample; it is drawn, so there is nothing to fetch."""

    def classes(self) -> tuple[str, ...]:
        """Return the five drawn classes, which are those of HMDB5."""
        return CLASSES

    def knows_splits(self, spec: DatasetSpec) -> bool:
        """Its split files are drawn, too."""
        return True

    def check(self, spec: DatasetSpec, *, accept_licence: bool) -> None:
        """Refuse a source; see ``Dataset``."""
        if spec.source is not None or spec.splits is not None:
            raise SpecError(
                "dataset.source: the sample is drawn; leave source and splits null, or name another dataset"
            )

    def prepare(
        self,
        spec: DatasetSpec,
        work: Path,
        *,
        report: Callable[[str], None],
        progress: Progress = no_progress,
    ) -> Sources:
        """Draw the videos and split files into the work folder; see ``Dataset``."""
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

    def list_clips(self, files: Sources, wanted: Sequence[str] | None, /) -> Listing:
        """List the drawn clips."""
        return _named.list_clips(Grammar(CLASSES, "sample"), files, wanted or CLASSES)


dataset = Sample()
