"""UCF101: 13,320 clips of 101 actions from YouTube, with three official folds (Soomro et al., 2012)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from araflow.acquire.types import Sources
from araflow.acquire.whole import Whole
from araflow.core.errors import SourceError
from araflow.core.listing import Listing
from araflow.datasets import _ucf101
from araflow.datasets._places import ClassFolders


def places(wanted: frozenset[str] | None) -> ClassFolders:
    """Say what belongs where: clips by their names, which spell some classes in another case than the lists do."""
    known = dataset.classes()

    def label_of(found: PurePosixPath) -> str | None:
        try:
            return _ucf101.canonical(_ucf101.parse_name(found.name)[0], known)
        except SourceError:
            return None

    def is_split(found: PurePosixPath) -> bool:
        return re.fullmatch(r"classInd\.txt|(train|test)list0[123]\.txt", found.name) is not None

    return ClassFolders(wanted, label_of, is_split, lambda stem: _ucf101.canonical(stem, known))


def list_clips(files: Sources, wanted: Sequence[str] | None) -> Listing:
    """List the clips of the split lists, or of the videos that are there where no split lists are given."""
    return _ucf101.list_clips("ucf101", files.videos, files.splits, wanted or dataset.classes())


dataset = Whole("ucf101", places, list_clips)
