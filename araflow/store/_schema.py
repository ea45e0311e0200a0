"""The columns of a manifest."""

from __future__ import annotations

import pyarrow as pa

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
        ("rotation", pa.int16()),
        ("mirrored", pa.bool_()),
        ("fps", pa.float64()),
        ("header_frames", pa.int64()),
        ("rgb_fps", pa.float64()),
        ("short_side", pa.int32()),
        ("rgb_format", pa.string()),
        ("rgb_quality", pa.int8()),
        ("frames", pa.int32()),
        ("flows", pa.int32()),
        ("rgb_bytes", pa.int64()),
        ("flow_bytes", pa.int64()),
        ("lossless_bytes", pa.int64()),
        ("also", pa.string()),
        ("also_bytes", pa.int64()),
        ("rgb_sha256", pa.string()),
        ("flow_sha256", pa.string()),
        ("backend", pa.string()),
        ("algorithm", pa.string()),
        ("preset", pa.string()),
        ("flow_parameters", pa.string()),
        ("quantizer", pa.string()),
        ("bound", pa.float64()),
        ("jpeg_quality", pa.int8()),
        ("radii", pa.list_(pa.float32())),
        ("saturated", pa.float64()),
        ("damaged", pa.bool_()),
        ("outcome", pa.string()),
        ("reason", pa.string()),
        ("fingerprint", pa.string()),
        ("software", pa.string()),
        ("path", pa.string()),
    ]
)
"""Columns; docs/manifest.md says what each means. ``path`` is relative to the manifest's folder, with ``/``."""
ADDED = (
    *("subset", "status", "rotation", "mirrored", "rgb_fps", "short_side", "rgb_format", "rgb_quality"),
    *("lossless_bytes", "also", "also_bytes", "rgb_sha256", "flow_sha256"),
    *("flow_parameters", "jpeg_quality", "saturated", "damaged"),
)
"""Columns that came later, in the order of the schema: null in a file from before."""
