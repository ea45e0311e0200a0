"""UCF101: 13,320 clips of 101 actions from YouTube, with three official folds (Soomro et al., 2012)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from araflow.acquire.types import Sources
from araflow.acquire.whole import Whole
from araflow.core.listing import Listing
from araflow.datasets import _named, _shelves, _ucf101
from araflow.datasets._places import ClassFolders, why_not
from araflow.datasets._ucf101 import Grammar


def places(wanted: frozenset[str] | None, *, subsets: bool = False) -> ClassFolders:
    """Say what belongs where: clips by their names, which spell some classes in another case than the lists do."""
    known = dataset.classes()
    return ClassFolders(wanted, Grammar(known), _LISTS, lambda stem: _ucf101.canonical(stem, known), subsets)


def list_clips(files: Sources, wanted: Sequence[str] | None) -> Listing:
    """List the clips of the split lists, or of the videos that are there where no split lists are given."""
    return _named.list_clips(Grammar(dataset.classes()), files, wanted or dataset.classes())


def _why_not(found: PurePosixPath) -> str:
    return why_not(Grammar(dataset.classes()), found)


_LISTS = re.compile(
    r"classInd\.txt|(train|test)list0[123]\.txt|(ucf101_)?(train|val|test)_split_[123]_(videos|rawframes)\.txt"
    r"|(train|val|test)\.csv"
)
dataset = Whole("ucf101", places, _shelves.has_subsets, _why_not, list_clips)
