"""A line of text in a picture, white on a darkened strip."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from araflow.media.video import RgbFrame
from araflow.recognition import require

_SHARE = 14
"""A line's height is this part of the shorter side's."""
_LEAST = 12
_DARK = 0.35
_FONT = cv2.FONT_HERSHEY_SIMPLEX


class Lettering:
    """Draws lines of text; one is rendered anew where it is not the last.

    Args:
        names: What the lines will name. OpenCV draws ASCII alone; for other letters matplotlib must be there.

    Raises:
        UnavailableError: It is not.
    """

    def __init__(self, names: Sequence[str]) -> None:
        if not all(name.isascii() for name in names):
            require.packages("matplotlib")
        self._last: tuple[tuple[str, int, int], NDArray[np.float32]] | None = None

    def over(self, frame: RgbFrame, text: str) -> RgbFrame:
        """Return a copy of a picture with a line at its foot; a line that is too long is made smaller."""
        height, width = frame.shape[:2]
        line = max(_LEAST, min(height, width) // _SHARE)
        gap = line // 2
        strip = min(height, line + 2 * gap)
        found = frame.copy()
        below = found[height - strip :].astype(np.float32) * _DARK
        mask = self._mask(text, line, max(1, width - 2 * gap))
        top = (strip - mask.shape[0]) // 2
        if top >= 0:
            here = below[top : top + mask.shape[0], gap : gap + mask.shape[1]]
            here += (255 - here) * mask[:, : here.shape[1], np.newaxis]
        found[height - strip :] = np.rint(below).astype(np.uint8)
        return found

    def _mask(self, text: str, line: int, width: int) -> NDArray[np.float32]:
        """Return where there are letters, 0 to 1, float32 (at most the line's height, at most the width)."""
        key = text, line, width
        if self._last is None or self._last[0] != key:
            self._last = key, _fitted(_hershey(text, line) if text.isascii() else _matplotlib(text, line), width)
        return self._last[1]


def _fitted(mask: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    if mask.shape[1] <= width:
        return mask
    size = width, max(1, round(mask.shape[0] * width / mask.shape[1]))
    return np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_AREA), np.float32)


def _hershey(text: str, line: int) -> NDArray[np.float32]:
    thickness = max(1, line // 12)
    scale = cv2.getFontScaleFromHeight(_FONT, max(1, round(0.7 * line)), thickness)
    (wide, tall), below = cv2.getTextSize(text, _FONT, scale, thickness)
    canvas = np.zeros((tall + below + 2, wide + 2), np.uint8)
    cv2.putText(canvas, text, (1, tall + 1), _FONT, scale, 255, thickness, cv2.LINE_AA)
    shown = canvas.astype(np.float32) / 255
    height = min(line, shown.shape[0])
    size = max(1, round(shown.shape[1] * height / shown.shape[0])), height
    return np.asarray(cv2.resize(shown, size, interpolation=cv2.INTER_AREA), np.float32)


def _matplotlib(text: str, line: int) -> NDArray[np.float32]:
    from araflow.recognition import pictures

    return pictures.line_of_text(text, line)
