"""The manifest: one Parquet row per listed clip, whatever became of it.

The file is byte-identical for the same input and settings, in whatever order and by however many workers the clips
were made: rows are sorted by key and nothing in it names a time, a machine or a folder.

In memory it stays an Arrow table, of which callers take the columns that they need: as Python objects, the rows of
Kinetics-700 are 4 GB.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from araflow import __version__
from araflow.core.clip import Attributes, Clip, ClipRecord, Outcome, source_status
from araflow.core.errors import ManifestError
from araflow.core.files import parquet, replace
from araflow.store import _reading, _rows
from araflow.store._schema import ADDED
from araflow.store._schema import SCHEMA as SCHEMA
from araflow.store.address import open_place
from araflow.store.layout import clip_name

SCHEMA_VERSION = 1
_META, _DIGEST = "araflow", "sha256"

_ROWS_AT_ONCE = 8192
"""As many are Python objects at a time."""
_OF_RECORD = {field.name for field in dataclasses.fields(ClipRecord)}
_OF_ATTRIBUTES = tuple(field.name for field in dataclasses.fields(Attributes))
_OF_CLIP = ("dataset", "key", "label", "group", "fold1", "fold2", "fold3", "subset", "source", *_OF_ATTRIBUTES)


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
        self._read_from: tuple[Path, str | None] | None = None
        """The file, and the digest that it has of rows and metadata."""

    def __repr__(self) -> str:
        return f"Manifest({len(self)} clips, {dict(self.outcomes())}, folder={str(self.folder)!r})"

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def is_as_written(self) -> bool:
        """Whether rows and metadata are those that were written, in their order, as far as that is known.

        Of some columns alone, it is not. The file is compared, too, where it was written by this version of Arrow: what
        else lies in it (indices, statistics) is used by other readers.

        Raises:
            OutputError: The file cannot be read.
        """
        file, digest = self._read_from or (Path(), None)
        if digest is None or self.table.column_names != SCHEMA.names:
            return True
        if digest != _rows.digest(self.table, _json(self.metadata)):
            return False
        content = open_place(file.parent).read(file.name)
        writer = f"parquet-cpp-arrow version {pa.__version__}".encode()
        return content is None or writer not in content or content == self.encode()

    @property
    def name(self) -> str:
        """Name of the build; empty where none is known."""
        return str(self.metadata.get("name") or "")

    @property
    def settings(self) -> dict[str, Any]:
        """Settings of the build that change its output; empty where it was no build, as of TAO's folders."""
        return dict(self.metadata.get("spec") or {})

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in label order: those of the metadata, or else those that rows have, by their numbers."""
        if self.metadata.get("labels"):
            return tuple(self.metadata["labels"])
        pairs = self.table.select(["label_index", "label"]).group_by(["label_index", "label"]).aggregate([])
        numbered = pairs.sort_by([("label_index", "ascending"), ("label", "ascending")])
        return tuple(dict.fromkeys(numbered.column("label").drop_null().to_pylist()))

    def columns(self, *names: str) -> Iterator[tuple[Any, ...]]:
        """Yield the values of these columns, clip by clip in the order of keys."""
        for batch in self.table.select(names).to_batches(max_chunksize=_ROWS_AT_ONCE):
            yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)

    def select(self, **wanted: object) -> Manifest:
        """Return the manifest of the clips whose columns have these values, such as ``outcome="done", split="train"``.

        Args:
            wanted: Column to its value, where ``None`` is null, or to a list of the values that it may have.
        """
        table = self.table
        for name, value in wanted.items():
            allowed = pa.array(value if isinstance(value, list) else [value], SCHEMA.field(name).type)
            table = table.filter(pc.is_in(table.column(name), value_set=allowed))
        return Manifest(table, self.metadata, self.folder)

    def row(self, number: int) -> dict[str, Any]:
        """Return one clip's row, column to value.

        Args:
            number: Its place, from 0.

        Raises:
            IndexError: There are not so many.
        """
        if not 0 <= number < len(self):
            raise IndexError(f"row {number} of {len(self)}")
        return dict(self.table.slice(number, 1).to_pylist()[0])

    def clips(self) -> Iterator[Clip]:
        """Yield the clips as they were listed, as far as their rows tell: without where their files lay."""
        attributes = functools.cache(Attributes)  # of 650,000 clips hardly one has attributes of its own
        folds = functools.cache(lambda *tags: tags)
        for dataset, key, label, group, fold1, fold2, fold3, subset, name, *filmed in self.columns(*_OF_CLIP):
            yield Clip(dataset, key, label, group, folds(fold1, fold2, fold3), subset, attributes(*filmed), name)

    def frames_of(self, path: str) -> Path:
        """Return the folder of a clip's frames, for those who copy from it: it lies in the manifest's, links or not.

        Args:
            path: A row's ``path``.

        Raises:
            ManifestError: It, or one of its files, leads elsewhere, and the user has not said that it may.
        """
        folder = self.folder / path / "rgb"
        if _reading.may_lead_outside() or not folder.is_dir():
            return folder
        root = self.folder.resolve()
        for one in (folder, *(file for file in folder.iterdir() if file.is_symlink())):
            if not one.resolve().is_relative_to(root):
                raise ManifestError(f"{one}: leads out of {self.folder}, the manifest's folder; {_reading.TRUSTED}")
        return folder

    def outcomes(self) -> Counter[str]:
        """Count clips by outcome."""
        counts = pc.value_counts(self.table.column("outcome")).to_pylist()
        return Counter({entry["values"]: entry["counts"] for entry in counts})

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
        listed = sorted(clips, key=lambda clip: clip.key)
        made = [by_key[clip.key] for clip in listed]
        columns: dict[str, list[Any]] = {
            name: [getattr(record, name) for record in made] for name in SCHEMA.names if name in _OF_RECORD
        }
        columns |= {name: [getattr(clip.attributes, name) for clip in listed] for name in _OF_ATTRIBUTES}
        columns |= {f"fold{number + 1}": [clip.folds[number] for clip in listed] for number in range(3)}
        columns |= {name: [getattr(clip, name) for clip in listed] for name in ("dataset", "label", "subset", "group")}
        columns |= {
            "label_index": [None if clip.label is None else index[clip.label] for clip in listed],
            "split": [split_of.get(clip.key) for clip in listed],
            "status": [source_status(clip, record) for clip, record in zip(listed, made, strict=True)],
            "source": [clip.name for clip in listed],
            "path": [clip_name(record.key) if record.outcome is Outcome.DONE else None for record in made],
        }
        return cls(pa.table(columns, schema=SCHEMA), metadata, folder)

    def encode(self) -> bytes:
        """Return the file's content."""
        table = self.table.cast(SCHEMA)  # Parquet renames inner fields
        metadata = {"araflow": __version__, **self.metadata}
        header = {"schema_version": SCHEMA_VERSION, _DIGEST: _rows.digest(table, _json(metadata)), **metadata}
        return parquet(table.replace_schema_metadata({_META: _json(header)}))

    def write(self, path: Path) -> None:
        """Write the file whole or not at all; it stays untouched if nothing has changed.

        Raises:
            OSError: It cannot be written.
        """
        replace(path, self.encode())

    @classmethod
    def read(cls, path: Path, columns: Sequence[str] | None = None) -> Manifest:
        """Read a manifest file, or the ``manifest.parquet`` of an output folder.

        Args:
            path: The file, or the folder.
            columns: Those that will be asked for; ``None`` reads all, which takes a gigabyte for 650,000 clips.

        Raises:
            ManifestError: There is none, it is not Parquet, another schema version wrote it, or a row says what cannot
                be: a key or path that leads elsewhere, an unknown outcome, a negative size, a clip twice.
            OutputError: It cannot be read, or the address not be reached.
        """
        file, table, metadata = _reading.read(path, SCHEMA, ADDED, columns, _META, SCHEMA_VERSION)
        found = cls(table, metadata, file.parent)
        found._read_from = file, found.metadata.pop(_DIGEST, None)
        return found


def _json(metadata: Mapping[str, Any]) -> str:
    return json.dumps(metadata, sort_keys=True, ensure_ascii=False)
