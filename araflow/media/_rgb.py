"""Decoded frames to RGB, by the very filter that the program ``ffmpeg`` puts before an encoder of RGB."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from av.filter import Graph
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from araflow.media.orientation import UPRIGHT, Orientation

_ROTATIONS = {0: (), 90: ("transpose=cclock",), 180: ("hflip", "vflip"), 270: ("transpose=clock",)}
_Kind = tuple[str, int, int, Orientation]


class ToRgb:
    """Converts the frames of one video, and turns them before that, as ``ffmpeg`` does: chroma is interpolated upright.

    PyAV's own reformatter gives other pixels than ``ffmpeg`` where chroma is interpolated (10 bits, interlaced), and
    other ones from version to version.
    """

    def __init__(self) -> None:
        self._graph = Graph()
        self._kind: _Kind = ("", 0, 0, UPRIGHT)

    def __call__(self, frame: VideoFrame, orientation: Orientation) -> NDArray[np.uint8]:
        """Return uint8, (height, width, 3), R, G, B; (width, height, 3) where it is rotated by 90 or 270 degrees.

        Raises:
            av.FFmpegError, ValueError, MemoryError: FFmpeg cannot convert it.
        """
        kind = frame.format.name, frame.width, frame.height, orientation
        if kind != self._kind:
            self._graph, self._kind = _graph(frame, orientation), kind
        self._graph.push(frame)
        shown = self._graph.vpull()
        plane = shown.planes[0]
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(shown.height, plane.line_size)
        return rows[:, : 3 * shown.width].reshape(shown.height, shown.width, 3)


def _graph(frame: VideoFrame, orientation: Orientation) -> Graph:
    graph = Graph()
    if hasattr(graph, "threads"):  # since PyAV 18; the pool uses the cores
        graph.threads = 1
    first = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or Fraction(1, 25)
    )
    turning = ("hflip",) * orientation.mirrored + _ROTATIONS[orientation.rotation]
    filters = [graph.add(*text.split("=", 1)) for text in (*turning, "format=pix_fmts=rgb24", "buffersink")]
    graph.link_nodes(first, *filters).configure()
    return graph
