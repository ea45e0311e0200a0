"""What a grayscale frame and a flow field are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FlowField = NDArray[np.float32]
"""float32, (height, width, 2): u and v in pixels per frame, anchored at the first frame of the pair."""
GrayFrame = NDArray[np.uint8]
"""uint8, (height, width)."""
