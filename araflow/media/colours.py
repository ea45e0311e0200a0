"""Flow fields as colours."""

from __future__ import annotations

from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from araflow.media.fields import FlowField


def film_colours(flow: FlowField) -> NDArray[np.uint8]:
    """Colour a field of a film, where one speed has one colour throughout, and in every film of frames of one size.

    A fortieth of the frames' shorter side per frame is fully saturated: 6 pixels where that has 240.

    Args:
        flow: float32, (height, width, 2), pixels per frame.

    Returns:
        uint8, (height, width, 3), R, G, B.
    """
    return flow_colours(flow, max(1.0, min(flow.shape[:2]) / 40))


def flow_colours(flow: FlowField, fastest: float | None = None) -> NDArray[np.uint8]:
    """Colour a flow field: hue is direction (red is to the right), saturation is speed, white is rest.

    After Baker et al., "A database and evaluation methodology for optical flow", IJCV 2011, with the plain HSV wheel.

    Args:
        flow: float32, (height, width, 2), pixels per frame.
        fastest: Speed that is fully saturated, in pixels per frame; ``None`` takes the field's 99th percentile.

    Returns:
        uint8, (height, width, 3), R, G, B.
    """
    speed, angle = cv2.cartToPolar(np.ascontiguousarray(flow[..., 0]), np.ascontiguousarray(flow[..., 1]))
    scale = fastest if fastest is not None else max(float(np.percentile(speed, 99)), 1.0)
    hue = (angle * (90.0 / np.pi)).astype(np.uint8)  # OpenCV counts hue in steps of two degrees
    saturation = np.clip(speed * (255.0 / scale), 0, 255).astype(np.uint8)
    hsv = np.dstack([hue, saturation, np.full_like(hue, 255)])
    return cast(NDArray[np.uint8], cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB))
