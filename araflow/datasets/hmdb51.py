"""HMDB51: 6,766 clips of 51 actions from films and YouTube, with three official folds (Kuehne et al., ICCV 2011)."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from araflow.acquire.types import Sources
from araflow.acquire.whole import Whole
from araflow.core.errors import SourceError
from araflow.core.listing import Listing
from araflow.datasets import _hmdb51
from araflow.datasets._hmdb51 import parse_name as parse_name
from araflow.datasets._places import ClassFolders


def places(wanted: frozenset[str] | None) -> ClassFolders:
    """Say what belongs where: clips by the folder or archive they are in, or else by their names."""
    known = dataset.classes()

    def label_of(found: PurePosixPath) -> str | None:
        # The nearest folder or archive named as a class that fits decides: some classes end in others.
        around = [folder.name.partition(".")[0] for folder in found.parents]
        for label in (name for name in around if name in known):
            with contextlib.suppress(SourceError):
                _hmdb51.parse_name(found.name, label)
                return label
        try:
            return _hmdb51.find_label(found.name, known)
        except SourceError:
            return None

    def is_split(found: PurePosixPath) -> bool:
        return re.fullmatch(r"[a-z_]+_test_split[123]\.txt", found.name) is not None

    return ClassFolders(wanted, label_of, is_split, lambda stem: stem if stem in known else None)


def list_clips(files: Sources, wanted: Sequence[str] | None) -> Listing:
    """List the clips of the split files, or of the folders where no split files are given."""
    return _hmdb51.list_clips("hmdb51", files.videos, files.splits, wanted or dataset.classes())


dataset = Whole("hmdb51", places, list_clips)
