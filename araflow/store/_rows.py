"""One digest over a manifest, which finds a row that was edited, lost, added or moved, and other metadata."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def digest(table: pa.Table, metadata: str) -> str:
    """Return the SHA-256 of all values, however they are chunked; a column of nulls, as of an older file, is none.

    Args:
        table: Of texts, numbers, truth values, and lists of numbers.
        metadata: What the file says beside them.
    """
    checksum = hashlib.sha256(f"{metadata}\n{len(table)} rows".encode("utf-8", "surrogatepass"))
    for name, column in zip(table.column_names, table.columns, strict=True):
        if column.null_count < len(column):
            checksum.update(f"\n{name}\n".encode())
            _update(checksum, pa.concat_arrays(column.chunks))
    return checksum.hexdigest()


def _update(checksum: Any, array: pa.Array) -> None:  # noqa: ANN401 - hashlib's, which has no public type
    checksum.update(_numbers(array.is_valid().cast(pa.uint8())))
    if pa.types.is_list(array.type):
        checksum.update(_numbers(pc.list_value_length(array).fill_null(0)))
        _update(checksum, pc.list_flatten(array))
    elif pa.types.is_string(array.type):
        texts = array.fill_null("")
        checksum.update(_numbers(pc.binary_length(texts)))
        _, offsets, data = texts.buffers()
        ends = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]
        if data is not None and len(ends):
            checksum.update(memoryview(data)[int(ends[0]) : int(ends[-1])])
    elif pa.types.is_boolean(array.type):
        checksum.update(_numbers(array.cast(pa.uint8()).fill_null(0)))
    else:
        checksum.update(_numbers(array.fill_null(0)))


def _numbers(array: pa.Array) -> bytes:
    numbers = array.to_numpy(zero_copy_only=False)
    return bytes(numbers.astype(numbers.dtype.newbyteorder("<")).tobytes())
