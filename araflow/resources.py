"""Where the files that ship with araflow lie: beside the package in a checkout, inside it when installed."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def folder(name: str) -> Path:
    """Return the shipped folder ``name`` (``configs`` or ``data_manifests``).

    Raises:
        FileNotFoundError: The installation is incomplete.
    """
    for parent in (_PACKAGE / "_data", _PACKAGE.parent):
        if (parent / name).is_dir():
            return parent / name
    raise FileNotFoundError(f"araflow's own folder {name!r} is missing beside {_PACKAGE}; reinstall araflow")


def plugins(package: str) -> tuple[str, ...]:
    """Return the plug-in names of ``araflow/<package>``: its modules that do not begin with an underscore.

    The folder is the registry: a plug-in is added by adding one file, and imported only when chosen.
    """
    return tuple(sorted(p.stem for p in (_PACKAGE / package).glob("*.py") if not p.stem.startswith("_")))
