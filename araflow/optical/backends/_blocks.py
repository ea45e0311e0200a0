"""What engines that answer in blocks have in common: padding of frames, and S10.5 vectors to pixels.

NVIDIA's flow engines (in Jetsons, and behind OpenCV's CUDA build) return one vector per block of ``grid`` x ``grid``
pixels, as 16-bit fixed point with five fractional bits ("S10.5"; VPI reference, "Dense Optical Flow",
https://docs.nvidia.com/vpi/algo_optflow_dense.html).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from araflow.media.fields import FlowField, GrayFrame

SMALLEST = 16
"""Smallest frame side in pixels that is taken: below it there is more padding than picture."""
_STEP = 16
"""Frames are padded to multiples of this, which holds whole blocks of every grid and whole macroblocks."""
_LEAST = 64
"""... and to at least this: what the engines accept at the least is not documented, and 64x64 is what programs use."""
_FRACTION = 32.0
"""S10.5: 2**5 steps per pixel."""


def pad(frame: GrayFrame) -> GrayFrame:
    """Return the frame with its last row and column repeated down and to the right, up to a size that engines take.

    Args:
        frame: uint8, (height, width).

    Returns:
        uint8, contiguous; sides are multiples of 16 and at least 64. Pixel (x, y) stays where it is.
    """
    height, width = (max(_LEAST, -(-side // _STEP) * _STEP) for side in frame.shape)
    missing = ((0, height - frame.shape[0]), (0, width - frame.shape[1]))
    return np.ascontiguousarray(np.pad(frame, missing, mode="edge"))


def pixels(vectors: NDArray[np.int16], grid: int, height: int, width: int) -> FlowField:
    """Turn block vectors into a flow field: each pixel gets its block's vector, the padding is cut off.

    Args:
        vectors: int16, (rows, columns, 2): u and v in 1/32 pixel per frame.
        grid: Side of a block in pixels.
        height: Of the field, at most ``rows * grid``.
        width: Of the field, at most ``columns * grid``.

    Returns:
        float32, (height, width, 2), in pixels per frame; exact.
    """
    dense = vectors if grid == 1 else vectors.repeat(grid, axis=0)[:height].repeat(grid, axis=1)
    return np.multiply(dense[:height, :width], np.float32(1 / _FRACTION), dtype=np.float32)
