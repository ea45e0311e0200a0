"""A manifest's flow held against that which a recogniser was trained on: what every command asks where the two meet."""

from __future__ import annotations

import hashlib
import itertools
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from araflow.core.clip import ClipRecord, Outcome
from araflow.core.errors import SpecError
from araflow.core.files import PROOF
from araflow.core.reading import SMALL, json_of, read_file
from araflow.recognition import frame_storage
from araflow.recognition.flow_storage import COLUMNS, FlowStorage, in_words, joined, of_manifest, storage_of
from araflow.recognition.spec import ModelSpec
from araflow.store.layout import MANIFEST

if TYPE_CHECKING:
    from araflow.store.manifest import Manifest

log = logging.getLogger("araflow")
_LOOKED_AT = 4096
"""Records take a second or less then."""


def hold(file: Path | str, spec: ModelSpec, manifest: Manifest, path: Path, *, allow: bool = False) -> tuple[str, ...]:
    """Hold a manifest's flow against that which a recogniser was trained on, and warn of what is not the same.

    Args:
        file: The recogniser's file, or what to call it, for messages.
        spec: What it knows of itself.
        manifest: The clips, with the columns of ``flow_storage.of_manifest``.
        path: Where the manifest was read from.
        allow: Warn of flow by which its answers are meaningless, too, instead of refusing it.

    Returns:
        The warnings, to be kept with whatever is made; none where it was trained on this manifest. Also that frames are
        kept in another form, whatever it sees.

    Raises:
        SpecError: The flow has another quantiser, bound or algorithm, or not all of it the same, or clips were made
            anew with other flow since; names both storages.
        ManifestError: A row does not say how its flow was made.
    """
    first = _other_frames(file, spec, manifest, path)
    remade = made_anew(manifest) if "flow" in spec.streams else ""
    if remade and not allow:
        raise SpecError(f"{path}: {remade}, or use --allow-other-flow, which keeps a warning with the figures")
    first = (*first, f"{path}: {remade}") if remade else first
    for warning in first:
        log.warning("%s", warning)
    if "flow" not in spec.streams or spec.manifest_sha256 == sha256(path):
        return first
    trained = spec.flow or FlowStorage()
    shares = of_manifest(manifest)
    found = [trained.differs(share.storage) for share in shares]
    wrong = [line for own in found for line in own.wrong]
    for one, other in itertools.pairwise(share.storage for share in shares):
        # Also where it is not known what the recogniser was trained on.
        shown = one.model_copy(update={"scale": trained.scale})
        wrong += [f"among its clips {line}" for line in shown.differs(other).wrong]
    lesser = [line for own in found for line in own.lesser]
    both = f"{file} was trained on flow of {trained}; {path} has flow of {in_words(shares)}"
    warnings = []
    if wrong or lesser:
        said = f"{both}: {joined([*wrong, *lesser])}"
        if wrong and not allow:
            raise SpecError(
                f"{said}. Its answers would mean nothing: build the flow as it was in training, or use "
                "--allow-other-flow, which keeps a warning with the figures"
            )
        warnings.append(said)
    if unknown := list(dict.fromkeys(line for own in found for line in own.unknown)):
        warnings.append(f"{both}: whether they are the same is not known of: {', '.join(unknown)}")
    for warning in warnings:
        log.warning("%s", warning)
    return (*first, *warnings)


def _other_frames(file: Path | str, spec: ModelSpec, manifest: Manifest, path: Path) -> tuple[str, ...]:
    kept = frame_storage.of_manifest(manifest, str(path))
    if kept == spec.frames:
        return ()
    return (f"{file} was trained on frames {spec.frames}; those of {path} are {kept}",)


def made_anew(manifest: Manifest) -> str:
    """Say whether clips were made anew with other flow since the manifest was written, as by a build that was killed.

    Looks at the clips' records, at most ``_LOOKED_AT`` of them, spread evenly.

    Args:
        manifest: With the columns of ``flow_storage.of_manifest``, and ``path``.

    Returns:
        What was found and what to do; nothing where all is as its row says, or clips have no records.
    """
    done = manifest.select(outcome=Outcome.DONE)
    table = done.table.select(["key", "path", "fingerprint", *COLUMNS])
    step = max(1, -(-len(table) // _LOOKED_AT))
    rows = table.take(list(range(0, len(table), step))).to_pylist() if len(table) else []
    found = []
    for row in rows:
        record = _record(manifest.folder / row["path"]) if row["path"] and row["fingerprint"] else None
        if record is None or record.fingerprint == row["fingerprint"]:
            continue
        then = storage_of(row["key"], row)
        now = storage_of(row["key"], {name: getattr(record, name) for name in COLUMNS})
        differ = then.differs(now)
        if lines := (*differ.wrong, *differ.lesser):
            found.append(f"{row['key']} (flow of {then} then, of {now} now: {'; '.join(lines)})")
    if not found:
        return ""
    return (
        f"{len(found):,} of the {len(rows):,} clips looked at were made anew since it was written, such as {found[0]}: "
        "run the build again to finish it"
    )


def _record(folder: Path) -> ClipRecord | None:
    try:
        return ClipRecord.from_json(json_of(read_file(folder / PROOF, SMALL)))
    except (OSError, ValueError):  # of other tools' making, or damaged, which validation finds
        return None


def sha256(path: Path) -> str:
    """Return the SHA-256 of a manifest's bytes, hexadecimal, by which a recogniser knows what it was trained on.

    Args:
        path: The file, or a build's output folder.
    """
    return hashlib.sha256((path / MANIFEST if path.is_dir() else path).read_bytes()).hexdigest()
