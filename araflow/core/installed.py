"""What is installed of other people's libraries, without importing them: some take seconds."""

from __future__ import annotations

from importlib.util import find_spec


def version_of(module: str) -> str | None:
    """Return the version of an installed library, or ``None`` where there is none.

    Args:
        module: What it is imported as, which must be its distribution's name too (``-`` and ``_`` are one).

    Returns:
        Such as ``2.8.0``; ``of unknown version`` where only the module is found. That it can be imported is not shown.
    """
    if find_spec(module) is None:
        return None
    from importlib.metadata import PackageNotFoundError, version  # takes as long as all that a command needs to start

    try:
        return version(module)
    except PackageNotFoundError:
        return "of unknown version"
