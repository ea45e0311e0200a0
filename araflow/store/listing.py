"""What lies in an output, all of it: the proofs of clips, and the records of those that were not made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from araflow.core.clip import ClipRecord
from araflow.core.files import PROOF
from araflow.store import layout
from araflow.store.layout import RECORDS, proof_name
from araflow.store.place import Place


def clips(place: Place) -> Iterator[str]:
    """Yield the keys of all clips that have a proof, listed or not.

    Raises:
        OutputError: A folder cannot be read.
    """
    return place.holders("clips", PROOF)


def records(place: Place) -> Iterator[tuple[str, ClipRecord, int, float | None]]:
    """Yield the records of clips that were not made: its name, itself, its size and when each was written.

    Raises:
        OutputError: They cannot be read.
    """
    names = sorted(f"{RECORDS}/{name}" for name in place.sizes(RECORDS) if name.endswith(".json"))
    for name, found in zip(names, place.map(place.read_timed, names), strict=True):
        if found is not None and (record := layout.parse_unmade(found[0], name)) is not None:
            yield name, record, len(found[0]), found[1]


def proofs(place: Place, keys: Iterable[str], *, timed: bool) -> Iterator[tuple[ClipRecord, float | None] | None]:
    """Yield the proof of each clip, ``None`` where there is none, and when it was written.

    Args:
        place: The output.
        keys: The clips.
        timed: The times are worth twice as many requests where the output lies at an address.

    Raises:
        OutputError: They cannot be read.
    """
    keys = list(keys)
    read = place.map(lambda key: place.read_timed(proof_name(key), ask=timed), keys)
    for key, found in zip(keys, read, strict=True):
        record = None if found is None else layout.parse_proof(found[0], key)
        yield None if found is None or record is None else (record, found[1])
