"""A picture of true and computed flow, one pair per row, one setting per column, as colours."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from araflow.media.colours import flow_colours
from araflow.media.fields import FlowField
from araflow.optical.quality.pairs import Pair

CELL = 160
"""Width of one picture in pixels."""
_LINE = 16
_GRAY = 32


class FlowSheet:
    """Collects the fields of ``flow_quality.measure`` as small pictures, so that memory does not grow with their size.

    A row shows the first frame, the true flow (darker where errors do not count) and each setting's flow, all in the
    colours of the true flow's scale. The wheel in the corner tells direction by hue and speed by saturation.
    """

    def __init__(self) -> None:
        self._columns: list[str] = []
        self._rows: dict[str, dict[str, NDArray[np.uint8]]] = {}
        self._captions: dict[str, str] = {}
        self._scales: dict[str, float] = {}

    def add(self, pair: Pair, column: str, flow: FlowField) -> None:
        """Add the field of a pair.

        Args:
            pair: Makes a new row, if its name is new.
            column: What computed the field; makes a new column, if it is new.
            flow: float32, (height, width, 2), pixels per frame.
        """
        if pair.name not in self._rows:
            known = pair.flow[pair.valid]
            scale = max(1.0, float(np.percentile(np.hypot(known[:, 0], known[:, 1]), 99)))
            truth = flow_colours(pair.flow, scale)
            truth[~pair.valid] //= 2
            frame = np.repeat(pair.first[..., None], 3, axis=2)
            self._rows[pair.name] = {"first frame": _fit(frame), "true flow": _fit(truth)}
            self._captions[pair.name] = f"{pair.name} ({pair.kind}), full colour at {scale:.1f} px"
            self._scales[pair.name] = scale
        if column not in self._columns:
            self._columns.append(column)
        self._rows[pair.name][column] = _fit(flow_colours(flow, self._scales[pair.name]))

    def encode(self) -> bytes:
        """Return the sheet as a JPEG file.

        Raises:
            ValueError: Nothing was added.
        """
        if not self._rows:
            raise ValueError("a sheet needs at least one field")
        names = ["first frame", "true flow", *self._columns]
        strips = []
        for pair, cells in self._rows.items():
            height = cells["first frame"].shape[0]
            empty = np.full((height, CELL, 3), _GRAY, np.uint8)
            strips += [
                _text([self._captions[pair]], CELL * len(names)),
                np.hstack([cells.get(n, empty) for n in names]),
            ]
        wheel = np.full((CELL // 2, CELL * len(names), 3), _GRAY, np.uint8)
        wheel[:, : CELL // 2] = _wheel(CELL // 2)
        sheet = np.vstack([_text(names, CELL), *strips, wheel])
        bgr = cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR)
        return cv2.imencode(".jpg", bgr, (cv2.IMWRITE_JPEG_QUALITY, 90))[1].tobytes()


def _fit(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height = max(1, round(CELL * image.shape[0] / image.shape[1]))
    return cv2.resize(image, (CELL, height), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def _text(texts: list[str], width: int) -> NDArray[np.uint8]:
    """Return a line of texts, each in its own part of the given width."""
    line = np.full((_LINE, width * len(texts), 3), _GRAY, np.uint8)
    for index, text in enumerate(texts):
        plain = text.encode("ascii", "replace").decode()  # OpenCV's built-in font has nothing else
        part = np.ascontiguousarray(line[:, index * width : (index + 1) * width])
        cv2.putText(part, plain, (3, 11), cv2.FONT_HERSHEY_SIMPLEX, 0.35, (235, 235, 235), 1, cv2.LINE_AA)
        line[:, index * width : (index + 1) * width] = part
    return line


def _wheel(size: int) -> NDArray[np.uint8]:
    """Each point in the colour of a motion from the middle to it."""
    y, x = np.mgrid[:size, :size].astype(np.float32) - (size - 1) / 2
    disc = flow_colours(np.dstack([x, y]).astype(np.float32), size / 2)
    disc[np.hypot(x, y) > size / 2] = _GRAY
    return disc
