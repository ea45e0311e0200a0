"""HMDB51: 6,766 clips of 51 actions from films and YouTube, with three official folds (Kuehne et al., ICCV 2011)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from araflow.acquire.types import Sources
from araflow.acquire.whole import Whole
from araflow.core.listing import Listing
from araflow.datasets import _named, _shelves
from araflow.datasets._hmdb51 import Grammar
from araflow.datasets._hmdb51 import parse_name as parse_name
from araflow.datasets._places import ClassFolders, why_not


def places(wanted: frozenset[str] | None, *, subsets: bool = False) -> ClassFolders:
    """Say what belongs where: clips by the folder or archive they are in, or else by their names."""
    known = dataset.classes()
    return ClassFolders(wanted, Grammar(known), _LISTS, lambda stem: stem if stem in known else None, subsets)


def list_clips(files: Sources, wanted: Sequence[str] | None) -> Listing:
    """List the clips of the split files, or of the folders where no split files are given."""
    return _named.list_clips(Grammar(dataset.classes()), files, wanted or dataset.classes())


def _why_not(found: PurePosixPath) -> str:
    return why_not(Grammar(dataset.classes()), found)


_LISTS = re.compile(r"[a-z_]+_test_split[123]\.txt|(hmdb51_)?(train|val|test)_split_[123]_(videos|rawframes)\.txt")
dataset = Whole("hmdb51", places, _shelves.has_subsets, _why_not, list_clips)
