"""Which way up pictures are to be seen: a video's display matrix, a photograph's EXIF orientation.

ISO/IEC 14496-12, section 6.2.2 (the matrix, as FFmpeg hands it on, whatever container or SEI message it came from);
EXIF 2.32, section 4.6.4, tag 274.
"""

from __future__ import annotations

import dataclasses
import math
import struct
from collections.abc import Mapping
from typing import cast

import cv2
import numpy as np
from av.buffer import Buffer
from av.video.frame import VideoFrame
from numpy.typing import NDArray

_MATRIX = struct.Struct("=9i")
_TOLERANCE = 1.0  # degrees; FFmpeg's own


@dataclasses.dataclass(frozen=True, slots=True)
class Orientation:
    """How coded pictures become upright: mirrored first, and then rotated.

    Attributes:
        rotation: 0, 90, 180 or 270 degrees counterclockwise, as FFmpeg counts them.
        mirrored: Left and right are exchanged.
        other: Degrees counterclockwise of a rotation that is none of these, and is therefore not applied; else 0.
    """

    rotation: int = 0
    mirrored: bool = False
    other: float = 0.0

    def upright(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return a picture as it is to be seen.

        Args:
            picture: uint8, (height, width, 3), as it is coded.

        Returns:
            The same array if nothing is to be done; else a new one, (width, height, 3) for 90 and 270 degrees.
        """
        turned: NDArray[np.uint8] = picture
        if self.mirrored:
            turned = np.asarray(cv2.flip(turned, 1), np.uint8)
        if self.rotation:
            turned = np.asarray(cv2.rotate(turned, _ROTATIONS[self.rotation]), np.uint8)
        return turned

    def __bool__(self) -> bool:
        """Whether anything is to be done."""
        return bool(self.rotation or self.mirrored)

    def __str__(self) -> str:
        parts = ["mirrored"] * self.mirrored + [f"rotated by {self.rotation} degrees"] * bool(self.rotation)
        return ", ".join(parts) or "upright"


_ROTATIONS = {90: cv2.ROTATE_90_COUNTERCLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_CLOCKWISE}
UPRIGHT = Orientation()
"""Nothing is to be done."""
_OF_EXIF = {
    2: Orientation(0, mirrored=True),
    3: Orientation(180),
    4: Orientation(180, mirrored=True),
    5: Orientation(90, mirrored=True),
    6: Orientation(270),
    7: Orientation(270, mirrored=True),
    8: Orientation(90),
}


def of_exif(value: int) -> Orientation:
    """Return what an EXIF orientation asks for; of a value that is none, nothing."""
    return _OF_EXIF.get(value, UPRIGHT)


def of_frame(frame: VideoFrame, before: Orientation) -> Orientation:
    """Return what a decoded frame's display matrix asks for; without one, what was asked for before.

    A message in the stream comes with its first frame only, and holds for those that follow (ITU-T H.264, D.2.24).
    """
    try:
        data = cast("Mapping[str, Buffer]", frame.side_data)["DISPLAYMATRIX"]
        return of_matrix(bytes(data))
    except KeyError:
        return before
    except ValueError:  # PyAV has no name for something else that lies there (LCEVC, 3D displays)
        return _of_angle(frame.rotation, mirrored=False)


def of_matrix(data: bytes) -> Orientation:
    """Return what a display matrix asks for.

    It takes the point (x, y) of a coded picture, y downwards, to (a x + c y, b x + d y). Scales are left out: they are
    the sample aspect's. A matrix that flattens the picture is damage, and asks for nothing.

    Args:
        data: Nine 32-bit integers in the machine's order: a, b, u, c, d, v, x, y, w.
    """
    if len(data) != _MATRIX.size:
        return UPRIGHT
    a, b, _, c, d, *_ = _MATRIX.unpack(data)
    area = a * d - b * c
    if area == 0:
        return UPRIGHT
    if area < 0:
        a, b = -a, -b
    return _of_angle(math.degrees(math.atan2(-b, a)), mirrored=area < 0)


def _of_angle(angle: float, *, mirrored: bool) -> Orientation:
    quarters = round(angle / 90)
    if abs(angle - 90 * quarters) > _TOLERANCE:
        return Orientation(other=angle % 360)
    return Orientation(90 * quarters % 360, mirrored=mirrored)
