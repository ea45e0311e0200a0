"""Which names may become paths: a clip's key and a row's path are data, and may come from anybody."""

from __future__ import annotations

from araflow.core.files import PROOF, STATE

_NEVER = {"", ".", ".."}
_OURS = {STATE, PROOF}
_LONGEST = 1024
"""In bytes: what object storage takes. A part that is too long for a file system is a matter of that clip alone."""


def why_not(key: str) -> str | None:
    """Say why a text may not name what lies below a folder; ``None`` if it may.

    It may if it is a relative path without ``.``, ``..``, empty parts and NUL, of no more than 1,024 bytes.
    """
    parts = key.split("/")
    if "\0" in key or not _NEVER.isdisjoint(parts):
        return "must be a relative path without '.', '..', empty parts and NUL"
    if not _OURS.isdisjoint(parts):
        return f"{STATE} and {PROOF} are names of araflow's own"
    if len(key) <= _LONGEST and key.isascii():
        return None
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        return "holds bytes that are not UTF-8"
    return f"must have no more than {_LONGEST:,} bytes" if size > _LONGEST else None


def shown(key: object) -> str:
    """Return a key as messages name it: quoted, and cut where it is long."""
    text = repr(key)
    return text if len(text) <= 120 else f"{text[:100]}… ({len(text):,} characters)"
