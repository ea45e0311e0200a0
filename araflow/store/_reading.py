"""Read a manifest file as data that may come from anybody: types, bounds and rows, before anything is done with it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from araflow.core.clip import Outcome
from araflow.core.errors import ManifestError, brief
from araflow.core.files import STATE
from araflow.core.keys import shown, why_not
from araflow.core.reading import json_of
from araflow.store.address import open_place, reached
from araflow.store.layout import MANIFEST

_MOST_ROWS = 50_000_000
_MOST_BYTES = 32 << 30
"""Of a table when it is unpacked; Kinetics-700 has half a gigabyte."""
_MOST_METADATA = 64 << 20
"""In bytes; class names and settings have some thousands."""
_GROUPS = ("dataset", "optical")
"""Of the settings in the metadata, those that are read again."""
_COUNTS = (
    *("label_index", "source_bytes", "width", "height", "frames", "flows", "bound", "saturated"),
    *("rgb_bytes", "flow_bytes", "lossless_bytes", "also_bytes"),
)
"""Columns of which no number is negative."""
_OUTSIDE = "ARAFLOW_OUTSIDE"
TRUSTED = f"if you trust the manifest, set {_OUTSIDE}=1"


def may_lead_outside() -> bool:
    """Whether the user lets rows of manifests lead out of their manifest's folder."""
    return os.environ.get(_OUTSIDE, "") not in ("", "0")


def read(
    path: Path, schema: pa.Schema, added: Sequence[str], columns: Sequence[str] | None, name: str, version: int
) -> tuple[Path, pa.Table, dict[str, Any]]:
    """Read a file, or the manifest of a folder.

    Args:
        path: The file, or the folder.
        schema: What its columns must be.
        added: Those that it may lack.
        columns: Those that are wanted; ``None`` for all.
        name: Under which its metadata lie.
        version: Of the schema.

    Returns:
        The file, the wanted columns, and the metadata.

    Raises:
        ManifestError: There is none, or it is not what a manifest must be.
        OutputError: It cannot be read.
    """
    with reached(path):
        file = path / MANIFEST if path.is_dir() else path
        if path.name == MANIFEST and file != path and not file.exists():
            file = path
        if file.is_dir():
            raise ManifestError(f"{file}: a folder, where the manifest belongs{_remedy(file)}")
        place = open_place(file.parent)
        there = place.open(file.name)
        begun = there is None and place.exists(STATE)
    if there is None:
        unfinished = f"; the build is unfinished: araflow status {file.parent}" if begun else ""
        raise ManifestError(f"{file}: no such manifest{unfinished}")
    try:
        with there as opened:
            table, metadata = _parse(opened, schema, added, columns, name, version)
        _check_rows(table)
    except ManifestError as error:
        raise ManifestError(f"{file}: {error}{_remedy(file)}") from error.__cause__
    wanted = [field.name for field in schema if columns is None or field.name in columns]
    return file, table.select(wanted), metadata


def _parse(
    opened: BinaryIO, schema: pa.Schema, added: Sequence[str], columns: Sequence[str] | None, name: str, version: int
) -> tuple[pa.Table, dict[str, Any]]:
    try:
        file = pq.ParquetFile(opened, pre_buffer=False)
        found = file.schema_arrow
    except (pa.ArrowException, OSError, ValueError) as error:  # Arrow has OSErrors of its own
        raise ManifestError(f"not a readable Parquet file: {_why(error)}") from error
    metadata = _metadata((found.metadata or {}).get(name.encode()), version)
    if not found.equals(pa.schema([field for field in schema if field.name in found.names or field.name not in added])):
        raise ManifestError(f"its columns are not those of schema version {version}")
    # What says whether rows are sound is read with whatever is wanted.
    wanted = [f.name for f in schema if columns is None or f.name in (*columns, *_needed(columns))]
    _check_size(file.metadata, [one for one in wanted if one in found.names])
    try:
        # Without threads: one of Arrow's that lets go of Python's bytes while Python ends aborts the process (seen
        # once in 60 runs).
        table = file.read([one for one in wanted if one in found.names], use_threads=False)
        table.validate(full=True)  # text that is no UTF-8, above all
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ManifestError(f"not a readable Parquet file: {_why(error)}") from error
    fields = [schema.field(one) for one in wanted]
    arrays = [table.column(f.name) if f.name in found.names else pa.nulls(len(table), f.type) for f in fields]
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields)), metadata


def _needed(columns: Sequence[str]) -> tuple[str, ...]:
    return ("key", "fingerprint") if "path" in columns else ("key",)


def _check_size(file: pq.FileMetaData, columns: list[str]) -> None:
    groups = [file.row_group(number) for number in range(file.num_row_groups)]
    chunks = [group.column(number) for group in groups for number in range(group.num_columns)]
    size = sum(c.total_uncompressed_size for c in chunks if c.path_in_schema.partition(".")[0] in columns)
    if not 0 <= file.num_rows <= _MOST_ROWS or not 0 <= size <= _MOST_BYTES:
        raise ManifestError(f"says that it has {file.num_rows:,} rows and {size:,} bytes, which no manifest has")


def _metadata(encoded: bytes | None, version: int) -> dict[str, Any]:
    if encoded is None:
        raise ManifestError("a Parquet file, but not written by araflow")
    try:
        if len(encoded) > _MOST_METADATA:
            raise ValueError(f"{len(encoded):,} bytes")
        metadata = dict(json_of(encoded))
    except (ValueError, TypeError) as error:
        raise ManifestError(f"its metadata is not readable: {_why(error)}") from error
    found = metadata.pop("schema_version", None)
    if found != version:
        raise ManifestError(f"has schema version {shown(found)}, this araflow reads {version}")
    _check_metadata(metadata)
    return metadata


def _check_metadata(metadata: Mapping[str, Any]) -> None:
    """Both may be absent, as in what other tools wrote; but what is there must be of the kind that is used."""
    labels, settings = metadata.get("labels") or [], metadata.get("spec") or {}
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise ManifestError("its metadata is not readable: labels is no list of names")
    if len(set(labels)) < len(labels):
        raise ManifestError("its metadata is not readable: labels has a name twice")
    if not isinstance(settings, dict) or not all(isinstance(settings.get(name, {}), dict) for name in _GROUPS):
        raise ManifestError("its metadata is not readable: spec holds no groups of settings")


def _check_rows(table: pa.Table) -> None:
    keys = table.column("key").to_pylist()
    _check("key", keys, lambda key: "is null" if key is None else why_not(key))
    if twice := next((key for key, count in Counter(keys).items() if count > 1), None):
        number = len(keys) - 1 - keys[::-1].index(twice)
        raise ManifestError(f"row {number}: key {shown(twice)} is listed twice")
    names = set(table.column_names)
    if "outcome" in names:
        allowed = ", ".join(Outcome)
        odd = pc.invert(pc.is_in(table.column("outcome"), value_set=pa.array(list(Outcome), pa.string())))
        _refuse(table, "outcome", odd, f"allowed: {allowed}")
    for name in names.intersection(_COUNTS):
        _refuse(table, name, pc.fill_null(pc.less(table.column(name), 0), False), "must not be negative")
    if "path" in names and not may_lead_outside():
        # What no build made, such as TAO's folders, lies where it lies.
        paths = pc.if_else(pc.is_valid(table.column("fingerprint")), table.column("path"), None).to_pylist()
        _check("path", paths, _why_no_path)


def _why_no_path(path: str | None) -> str | None:
    why = None if path is None else why_not(path)
    return why and f"{why}; {TRUSTED}"


def _check(name: str, values: Iterable[str | None], problem: Callable[[Any], str | None]) -> None:
    for number, value in enumerate(values):
        if why := problem(value):
            raise ManifestError(f"row {number}: {name} {shown(value)}: {why}")


def _refuse(table: pa.Table, name: str, odd: pa.ChunkedArray, why: str) -> None:
    number = pc.index(odd, True).as_py()
    if number >= 0:
        key, value = table.column("key")[number].as_py(), table.column(name)[number].as_py()
        raise ManifestError(f"row {number}: key {shown(key)}: {name} is {shown(value)}; {why}")


def _why(error: BaseException) -> str:
    """What a library says, on one line."""
    return brief(" ".join(str(error).split()).rstrip(".") or type(error).__name__)


def _remedy(file: Path) -> str:
    """What to do where a build's own manifest is damaged: all that it says is known from the clips, too."""
    if file.name != MANIFEST or not (file.parent / STATE).exists():
        return ""
    return f"; araflow retry {file.parent}, or the same araflow build, puts it aside and writes it anew"
