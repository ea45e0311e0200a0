"""Packages that only recognisers need: where one is absent, say how to get it."""

from __future__ import annotations

import importlib.util

from araflow.core.errors import UnavailableError


def packages(*names: str, extra: str = "train") -> None:
    """Insist that packages can be imported; imports none of them.

    Args:
        names: Their import names.
        extra: The extra of araflow that installs them.

    Raises:
        UnavailableError: One is not installed.
    """
    absent = [name for name in names if importlib.util.find_spec(name) is None]
    if absent:
        verb = "is" if len(absent) == 1 else "are"
        raise UnavailableError(f"{', '.join(absent)} {verb} not installed: pip install 'araflow[{extra}]'")


def torch() -> None:
    """Insist on what running a checkpoint takes.

    Raises:
        UnavailableError: It is not installed.
    """
    packages("torch", "safetensors")
