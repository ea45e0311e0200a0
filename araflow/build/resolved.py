"""A build whose settings have been checked, with all that they decide: dataset, classes, backend, recipe.

A command resolves once, before any work starts, and hands the value on; nothing behind it reads the settings' file,
looks through the backends or checks a setting again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Iterator
from pathlib import Path

from araflow import datasets, optical
from araflow.acquire.types import Sources
from araflow.build.recipe import Recipe
from araflow.build.selection import Selection
from araflow.core import splits, telling
from araflow.core.addresses import is_masked
from araflow.core.errors import OutputError, SourceError, SpecError
from araflow.core.spec import BuildSpec
from araflow.datasets import Dataset
from araflow.store.layout import MANIFEST

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """Clips that were listed before a build began.

    Attributes:
        files: Where they lie.
        selection: They.
        warnings: What is to be said of them.
    """

    files: Sources
    selection: Selection
    warnings: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class ResolvedBuild:
    """A build that may begin.

    Attributes:
        name: Of a run: dataset, backend and algorithm, as in ``hmdb5-opencv-dis-balanced``.
        spec: Settings.
        recipe: How clips are made.
        fingerprint: The recipe's.
        why: A sentence that says which optical-flow backend runs, and why.
        absent: See ``araflow.optical.Choice``.
        found: Its clips, where they lay ready (``stages.look``).
        dataset: That of ``spec.dataset``; ``None`` where the clips are those of ``source``.
        labels: The classes to take, in label order; ``None`` takes those of the clips.
        source: Video, folder or manifest that ``araflow flow`` was given instead of ``spec.dataset``.
        accept_licence: The user accepts the dataset's licence, so that it may be downloaded.
    """

    name: str
    spec: BuildSpec
    recipe: Recipe
    fingerprint: str
    why: str
    dataset: Dataset | None
    labels: tuple[str, ...] | None = None
    source: Path | None = None
    accept_licence: bool = False
    absent: str = ""
    found: Found | None = None

    def say_flow(self) -> None:
        """Log which optical-flow backend runs."""
        log.info("optical flow: %s", self.why)
        if self.absent:
            log.info("absent: %s", self.absent, extra=telling.DETAIL)


def resolve(spec: BuildSpec, *, accept_licence: bool = False, source: Path | None = None) -> ResolvedBuild:
    """Check what can be checked before any work starts, and choose the backend.

    Args:
        spec: Settings.
        accept_licence: The user accepts the dataset's licence, so that it may be downloaded.
        source: Take the clips of this instead of ``spec.dataset``.

    Raises:
        SpecError: Unknown class, backend, algorithm or preset; a licence that is not accepted; a split that cannot be.
        SourceError: A local source is not there.
        UnavailableError: The backend is absent.
        OutputError: The output would lie in its own source, or the source in what is made.
    """
    dataset, labels = None, None
    _check_whole(spec)
    _check_apart(spec.dataset.source if source is None else str(source), spec.out)
    if source is None:
        wanted = spec.dataset
        dataset = datasets.load(wanted.name)
        labels = datasets.check_classes(dataset, wanted.name, wanted.classes)
        with readable(wanted.source):
            dataset.check(wanted, accept_licence=accept_licence)
        if spec.split.protocol == "official" and not dataset.knows_splits(wanted):
            raise SpecError(
                f"split.protocol: {splits.OFFICIAL}; here is none of these: give one, or use split.protocol=auto, "
                "random or group"
            )
    else:
        spec = spec.model_copy(update={"name": "flow"})
    choice = optical.choose(spec.optical.backend, spec.optical.algorithm)
    recipe = Recipe.of(spec, choice)
    name = "-".join([spec.name, recipe.backend, recipe.algorithm, *([recipe.preset] if recipe.preset else [])])
    return ResolvedBuild(
        name, spec, recipe, recipe.fingerprint, choice.why, dataset, labels, source, accept_licence, choice.absent
    )


@contextlib.contextmanager
def readable(source: object) -> Iterator[None]:
    """Say on a line what of a source the system does not let be read.

    Args:
        source: Its name, where the system names no file.

    Raises:
        SourceError: In the place of an ``OSError``.
    """
    try:
        yield
    except OSError as error:
        raise SourceError(f"{error.filename or source}: {error.strerror or error}") from error


def _check_apart(source: str | None, out: str) -> None:
    """Refuse at the start what a second run could not take: it passes over outputs, and so over such a source."""
    if source is None or "://" in source or "://" in out:
        return
    given, there = Path(source).expanduser().resolve(), Path(out).resolve()
    if (given == there and not (there / MANIFEST).exists()) or given.is_relative_to(there / "clips"):
        raise OutputError(f"{out}: is the folder of its own source, {source}; choose another out")


def _check_whole(spec: BuildSpec) -> None:
    """Refuse the address that a note or a run's arguments kept of one with secrets."""
    own = {f"dataset.{name}": getattr(spec.dataset, name) for name in ("source", "splits", "mirror")}
    for name, value in (own | {"run.dask_address": spec.run.dask_address}).items():
        if value is not None and is_masked(value):
            raise SpecError(
                f"{name}: {value} is what was kept of an address, without user, password and query, which may be "
                f"secret; give all of it again: {name}=ADDRESS"
            )
