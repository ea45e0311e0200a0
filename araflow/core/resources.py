"""Where files lie that belong to araflow: those that ship with it, and what it keeps for the user.

Shipped ones lie beside the package in a checkout, and inside it when it is installed.
"""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path

from araflow.core.errors import UnavailableError

_PACKAGE = Path(__file__).resolve().parents[1]


def folder(name: str) -> Path:
    """Return the shipped folder ``name`` (``configs`` or ``data_manifests``).

    Raises:
        UnavailableError: The installation is incomplete.
    """
    for parent in (_PACKAGE / "_data", _PACKAGE.parent):
        if (parent / name).is_dir():
            return parent / name
    raise UnavailableError(f"araflow's own folder {name!r} is missing beside {_PACKAGE}; reinstall araflow")


def plugins(package: str) -> tuple[str, ...]:
    """Return the plug-in names of ``araflow/<package>``: its modules and packages without a leading underscore.

    The folder is the registry: a plug-in is added by adding one file or folder, and imported only when chosen.
    """
    found = [*(_PACKAGE / package).glob("*.py"), *(path.parent for path in (_PACKAGE / package).glob("*/__init__.py"))]
    return tuple(sorted(path.stem for path in found if not path.stem.startswith("_")))


@functools.cache
def has_subsets(dataset: str) -> bool:
    """Whether a dataset has subsets of its own: a fact about the world, so its file in ``data_manifests`` says it."""
    facts = folder("data_manifests") / f"{dataset}.yaml"
    return facts.is_file() and re.search("^subsets:", facts.read_text(encoding="utf-8"), re.MULTILINE) is not None


def cache_folder() -> Path:
    """Return where downloads are kept: ``ARAFLOW_CACHE``, or ``araflow`` in the user's cache folder."""
    if "ARAFLOW_CACHE" in os.environ:
        return Path(os.environ["ARAFLOW_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "araflow"


def state_folder() -> Path:
    """Return where what is only this user's is kept: ``araflow`` in ``XDG_STATE_HOME`` or ``~/.local/state``.

    Raises:
        RuntimeError: The user has no home.
    """
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "araflow"
