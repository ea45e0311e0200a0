"""Exports: each file here without a leading underscore is a format that other tools read, named as the file is.

An export module offers what ``Export`` spells out; one contract suite, ``tests/contract/test_exports.py``, holds for
all of them.

May import ``core``, ``media``, ``store`` and ``datasets``.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from araflow.core import resources
from araflow.core.errors import SpecError, did_you_mean

if TYPE_CHECKING:
    from araflow.store.manifest import Manifest

__all__ = ["Export", "csv", "load"]


class Export(Protocol):
    """What an export module offers."""

    def write(self, manifest: Manifest, folder: Path) -> list[Path]:
        """Write a dataset in this format.

        Args:
            manifest: What is to be written.
            folder: Where to; made if it is absent. What lies there stays as it is.

        Returns:
            What was written, sorted.

        Raises:
            OutputError: Something lies where a file would be written, or it cannot be written.
        """
        ...


def load(name: str) -> Export:
    """Import the export called ``name``.

    Raises:
        SpecError: There is no such export.
    """
    names = resources.plugins("exports")
    if name not in names:
        raise SpecError(f"export: {name!r} is no format; allowed: {', '.join(names)}{did_you_mean(name, names)}")
    return cast(Export, importlib.import_module(f"araflow.exports.{name}"))
