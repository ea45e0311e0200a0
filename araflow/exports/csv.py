"""The manifest as a CSV file, ``clips.csv``: every column and row, for a spreadsheet or a program without Parquet.

Null is an empty cell, and ``radii`` is a JSON list. RFC 4180, UTF-8, with a header.
"""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
from pyarrow import csv

from araflow.core.errors import OutputError
from araflow.core.files import write_all
from araflow.store.manifest import Manifest


def write(manifest: Manifest, folder: Path) -> list[Path]:
    """Write the rows of a manifest; see ``Export``."""
    file = folder / "clips.csv"
    if file.exists() or file.is_symlink():
        raise OutputError(f"{file}: is there already; remove it, or choose another folder")
    radii = [None if each is None else json.dumps(each) for (each,) in manifest.columns("radii")]
    place = manifest.table.schema.get_field_index("radii")
    table = manifest.table.set_column(place, "radii", pa.array(radii, pa.string()))
    text = pa.BufferOutputStream()
    csv.write_csv(table, text)
    return write_all({file: text.getvalue().to_pybytes()})
