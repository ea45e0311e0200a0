"""Decoded frames to RGB, by the very filter that the program ``ffmpeg`` puts before an encoder of RGB."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from av.filter import Graph
from av.video.frame import VideoFrame
from numpy.typing import NDArray


class ToRgb:
    """Converts the frames of one video.

    PyAV's own reformatter gives other pixels than ``ffmpeg`` where chroma is interpolated (10 bits, interlaced), and
    other ones from version to version.
    """

    def __init__(self) -> None:
        self._graph, self._kind = Graph(), ("", 0, 0)

    def __call__(self, frame: VideoFrame) -> NDArray[np.uint8]:
        """Return uint8, (height, width, 3), R, G, B.

        Raises:
            av.FFmpegError, ValueError, MemoryError: FFmpeg cannot convert it.
        """
        kind = frame.format.name, frame.width, frame.height
        if kind != self._kind:
            self._graph, self._kind = _graph(frame), kind
        self._graph.push(frame)
        plane = self._graph.vpull().planes[0]
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(frame.height, plane.line_size)
        return rows[:, : 3 * frame.width].reshape(frame.height, frame.width, 3)


def _graph(frame: VideoFrame) -> Graph:
    graph = Graph()
    if hasattr(graph, "threads"):  # since PyAV 18; the pool uses the cores
        graph.threads = 1
    first = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or Fraction(1, 25)
    )
    graph.link_nodes(first, graph.add("format", "pix_fmts=rgb24"), graph.add("buffersink")).configure()
    return graph
