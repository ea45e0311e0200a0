"""HMDB51: 6,766 clips of 51 actions from films and YouTube, with three official folds (Kuehne et al., ICCV 2011)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from araflow import registry, sources
from araflow.clip import Clip
from araflow.datasets import Sources, _names
from araflow.spec import DatasetSpec


def classes() -> tuple[str, ...]:
    """Return the 51 class names, sorted."""
    return tuple(registry.load("hmdb51").classes)


def check(spec: DatasetSpec, *, accept_licence: bool) -> None:
    """Refuse an absent source, and a download whose licence has not been accepted; see ``araflow.datasets.Dataset``."""
    sources.check(spec, accept_licence)


def prepare(spec: DatasetSpec, work: Path, *, report: Callable[[str], None]) -> Sources:
    """Make the videos and split files local; see ``araflow.datasets.Dataset``."""
    return sources.prepare(spec, work, report=report)


def list_clips(files: Sources, wanted: Sequence[str] | None) -> list[Clip]:
    """List the clips of the split files, or of the folders where no split files are given."""
    return _names.list_clips("hmdb51", files.videos, files.splits, wanted or classes())
