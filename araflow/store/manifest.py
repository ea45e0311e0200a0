"""The manifest: one Parquet row per listed clip, whatever became of it.

The file is byte-identical for the same input and settings, in whatever order and by however many workers the clips
were made: rows are sorted by key and nothing in it names a time, a machine or a folder.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from araflow import __version__
from araflow.core.clip import Clip, ClipRecord, Outcome, source_status
from araflow.core.errors import ManifestError
from araflow.core.files import parquet, replace
from araflow.store.places import reached
from araflow.store.store import Store

SCHEMA_VERSION = 1
_META = "araflow"

SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("dataset", pa.string()),
        ("label", pa.string()),
        ("label_index", pa.int32()),
        ("split", pa.string()),
        ("fold1", pa.int8()),
        ("fold2", pa.int8()),
        ("fold3", pa.int8()),
        ("subset", pa.string()),
        ("group", pa.string()),
        ("body", pa.string()),
        ("camera", pa.string()),
        ("people", pa.int16()),
        ("view", pa.string()),
        ("quality", pa.string()),
        ("source", pa.string()),
        ("source_bytes", pa.int64()),
        ("source_sha256", pa.string()),
        ("status", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("fps", pa.float64()),
        ("header_frames", pa.int64()),
        ("frames", pa.int32()),
        ("flows", pa.int32()),
        ("rgb_bytes", pa.int64()),
        ("flow_bytes", pa.int64()),
        ("lossless_bytes", pa.int64()),
        ("backend", pa.string()),
        ("algorithm", pa.string()),
        ("preset", pa.string()),
        ("quantizer", pa.string()),
        ("bound", pa.float64()),
        ("radii", pa.list_(pa.float32())),
        ("saturated", pa.float64()),
        ("outcome", pa.string()),
        ("reason", pa.string()),
        ("fingerprint", pa.string()),
        ("software", pa.string()),
        ("path", pa.string()),
    ]
)
"""Columns; docs/manifest.md says what each means. ``path`` is relative to the manifest's folder, with ``/``."""
_ADDED = ("subset", "status", "lossless_bytes", "saturated")
"""Columns that came later, in the order of the schema: null in a file from before."""


class Manifest:
    """A manifest in memory.

    Args:
        table: Rows, with ``SCHEMA``.
        metadata: Settings and versions that made it.
        folder: Folder that ``path`` is relative to.
    """

    def __init__(self, table: pa.Table, metadata: Mapping[str, Any], folder: Path) -> None:
        self.table = table
        self.metadata = dict(metadata)
        self.folder = folder

    def __repr__(self) -> str:
        return f"Manifest({len(self)} clips, {dict(self.outcomes())}, folder={str(self.folder)!r})"

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows as dicts, sorted by key."""
        return list(self.table.to_pylist())

    def outcomes(self) -> Counter[str]:
        """Count rows by outcome."""
        return Counter(self.table.column("outcome").to_pylist())

    @classmethod
    def of(
        cls,
        clips: Sequence[Clip],
        records: Sequence[ClipRecord],
        *,
        labels: Sequence[str],
        split_of: Mapping[str, str],
        metadata: Mapping[str, Any],
        folder: Path,
    ) -> Manifest:
        """Join clips with their records.

        Args:
            clips: Listed clips.
            records: One per clip, in any order.
            labels: Class names in label order.
            split_of: Clip key to split; clips that are not in it have none.
            metadata: JSON-ready settings to store.
            folder: Where the manifest will lie.

        Raises:
            ManifestError: Clips and records do not belong together, or a key occurs twice.
        """
        by_key = {record.key: record for record in records}
        if len(by_key) != len(records) or by_key.keys() != {c.key for c in clips} or len(by_key) != len(clips):
            raise ManifestError(f"{len(clips)} clips and {len(records)} records do not belong together one to one")
        index = {label: number for number, label in enumerate(labels)}
        rows = []
        for clip in sorted(clips, key=lambda clip: clip.key):
            record = by_key[clip.key]
            row = {name: getattr(record, name) for name in SCHEMA.names if hasattr(record, name)}
            row |= {name: getattr(clip.attributes, name) for name in ("body", "camera", "people", "view", "quality")}
            row |= {f"fold{number}": tag for number, tag in enumerate(clip.folds, start=1)}
            row |= {
                "dataset": clip.dataset,
                "label": clip.label,
                "label_index": None if clip.label is None else index[clip.label],
                "split": split_of.get(clip.key),
                "subset": clip.subset,
                "status": source_status(clip, record),
                "group": clip.group,
                "source": clip.name,
                "path": f"clips/{clip.key}" if record.outcome is Outcome.DONE else None,
            }
            rows.append(row)
        return cls(pa.Table.from_pylist(rows, schema=SCHEMA), metadata, folder)

    def write(self, path: Path) -> None:
        """Write the file whole or not at all; it stays untouched if nothing has changed.

        Raises:
            OSError: It cannot be written.
        """
        header = {"schema_version": SCHEMA_VERSION, "araflow": __version__, **self.metadata}
        encoded = json.dumps(header, sort_keys=True, ensure_ascii=False)
        table = self.table.cast(SCHEMA).replace_schema_metadata({_META: encoded})  # Parquet renames inner fields
        replace(path, parquet(table))

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Read a manifest file, or the ``manifest.parquet`` of an output folder.

        Raises:
            ManifestError: There is none, it is not Parquet, or another schema version wrote it.
            OutputError: The address cannot be reached.
        """
        with reached(path):
            file = Store(path).manifest if path.is_dir() else path
            if not file.is_file():
                raise ManifestError(f"{file}: no such manifest")
            content = None if isinstance(file, Path) else pa.py_buffer(file.read_bytes())
        try:
            # Neither a path, in which ~ would be expanded, nor Python's bytes with threads: a thread of Arrow that lets
            # go of them while Python ends aborts the process (seen once in 60 runs).
            with pa.OSFile(str(file)) if content is None else pa.BufferReader(content) as opened:
                table = pq.read_table(opened, use_threads=False, pre_buffer=False)
        except (pa.ArrowException, OSError) as error:
            raise ManifestError(f"{file}: not a readable Parquet file: {error}") from error
        encoded = (table.schema.metadata or {}).get(_META.encode())
        if encoded is None:
            raise ManifestError(f"{file}: a Parquet file, but not written by araflow")
        try:
            metadata = dict(json.loads(encoded))
        except (ValueError, TypeError) as error:
            raise ManifestError(f"{file}: its metadata is not readable: {error}") from error
        version = metadata.pop("schema_version", None)
        if version != SCHEMA_VERSION:
            raise ManifestError(f"{file}: has schema version {version}, this araflow reads {SCHEMA_VERSION}")
        for name in _ADDED:
            if name not in table.column_names:
                field = SCHEMA.field(name)
                table = table.add_column(SCHEMA.get_field_index(name), field, pa.nulls(len(table), field.type))
        if not table.schema.equals(SCHEMA):
            raise ManifestError(f"{file}: its columns are not those of schema version {SCHEMA_VERSION}")
        return cls(table, metadata, file.parent)


def differences(left: Manifest, right: Manifest) -> list[str]:
    """Compare two manifests.

    Returns:
        One line per clip that is in one only, or whose row differs, naming the columns; then per metadata key.
    """
    a, b = ({row["key"]: row for row in manifest.rows()} for manifest in (left, right))
    lines = []
    for key in sorted(a.keys() | b.keys()):
        if key not in b:
            lines.append(f"- {key}: only in the first")
        elif key not in a:
            lines.append(f"+ {key}: only in the second")
        else:
            changed = [name for name in SCHEMA.names if a[key][name] != b[key][name]]
            if changed:
                shown = ", ".join(f"{name} {_short(a[key][name])} -> {_short(b[key][name])}" for name in changed)
                lines.append(f"~ {key}: {shown}")
    return lines + [
        f"~ metadata {name}: {left.metadata.get(name)} -> {right.metadata.get(name)}"
        for name in sorted(left.metadata.keys() | right.metadata.keys())
        if left.metadata.get(name) != right.metadata.get(name)
    ]


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."
