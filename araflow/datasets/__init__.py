"""Datasets: each file here that does not begin with an underscore is one, named as the file is.

A dataset module offers three functions (``Dataset`` spells them out): ``classes`` says what labels there are,
``prepare`` makes the videos and split files local, ``list_clips`` reads the lists and names into ``Clip`` objects.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, cast

from araflow import resources
from araflow.clip import Clip
from araflow.errors import SpecError, did_you_mean
from araflow.fetch import Progress, no_progress
from araflow.spec import DatasetSpec


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """One archive of a dataset that comes in parts.

    Attributes:
        url: Its address.
        subset: ``train``, ``val`` or ``test``; ``None`` for a replacement, which may serve all of them.
        label: The only class in it, where that is known.
        guessed: The class is known by the archive's number alone.
        replaces: Its videos replace broken ones of other parts, by the id of the video.
        size: Bytes, or ``None`` where unknown.
        sha256: Hexadecimal digest, or ``None`` where unknown.
    """

    url: str
    subset: str | None
    label: str | None = None
    guessed: bool = False
    replaces: bool = False
    size: int | None = None
    sha256: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Sources:
    """Where a dataset's files lie on this machine.

    Attributes:
        videos: Folder of videos, or ``None`` while only lists are at hand.
        splits: Folder of official split files or lists, or ``None``.
        subsets: Which of the dataset's own subsets are wanted, where it has these.
        parts: Archives that are to be fetched one at a time, each deleted once its clips are made.
        chosen: File names of the clips to take, where a sample was drawn from parts; ``None`` takes all.
        downloads: Addresses of what was downloaded for these clips, those of ``parts`` apart.
    """

    videos: Path | None
    splits: Path | None
    subsets: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()
    chosen: frozenset[str] | None = None
    downloads: frozenset[str] = frozenset()


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
