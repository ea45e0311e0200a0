"""Every encoder of clips on one frame, in a process of its own: ``python same_bytes.py [frame.npy]`` prints digests.

It imports no more than it needs: proofs start it twenty thousand times.
"""

import hashlib
import sys
from collections.abc import Callable

import cv2
import numpy as np

from araflow.media.flow_files import encode_flow_png
from araflow.media.png import PngEncoder

ENCODERS: dict[str, Callable[[np.ndarray], bytes]] = {
    "png": lambda rgb: PngEncoder(*rgb.shape[:2]).encode(rgb),
    "flow png": lambda rgb: encode_flow_png(rgb[..., :2].astype(np.float32) - 128, rgb.any(axis=2)),
    "jpeg": lambda rgb: cv2.imencode(".jpg", rgb[..., 0], (cv2.IMWRITE_JPEG_QUALITY, 95))[1].tobytes(),
}
"""What writes the files of a clip: frames, lossless flow, u and v."""


def letterboxed(height: int = 120, width: int = 160, border: int = 14) -> np.ndarray:
    """Noise between black bars: its first bytes return at once, so it matters whether they are found."""
    frame = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    frame[:border] = frame[height - border :] = 0
    return frame


def digests(frame: np.ndarray) -> str:
    """Return a digest of what each encoder makes of a frame."""
    return " ".join(hashlib.sha256(encode(frame)).hexdigest()[:16] for encode in ENCODERS.values())


if __name__ == "__main__":
    print(digests(np.load(sys.argv[1]) if len(sys.argv) > 1 else letterboxed()))
