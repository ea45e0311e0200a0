"""What a clip's folder holds, how its frames are named, and when it is whole."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from araflow.core.clip import ClipRecord

if TYPE_CHECKING:  # worker processes start sooner without the settings' machinery
    from araflow.core.spec import Naming

KINDS = ("rgb", "u", "v")
LOSSLESS = "flow"
"""The fourth folder of a clip, where 16-bit flow is asked for."""
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


def is_same(made: ClipRecord | None, record: ClipRecord) -> bool:
    """Whether what is made is what the record says: of the same source, by the same settings."""
    return made is not None and (made.fingerprint, made.source_sha256) == (record.fingerprint, record.source_sha256)


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


def sizes_in(folder: Path) -> dict[str, int]:
    """Return the size in bytes of each file of a clip's folder, by its name below it; none where there is none."""
    sizes: dict[str, int] = {}
    for kind in (*KINDS, LOSSLESS):
        try:
            sizes |= {f"{kind}/{entry.name}": entry.stat().st_size for entry in os.scandir(folder / kind)}
        except OSError:
            continue
    return sizes


def load(path: Path) -> ClipRecord | None:
    """Read a record from a file; ``None`` if there is none that can be read."""
    try:
        return parse(path.read_bytes())
    except OSError:
        return None


def parse(content: bytes | None) -> ClipRecord | None:
    """Read a record; ``None`` if it is absent, half-written or another version's: all mean "make it again"."""
    try:
        return None if content is None else ClipRecord.from_json(json.loads(content))
    except (ValueError, TypeError, KeyError):
        return None


def dump(path: Path, record: ClipRecord) -> None:
    """Write a record into a file.

    Raises:
        OSError: It cannot be written.
    """
    path.write_bytes(encode(record))


def encode(record: ClipRecord) -> bytes:
    """Return a record as it is kept."""
    return json.dumps(record.to_json()).encode()
