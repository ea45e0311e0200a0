"""What the fields of a stored record may hold: it comes from a file, which anybody may have written.

Plain functions instead of Pydantic, since worker processes read records and start sooner without it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

SELF = "record_sha256"
"""A stored record's digest of itself, which no field of ``ClipRecord`` is."""
_Check = Callable[[Any], bool]
_LARGEST_FLOAT32 = 3.4028234663852886e38
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")


def _whole(bits: int) -> _Check:
    """A size or a count that fits in the manifest's column."""
    return lambda value: type(value) is int and 0 <= value < 1 << (bits - 1)  # a bool is an int, too


def _number(most: float) -> _Check:
    return lambda value: type(value) in (int, float) and 0 <= value <= most  # which NaN is not


def _text(value: object) -> bool:
    if type(value) is not str:
        return False
    try:
        return bool(value.encode())
    except UnicodeEncodeError:  # half of a surrogate pair, which no manifest can hold
        return False


def _digest(value: object) -> bool:
    return type(value) is str and _DIGEST.match(value) is not None


def _radii(value: object) -> bool:
    is_speed = _number(_LARGEST_FLOAT32)
    return type(value) is list and all(is_speed(one) for one in value)


_FIELDS: Mapping[str, _Check] = {
    "key": lambda value: type(value) is str and bool(value),  # of a file name that need not be text
    "outcome": _text,
    "reason": lambda value: type(value) is str and bool(value),
    **dict.fromkeys(("width", "height", "short_side", "frames", "flows"), _whole(32)),
    **dict.fromkeys(("source_bytes", "header_frames"), _whole(64)),
    **dict.fromkeys(("rgb_bytes", "flow_bytes", "lossless_bytes", "also_bytes"), _whole(64)),
    **dict.fromkeys(("source_sha256", "rgb_sha256", "flow_sha256"), _digest),
    "rotation": lambda value: type(value) is int and value in (0, 90, 180, 270),
    "mirrored": lambda value: type(value) is bool,
    **dict.fromkeys(("fps", "rgb_fps"), _number(1e300)),
    "bound": _number(1e300),
    "saturated": _number(1.0),
    "radii": _radii,
    "damaged": lambda value: type(value) is bool,
    **dict.fromkeys(("jpeg_quality", "rgb_quality"), _whole(8)),
    "also": lambda value: type(value) is str and re.fullmatch("[a-z0-9]+(,[a-z0-9]+)*", value) is not None,
    "rgb_format": lambda value: type(value) is str and value in ("png", "jpeg"),
    **dict.fromkeys(("backend", "algorithm", "preset", "flow_parameters", "quantizer"), _text),
    **dict.fromkeys(("fingerprint", "rgb_fingerprint", "software"), _text),
}
_NEEDED = {"key", "outcome", "reason"}


def digest(fields: Mapping[str, Any]) -> str:
    """Return the digest that a record of these JSON-ready fields has of itself."""
    content = {name: value for name, value in fields.items() if name != SELF}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def check(fields: Any, *, edited: bool) -> None:  # noqa: ANN401 - whatever JSON holds
    """Insist on fields of the right types, within bounds, that are those which were written.

    Raises:
        ValueError: They are not.
    """
    if not isinstance(fields, dict):
        raise ValueError(f"expected a JSON object, found {type(fields).__name__}")
    for name, value in fields.items():
        if name == SELF:
            continue
        if name not in _FIELDS:
            raise ValueError(f"unknown field {name!r}")
        if (value is not None or name in _NEEDED) and not _FIELDS[name](value):
            raise ValueError(f"{name} is of another type, or out of bounds")
    if lacking := _NEEDED - fields.keys():
        raise ValueError(f"no {', '.join(sorted(lacking))}")
    # Records of before have no digests; one that has a digest of its files was written with one of itself.
    if not edited and (SELF in fields or fields.get("flow_sha256") is not None) and fields.get(SELF) != digest(fields):
        raise ValueError("not the record that was written")
