"""Readers of the values in an NVIDIA TAO file: each takes the field's path in it and the value, and returns ours.

A wrong value is an error that names their key and what TAO allows there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from araflow.core.errors import SpecError, brief, did_you_mean

Reader = Callable[[str, Any], Any]
"""Takes the field's path in their file, for messages, and its value; returns ours, or raises ``SpecError``."""


def choice(table: Mapping[str, Any], shown: str = "") -> Reader:
    """Return a reader of one of a few words.

    Args:
        table: Their word to our value.
        shown: What to call the words in messages, where some have two spellings.
    """

    def read(path: str, value: Any) -> Any:  # noqa: ANN401 - whatever YAML holds
        if not isinstance(value, str) or value not in table:
            raise _wrong(path, value, (shown or ", ".join(table)) + did_you_mean(value, table))
        return table[value]

    return read


def number(
    least: float | None = None, most: float | None = None, *, open_at: tuple[float, ...] = (), whole: bool = False
) -> Reader:
    """Return a reader of a number.

    Text such as ``1e-3`` is a number too: to OmegaConf, by which TAO reads its files, it is one, to YAML 1.1 it is not.

    Args:
        least: Lower bound.
        most: Upper bound.
        open_at: Bounds that are excluded.
        whole: Only whole numbers.
    """
    bounds = [f"{'more than' if least in open_at else 'at least'} {least:g}"] if least is not None else []
    bounds += [f"{'less than' if most in open_at else 'at most'} {most:g}"] if most is not None else []
    wanted = " ".join(["a whole number" if whole else "a number", " and ".join(bounds)]).strip()

    def read(path: str, value: Any) -> Any:  # noqa: ANN401
        try:
            found = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError, OverflowError):
            found = math.nan
        if (
            not math.isfinite(found)
            or (least is not None and found < least)
            or (most is not None and found > most)
            or found in open_at
            or (whole and found != int(found))
        ):
            raise _wrong(path, value, wanted)
        return int(found) if whole else found

    return read


def listed(item: Reader, *counts: int) -> Reader:
    """Return a reader of a list of one item or more, or of as many items as one of ``counts``."""

    def read(path: str, value: Any) -> list[Any]:  # noqa: ANN401
        if not isinstance(value, list) or not value or (counts and len(value) not in counts):
            raise _wrong(path, value, f"a list of {' or '.join(map(str, counts)) or 'one or more'}")
        return [item(f"{path}[{place}]", one) for place, one in enumerate(value)]

    return read


def flag(path: str, value: Any) -> bool:  # noqa: ANN401
    """Read true or false."""
    if not isinstance(value, bool):
        raise _wrong(path, value, "true, false")
    return value


def text(path: str, value: Any) -> str:  # noqa: ANN401
    """Read a path or a name."""
    if not isinstance(value, str):
        raise _wrong(path, value, "text")
    return value


def label_map(path: str, value: Any) -> dict[str, int]:  # noqa: ANN401
    """Read class names with the numbers 0, 1, 2 …, each once."""
    if not isinstance(value, Mapping):
        raise _wrong(path, value, "class names with their numbers")
    if odd := [name for name in value if type(name) not in (str, int)]:
        raise _wrong(path, odd[0], "class names; quote one that YAML takes for something else, such as 'yes'")
    found = {str(name): number(0, whole=True)(f"{path}.{name}", index) for name, index in value.items()}
    if len(found) < 2 or sorted(found.values()) != list(range(len(found))):
        raise _wrong(path, dict(value), "two classes or more, numbered 0, 1, 2 …, each number once")
    return found


def _wrong(path: str, value: object, allowed: str) -> SpecError:
    return SpecError(f"{brief(path)}: {brief(repr(value))} is not allowed; allowed: {brief(allowed, 1000)}")
