"""Which names may become paths: a clip's key and a row's path are data, and may come from anybody."""

from __future__ import annotations

from araflow.core.files import PROOF, STATE

_NEVER = {"", ".", ".."}
_OURS = {STATE, PROOF}
_LONGEST_PART, _LONGEST = 255, 1024
"""In bytes: what file systems take as a name, and what object storage takes as a key."""


def why_not(key: str) -> str | None:
    """Say why a text may not name what lies below a folder; ``None`` if it may.

    It may if it is a relative path without ``.``, ``..``, empty parts and NUL, of no more than 255 bytes a part and
    1,024 in all.
    """
    parts = key.split("/")
    if "\0" in key or not _NEVER.isdisjoint(parts):
        return "must be a relative path without '.', '..', empty parts and NUL"
    if not _OURS.isdisjoint(parts):
        return f"{STATE} and {PROOF} are names of araflow's own"
    if len(key) <= _LONGEST_PART and key.isascii():
        return None
    try:
        sizes = [len(part.encode()) for part in parts]
    except UnicodeEncodeError:
        return "holds bytes that are not UTF-8"
    if max(sizes) > _LONGEST_PART or sum(sizes) + len(sizes) - 1 > _LONGEST:
        return f"must have no more than {_LONGEST_PART} bytes a part and {_LONGEST:,} in all"
    return None


def shown(key: object) -> str:
    """Return a key as messages name it: quoted, and cut where it is long."""
    text = repr(key)
    return text if len(text) <= 120 else f"{text[:100]}… ({len(text):,} characters)"
