"""Optical flow to 8-bit u and v images, and back; pure.

Two quantisers, with ``x`` a flow component in pixels per frame:

``bound``
    ``q = clip(rint((x + bound) * 255 / (2 * bound)), 0, 255)``: a fixed scale, zero at 128 (127.5 rounds to even),
    one step is ``2 * bound / 255`` pixels (0.157 for the usual bound of 20). The convention of I3D's training data and
    of ``minmax_grayscale`` in NVIDIA's ``convert_of.py``. Components beyond ±bound saturate.
``max_radius``
    ``q = trunc(x / m * 127.999 + 128)`` with ``m = max(1, max over pixels of sqrt(u² + v²))``: each field is scaled by
    its own fastest pixel. This is ``max_rad_grayscale``, which NVIDIA's ActionRecognitionNet recipe uses. Speed is lost
    unless ``m`` is kept, so it is kept: as ``radii`` in the manifest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from araflow.media.fields import FlowField

if TYPE_CHECKING:  # worker processes start sooner without the settings' machinery
    from araflow.core.spec import Quantizer

_LEVELS = 255.0
_HALF_RANGE = 127.999
_ZERO = 128.0
FORMULAS: dict[Quantizer, str] = {
    "bound": "clip(rint((x + bound) * 255 / (2 * bound)), 0, 255), x in pixels per frame, half to even; then a grey "
    "JPEG of jpeg_quality",
    "max_radius": "trunc(x / m * 127.999 + 128), m = max(1, the field's largest sqrt(u^2 + v^2)), its radius, in "
    "pixels per frame; then a grey JPEG of jpeg_quality",
}
"""How each quantiser stores a component x, in words for those who have no araflow."""


def quantize(
    flow: FlowField, quantizer: Quantizer, bound: float | None
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], float | None]:
    """Turn a flow field into two 8-bit images.

    Args:
        flow: float32, (height, width, 2), u then v, in pixels per frame.
        quantizer: ``bound`` or ``max_radius``.
        bound: Largest storable |component|, in pixels per frame; for ``bound`` only.

    Returns:
        u and v, each uint8 (height, width), and the radius in pixels per frame (``None`` for ``bound``).

    Raises:
        ValueError: ``bound`` is missing.
    """
    if quantizer == "bound":
        if bound is None:
            raise ValueError("the bound quantizer needs a bound")
        # One OpenCV pass scales, adds, rounds half to even and saturates; in NumPy it takes five.
        scaled = cv2.addWeighted(flow, _LEVELS / (2.0 * bound), flow, 0.0, _LEVELS / 2, dtype=cv2.CV_8U)
        u, v = cast("tuple[NDArray[np.uint8], NDArray[np.uint8]]", cv2.split(scaled))
        return u, v, None
    # float32 throughout, as the recipe's NumPy code computes it: one ulp moves a truncated value by a whole step.
    radius = max(np.float32(1.0), np.sqrt((flow * flow).sum(axis=2)).max())
    levels = (flow / radius * np.float32(_HALF_RANGE) + np.float32(_ZERO)).astype(np.uint8)
    return np.ascontiguousarray(levels[..., 0]), np.ascontiguousarray(levels[..., 1]), float(radius)


def saturated(flow: FlowField, u: NDArray[np.uint8], v: NDArray[np.uint8], bound: float) -> int:
    """Count the components that lie beyond ±bound, and are therefore stored as less than they are.

    Exact, and nearly free: one that lies there is stored as 0 or as 255, and most fields have neither.

    Args:
        flow: float32, (height, width, 2), in pixels per frame.
        u: The first of the images that ``quantize`` makes of it with ``bound``.
        v: The second.
        bound: In pixels per frame.

    Returns:
        0 to height × width × 2.
    """
    if all(low > 0 and high < _LEVELS for low, high, _, _ in map(cv2.minMaxLoc, (u, v))):
        return 0
    inside = cv2.inRange(flow.reshape(len(flow), -1), -bound, bound)
    return int(flow.size - cv2.countNonZero(inside))


def dequantize(
    u: NDArray[np.uint8], v: NDArray[np.uint8], *, bound: float | None = None, radius: float | None = None
) -> FlowField:
    """Recover the flow field within half a step (saturated values excepted).

    Args:
        u: uint8, (height, width).
        v: uint8, (height, width).
        bound: The ``bound`` it was quantised with, in pixels per frame; or
        radius: its ``max_radius`` radius, in pixels per frame.

    Returns:
        float32, (height, width, 2), in pixels per frame.

    Raises:
        ValueError: Not exactly one of ``bound`` and ``radius`` is given.
    """
    levels = np.stack([u, v], axis=-1).astype(np.float32)
    if bound is not None and radius is None:
        return (levels - np.float32(_LEVELS / 2)) * np.float32(2.0 * bound / _LEVELS)
    if radius is not None and bound is None:
        # Truncation puts level q over [q, q + 1), so its middle is q + 0.5.
        return (levels + np.float32(0.5 - _ZERO)) * np.float32(radius / _HALF_RANGE)
    raise ValueError("give exactly one of bound and radius")
