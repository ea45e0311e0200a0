"""Two manifests compared, column by column."""

from __future__ import annotations

import json

import pyarrow.compute as pc

from araflow.store.manifest import SCHEMA, Manifest


def differences(left: Manifest, right: Manifest) -> list[str]:
    """Compare two manifests.

    Returns:
        One line per clip that is in one only, or whose row differs, naming the columns; then per metadata key.
    """
    keys = [manifest.table.column("key") for manifest in (left, right)]
    place = pc.index_in(keys[0], value_set=keys[1])
    gone = [(key, f"- {key}: only in the first") for key in keys[0].filter(pc.is_null(place)).to_pylist()]
    come = keys[1].filter(pc.invert(pc.is_in(keys[1], value_set=keys[0]))).to_pylist()
    ours, theirs = left.table.filter(pc.is_valid(place)), right.table.take(place.drop_null())
    changed: dict[int, list[str]] = {}
    for name in SCHEMA.names:
        pair = ours.column(name), theirs.column(name)
        if pair[0].equals(pair[1]):
            continue
        for number, (old, new) in enumerate(zip(*(column.to_pylist() for column in pair), strict=True)):
            if old != new:
                changed.setdefault(number, []).append(f"{name} {_short(old)} -> {_short(new)}")
    differ = [(key := ours["key"][number].as_py(), f"~ {key}: {', '.join(of)}") for number, of in changed.items()]
    lines = [line for _, line in sorted(gone + [(key, f"+ {key}: only in the second") for key in come] + differ)]
    return lines + [
        f"~ metadata {name}: {left.metadata.get(name)} -> {right.metadata.get(name)}"
        for name in sorted(left.metadata.keys() | right.metadata.keys())
        if left.metadata.get(name) != right.metadata.get(name)
    ]


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 or isinstance(value, str) else text[:37] + "..."  # a text may be a path
