"""Datasets: each file here that does not begin with an underscore is one, named as the file is.

A dataset's module has one ``dataset``, which is what ``Dataset`` spells out: what labels there are, where the videos
come from, how the lists and names become ``Clip`` objects. Nothing outside its file knows it by name.

May import ``acquire``, ``store``, ``optical`` and what lies below them.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from araflow.acquire.types import Progress, Sources, no_progress
from araflow.core import resources
from araflow.core.clip import Clip
from araflow.core.errors import SourceError, SpecError, did_you_mean
from araflow.core.listing import Listing

if TYPE_CHECKING:
    from araflow.acquire.folder import DatasetFolder
    from araflow.acquire.statuses import Acquired, Listed
    from araflow.core.spec import DatasetSpec
    from araflow.datasets._kinetics.parts import Parts as Parts
    from araflow.datasets._kinetics.route import Route as Route
    from araflow.datasets._kinetics.youtube import Answer as Answer

__all__ = [
    "Dataset",
    "acquire",
    "check_classes",
    "folder",
    "hmdb51",
    "kinetics400",
    "kinetics600",
    "kinetics700_2020",
    "load",
    "offer",
    "sample",
    "ucf101",
]

log = logging.getLogger(__name__)


class Dataset(Protocol):
    """A dataset.

    One that derives from this class need not spell out what it has nothing of: subsets, parts, a download.
    """

    def classes(self) -> tuple[str, ...] | None:
        """Return every class name, or ``None`` where the folders decide."""
        ...

    def subsets(self) -> tuple[str, ...]:
        """Return the names of its own subsets (``dataset.subsets``); none where its split files say all."""
        return ()

    def knows_splits(self, spec: DatasetSpec) -> bool:
        """Whether, under these settings, the clips come with official splits."""
        return False

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

    def at_hand(self, spec: DatasetSpec, work: Path) -> Sources | None:
        """Return what is here already, unpacked below ``work`` where need be; ``None`` where a download is needed.

        Lists without videos are enough. Sources that are addresses are not asked for here.

        Raises:
            SourceError: What is here cannot be read.
        """
        return self.prepare(spec, work, report=lambda line: None)

    def list_clips(self, files: Sources, wanted: Sequence[str] | None, /) -> Listing:
        """Return every listed clip of the wanted classes, sorted by key, with ``source`` set where the file is there.

        What lies there and became no clip is counted beside them, and what was guessed is said.

        Raises:
            SourceError: A list or a name is not what it should be.
        """
        ...

    def parts(self, spec: DatasetSpec, files: Sources, clips: Sequence[Clip]) -> Parts | None:
        """Return the archives that are to be fetched one at a time, each deleted once its clips are made."""
        return None

    def fetch(
        self,
        spec: DatasetSpec,
        folder: DatasetFolder,
        given: Sequence[Path],
        report: Callable[[str], None],
        progress: Progress,
    ) -> Listed:
        """Bring it into its folder, or finish what was begun, and list its clips; the licence has been accepted.

        Args:
            spec: Which classes; ``source`` and ``splits`` have no part in it.
            folder: Where.
            given: Archives or folders that the user has. Then no videos are downloaded.
            report: Called with lines for a log.
            progress: Called while bytes arrive.

        Raises:
            SourceError: Something cannot be had.
        """
        raise SourceError(f"{spec.name}: there is nothing to fetch")


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
    return cast(Dataset, importlib.import_module(f"araflow.datasets.{name}").dataset)


def offer(spec: DatasetSpec, given: Sequence[Path] = ()) -> dict[str, Any]:
    """Say what ``acquire`` would fetch, without asking any server; ``given`` is what the user has.

    Raises:
        SpecError: A class, subset or mirror is unknown.
        SourceError: The dataset has no address.
    """
    from araflow.acquire import obtain

    obtain.look_up(spec)
    check_classes(load(spec.name), spec.name, spec.classes)
    return obtain.offer(spec, given)


def acquire(
    spec: DatasetSpec,
    *,
    given: Sequence[Path] = (),
    report: Callable[[str], None] = log.info,
    progress: Progress = no_progress,
) -> Acquired:
    """Bring a dataset into its folder, or finish what was begun; the licence has been accepted.

    Args:
        spec: Which dataset, which classes; ``source`` and ``splits`` have no part in it.
        given: Archives or folders that the user has. Then no videos are downloaded.
        report: Called with lines for a log.
        progress: Called while bytes arrive.

    Raises:
        SpecError: A setting is wrong.
        SourceError: Something cannot be had; what has been is kept, and the same call goes on from there.
    """
    from araflow.acquire import obtain

    obtain.look_up(spec)
    dataset = load(spec.name)
    labels = check_classes(dataset, spec.name, spec.classes)
    return obtain.acquire(dataset, spec, labels, given=given, report=report, progress=progress)


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
