"""Writes Middlebury's ``.flo`` files, as its ``flowIO`` code does, for araflow to read."""

import struct

import numpy as np

UNKNOWN = 1e10
"""What flowIO writes for a component that is not known."""


def write_flo(path, flow, known=None):
    """Write a field, float32 (height, width, 2); ``known``, bool (height, width), is False where it is not known."""
    height, width = flow.shape[:2]
    values = flow if known is None else np.where(known[..., None], flow, UNKNOWN)
    path.write_bytes(struct.pack("<4sII", b"PIEH", width, height) + values.astype("<f4").tobytes())
