"""What a clip's folder holds, how its frames are named, and when it is whole."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from araflow.core.clip import REASONS, ClipRecord, Outcome
from araflow.core.errors import OutputError
from araflow.core.files import PROOF, STATE
from araflow.core.fingerprint import digest
from araflow.core.keys import shown, why_not
from araflow.core.reading import json_of

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
    """Return how a clip's folder is named from the output.

    Raises:
        OutputError: The key would lead elsewhere, or is none.
    """
    if why := why_not(key):
        raise OutputError(f"key {shown(key)}: {why}")
    return f"clips/{key}"


def proof_name(key: str) -> str:
    """Return how a clip's proof is named from the output."""
    return f"{clip_name(key)}/{PROOF}"


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


def parse_proof(content: bytes | None, key: str) -> ClipRecord | None:
    """Read the proof of a clip; ``None`` if there is no valid one of this clip, which means "make it again"."""
    record = _parse(content)
    if record is None or record.key != key or record.outcome is not Outcome.DONE:
        return None
    measured = (record.width, record.height, record.frames, record.flows, record.rgb_bytes, record.flow_bytes)
    if not all((*measured, record.source_sha256, record.fingerprint)) or record.flows != (record.frames or 0) - 1:
        return None
    scaled = record.quantizer == "max_radius" or record.radii is not None
    return None if scaled and len(record.radii or ()) != record.flows else record


def parse_unmade(content: bytes | None, name: str) -> ClipRecord | None:
    """Read the record of a clip that was not made; ``None`` if the file of this name is none."""
    record = _parse(content)
    known = record is not None and record_name(record.key) == name and record.reason_code in REASONS
    return record if known and record is not None and record.outcome is not Outcome.DONE else None


def _parse(content: bytes | None) -> ClipRecord | None:
    try:
        return None if content is None else ClipRecord.from_json(json_of(content))
    except ValueError:
        return None


def encode(record: ClipRecord) -> bytes:
    """Return a record as it is kept."""
    return json.dumps(record.to_json()).encode()


def files_digest(digests: Mapping[str, str]) -> str:
    """Return one digest over files' names and bytes.

    Args:
        digests: SHA-256 of each file's bytes, by its name below the clip, such as ``rgb/0000.png``.
    """
    lines = "".join(f"{name}\0{inner}\n" for name, inner in sorted(digests.items()))
    return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()
