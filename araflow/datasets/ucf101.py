"""UCF101: 13,320 clips of 101 actions from YouTube, with three official folds (Soomro et al., 2012)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from araflow.acquire import local, registry
from araflow.acquire.types import Sources
from araflow.core.clip import Clip
from araflow.core.errors import SourceError
from araflow.datasets import _ucf101
from araflow.datasets._places import Places


def classes() -> tuple[str, ...]:
    """Return the 101 class names in the order of ``classInd.txt``."""
    return tuple(registry.load("ucf101").classes)


def places(wanted: frozenset[str] | None) -> Places:
    """Say what belongs where: clips by their names, which spell some classes in another case than the lists do."""
    known = classes()

    def label_of(found: PurePosixPath) -> str | None:
        try:
            return _ucf101.canonical(_ucf101.parse_name(found.name)[0], known)
        except SourceError:
            return None

    def is_split(found: PurePosixPath) -> bool:
        return re.fullmatch(r"classInd\.txt|(train|test)list0[123]\.txt", found.name) is not None

    return Places(wanted, label_of, is_split, lambda stem: _ucf101.canonical(stem, known))


def list_clips(files: Sources, wanted: Sequence[str] | None) -> list[Clip]:
    """List the clips of the split lists, or of the videos that are there where no split lists are given."""
    return _ucf101.list_clips("ucf101", files.videos, files.splits, wanted or classes())


layout = local.Layout(places, list_clips)
"""How the dataset is laid out, for ``araflow fetch``."""

check, prepare = local.check, layout.prepare
