"""What a clip's folder holds, how its frames are named, and when it is whole."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from araflow.core.clip import ClipRecord
from araflow.core.files import PROOF, STATE
from araflow.core.fingerprint import digest

if TYPE_CHECKING:  # worker processes start sooner without the settings' machinery
    from araflow.core.spec import Naming

MANIFEST = "manifest.parquet"
CONTACT_SHEET = "contact_sheet.jpg"
KINDS = ("rgb", "u", "v")
LOSSLESS = "flow"
"""The fourth folder of a clip, where 16-bit flow is asked for."""
RECORDS = f"{STATE}/records"
_FIRST = {"card": 0, "recipe": 1}
_DIGITS = {"card": 4, "recipe": 6}


def stem(naming: Naming, index: int, total: int) -> str:
    """Return the file name, without suffix, of 0-based frame ``index`` of ``total``.

    Zero-padded, so that sorting names sorts frames: at least 4 digits from 0 (``card``, after NVIDIA's model card), at
    least 6 from 1 (``recipe``, after its scripts), more where ``total`` needs them. Flow from frame k to k+1 has frame
    k's name.
    """
    first = _FIRST[naming]
    return f"{index + first:0{max(_DIGITS[naming], len(str(total - 1 + first)))}d}"


def clip_name(key: str) -> str:
    """Return how a clip's folder is named from the output."""
    return f"clips/{key}"


def record_name(key: str) -> str:
    """Return how the record of a clip that was not made is named from the output."""
    # Not as the key: with ".json" behind it, that can be longer than a file name may be.
    return f"{RECORDS}/{digest({'key': key})}.json"


def is_same(made: ClipRecord | None, record: ClipRecord) -> bool:
    """Whether what is made is what the record says: of the same source, by the same settings."""
    return made is not None and (made.fingerprint, made.source_sha256) == (record.fingerprint, record.source_sha256)


def others(names: Iterable[str]) -> set[str]:
    """Return what lies right below a clip's folder and is no part of the clip.

    Args:
        names: The folder's files, named from there.
    """
    return {name.partition("/")[0] for name in names} - {PROOF, *KINDS, LOSSLESS}


def holds_others(names: Collection[str]) -> bool:
    """Whether a folder is no clip's, or has other clips in it: a clip may be named as a class is.

    Args:
        names: The folder's files, named from there.
    """
    names = set(names) - {*KINDS, LOSSLESS}  # empty folders
    if any(name.endswith(f"/{PROOF}") or name.startswith(f"{PROOF}/") for name in names):
        return True
    if PROOF in names or (not others(names) and all(name.count("/") == 1 for name in names)):
        return False  # without a proof, it is not there yet, or has lost it
    return not {name.partition("/")[0] for name in names if name.count("/") == 1} >= set(KINDS)


def is_whole(sizes: Mapping[str, int], record: ClipRecord) -> bool:
    """Whether a clip's files are those that its record counts: some may be lost where the proof is not.

    Args:
        sizes: Size in bytes of each file, by its name below the clip, such as ``rgb/0000.png``.
        record: The clip's proof.
    """
    counts = dict(zip(KINDS, (record.frames, record.flows, record.flows), strict=True))
    if record.lossless_bytes is not None:
        counts[LOSSLESS] = record.flows
    own = {kind: [size for name, size in sizes.items() if name.startswith(f"{kind}/")] for kind in counts}
    return (
        {kind: len(found) for kind, found in own.items()} == counts
        and sum(own["rgb"]) == record.rgb_bytes
        and sum(own["u"]) + sum(own["v"]) == record.flow_bytes
        and sum(own.get(LOSSLESS, ())) == (record.lossless_bytes or 0)
    )


def parse(content: bytes | None) -> ClipRecord | None:
    """Read a record; ``None`` if it is absent, half-written or another version's: all mean "make it again"."""
    try:
        return None if content is None else ClipRecord.from_json(json.loads(content))
    except (ValueError, TypeError, KeyError):
        return None


def encode(record: ClipRecord) -> bytes:
    """Return a record as it is kept."""
    return json.dumps(record.to_json()).encode()
