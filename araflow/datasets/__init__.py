"""Datasets: each file here that does not begin with an underscore is one, named as the file is.

A dataset module offers three functions (``Dataset`` spells them out): ``classes`` says what labels there are,
``prepare`` makes the videos and split files local, ``list_clips`` reads the lists and names into ``Clip`` objects.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, cast

from araflow.acquire.fetch import Progress, no_progress
from araflow.acquire.types import Sources
from araflow.core import resources
from araflow.core.clip import Clip
from araflow.core.errors import SpecError, did_you_mean
from araflow.core.spec import DatasetSpec


class Dataset(Protocol):
    """What a dataset module offers."""

    def classes(self) -> tuple[str, ...] | None:
        """Return every class name, or ``None`` where the folders decide."""
        ...

    def check(self, spec: DatasetSpec, *, accept_licence: bool) -> None:
        """Check settings before any work starts.

        Raises:
            SpecError: They do not fit this dataset, or a download is needed and the licence has not been accepted.
        """
        ...

    def prepare(
        self,
        spec: DatasetSpec,
        work: Path,
        *,
        report: Callable[[str], None],
        progress: Progress = no_progress,
    ) -> Sources:
        """Make the source local: unpack, download or draw it where it is not a folder already.

        What the user gave is unpacked below ``work``; what is downloaded goes to the dataset's own folder.

        Raises:
            SourceError: The source cannot be had.
        """
        ...

    def list_clips(self, sources: Sources, classes: Sequence[str] | None) -> list[Clip]:
        """Return every listed clip, sorted by key, with ``source`` set where the file is there.

        Raises:
            SourceError: A list or a name is not what it should be.
        """
        ...


def load(name: str) -> Dataset:
    """Import the dataset called ``name``.

    Raises:
        SpecError: There is no such dataset.
    """
    names = resources.plugins("datasets")
    if name not in names:
        raise SpecError(
            f"dataset.name: {name!r} is not a dataset; allowed: {', '.join(names)}{did_you_mean(name, names)}"
        )
    return cast(Dataset, importlib.import_module(f"araflow.datasets.{name}"))


def check_classes(dataset: Dataset, name: str, wanted: Sequence[str] | None) -> tuple[str, ...] | None:
    """Return the classes to take, in label order: those wanted, or all of the dataset.

    Raises:
        SpecError: A wanted class is not one of the dataset's.
    """
    known = dataset.classes()
    if wanted is None or known is None:
        return known if wanted is None else tuple(wanted)
    for label in wanted:
        if label not in known:
            raise SpecError(
                f"dataset.classes: {label!r} is not a class of {name}{did_you_mean(label, known)} "
                f"({len(known)} classes: {', '.join(known)})"
            )
    return tuple(wanted)
