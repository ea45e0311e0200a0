"""What a clip's folder holds, how its frames are named, and when it is whole."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from araflow.core.clip import REASONS, ClipRecord, Outcome
from araflow.core.errors import OutputError
from araflow.core.files import PROOF, STATE
from araflow.core.fingerprint import digest
from araflow.core.keys import shown, why_not
from araflow.core.reading import json_of
from araflow.media.flow_forms import FILM, SUFFIXES, parse
from araflow.media.source_files import IMAGE_SUFFIXES

if TYPE_CHECKING:  # worker processes start sooner without the settings' machinery
    from araflow.core.spec import Naming

MANIFEST = "manifest.parquet"
CONTACT_SHEET = "contact_sheet.jpg"
KINDS = ("rgb", "u", "v")
LOSSLESS = "flow"
"""The fourth folder of a clip, where 16-bit flow is asked for; further forms lie in folders named after them."""
ALL_KINDS = (*KINDS, LOSSLESS, *SUFFIXES)
RECORDS = f"{STATE}/records"
_FIRST: Mapping[Naming, int] = {"card": 0, "recipe": 1}
_DIGITS = {"card": 4, "recipe": 6}
_MOST_DIGITS = 20
_FLOW_SUFFIXES: Mapping[str, str] = {"u": ".jpg", "v": ".jpg", LOSSLESS: ".png", **SUFFIXES}


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


def is_manifest(path: Path) -> bool:
    """Whether a path is meant for a manifest: a Parquet file, or a folder that holds one of ours."""
    return path.suffix == ".parquet" or (path / MANIFEST).is_file()


def own_names(record: ClipRecord, there: Collection[str]) -> set[str]:
    """Return the frame files of a clip's folder that a record counts: of the two rules of naming, by the one that fits.

    Args:
        record: The clip's proof.
        there: The folder's files, named from there.
    """
    counts, best = _counts(record), set[str]()
    suffixes = {"rgb": ".jpg" if record.rgb_format == "jpeg" else ".png", **_FLOW_SUFFIXES}
    for naming in _FIRST:
        found = {name for name in there if _is_listed(name, counts, suffixes, naming)}
        if len(found) == sum(counts.values()):  # usual: all are there
            return found
        best = max(best, found, key=len)
    return best


def _counts(record: ClipRecord) -> dict[str, int]:
    flows = record.flows or 0
    counts = {"rgb": record.frames or 0, "u": flows, "v": flows}
    if record.lossless_bytes is not None:
        counts[LOSSLESS] = flows
    return counts | {form: 1 if form == "film" else flows for form in parse(record.also)}


def _is_listed(name: str, counts: Mapping[str, int], suffixes: Mapping[str, str], naming: Naming) -> bool:
    kind, _, file = name.partition("/")
    if kind == "film":
        return kind in counts and file == FILM
    number = file.removesuffix(suffixes.get(kind, "/"))
    if not 0 < len(number) < min(len(file), _MOST_DIGITS) or not (number.isascii() and number.isdecimal()):
        return False
    index = int(number) - _FIRST[naming]
    return 0 <= index < counts.get(kind, 0) and number == stem(naming, index, counts["rgb"])


def is_frame(name: str) -> bool:
    """Whether a file below a clip's folder is an image, or holds flow, and lies where its frames or flow lie."""
    kind, suffix = name.partition("/")[0], PurePath(name).suffix.lower()
    return suffix == SUFFIXES[kind] if kind in SUFFIXES else kind in ALL_KINDS and suffix in IMAGE_SUFFIXES


def holds_others(names: Collection[str]) -> bool:
    """Whether a folder has other clips in it: a clip may be named as a class is.

    Args:
        names: The folder's files, named from there.
    """
    return any(name.endswith(f"/{PROOF}") or name.startswith(f"{PROOF}/") for name in names)


def is_whole(sizes: Mapping[str, int], record: ClipRecord) -> bool:
    """Whether a clip's files are those that its record counts: some may be lost where the proof is not.

    Args:
        sizes: Size in bytes of each file, by its name below the clip, such as ``rgb/0000.png``.
        record: The clip's proof.
    """
    if _counted(sizes, record):
        return True
    own = own_names(record, sizes)
    return _counted({name: size for name, size in sizes.items() if name in own}, record)  # beside others' files


def _counted(sizes: Mapping[str, int], record: ClipRecord) -> bool:
    counts = _counts(record)
    own = {kind: [size for name, size in sizes.items() if name.startswith(f"{kind}/")] for kind in counts}
    return (
        {kind: len(found) for kind, found in own.items()} == counts
        and sum(own["rgb"]) == record.rgb_bytes
        and sum(own["u"]) + sum(own["v"]) == record.flow_bytes
        and sum(own.get(LOSSLESS, ())) == (record.lossless_bytes or 0)
        and sum(sum(own[form]) for form in parse(record.also)) == (record.also_bytes or 0)
    )


def parse_proof(content: bytes | None, key: str) -> ClipRecord | None:
    """Read the proof of a clip; ``None`` if there is no valid one of this clip, which means "make it again"."""
    record = _parse(content)
    made = record is not None and record.key == key and record.outcome is Outcome.DONE
    return record if made and record is not None and _is_proof(record) else None


def parse_listed(content: bytes | None) -> ClipRecord | None:
    """Read a proof for the files that it lists: whatever its clip is called by now, and if it was withdrawn.

    Also one that was edited since; ``None`` if it is no proof.
    """
    record = _parse(content, edited=True)
    return record if record is not None and _is_proof(record) else None


def _is_proof(record: ClipRecord) -> bool:
    measured = (record.width, record.height, record.frames, record.flows, record.rgb_bytes, record.flow_bytes)
    if not all((*measured, record.source_sha256, record.fingerprint)) or record.flows != (record.frames or 0) - 1:
        return False
    scaled = record.quantizer == "max_radius" or record.radii is not None
    return not scaled or len(record.radii or ()) == record.flows


def parse_unmade(content: bytes | None, name: str) -> ClipRecord | None:
    """Read the record of a clip that was not made; ``None`` if the file of this name is none."""
    record = _parse(content)
    known = record is not None and record_name(record.key) == name and record.reason_code in REASONS
    return record if known and record is not None and record.outcome is not Outcome.DONE else None


def _parse(content: bytes | None, *, edited: bool = False) -> ClipRecord | None:
    try:
        return None if content is None else ClipRecord.from_json(json_of(content), edited=edited)
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
