"""Decode a video, and note what its file lacks: packets that were cut, and time that its header states."""

from __future__ import annotations

from collections.abc import Iterator

from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from araflow.media import _streams

_MOST_SECONDS = 1e6
_MOVIE = "mov,mp4,m4a,3gp,3g2,mj2"
_TIMED = {"matroska,webm", "flv", "asf", "mxf"}
"""Containers whose header states how long the longest of their streams is. FFmpeg guesses it for the others."""


def frames(container: InputContainer, stream: VideoStream, faults: list[str]) -> Iterator[VideoFrame]:
    """Yield the frames of a stream; at the end, add what the file lacks to ``faults``."""
    cut, end, movie = 0, 0.0, container.format.name == _MOVIE
    for packet in container.demux():  # of all streams, for sound may go on where the pictures end
        cut += packet.is_corrupt
        last = packet.dts if packet.pts is None else packet.pts
        if last is not None and packet.time_base and (packet.stream is stream or not movie):
            end = max(end, float((last + (packet.duration or 0)) * packet.time_base))
        if packet.stream is stream:
            yield from stream.decode(packet)
    if cut:
        faults.append(f"{cut} of its packets {'are' if cut > 1 else 'is'} not whole")
    stated, tolerance = _stated(container, stream)
    if end + tolerance < stated < _MOST_SECONDS:
        faults.append(f"it ends after {end:.2f} s, the header says {stated:.2f} s")


def _stated(container: InputContainer, stream: VideoStream) -> tuple[float, float]:
    """Return the seconds that the header states, 0 where it does not, and those that it may be wrong by."""
    frame = 1 / float(stream.average_rate or 25)
    if container.format.name == "avi":  # FFmpeg's duration is what the file's size leaves of it
        return (_streams.stated_frames(stream) or 0) * float(stream.time_base or 0), 1.5 * frame
    if container.format.name == "ivf":
        return (container.duration or 0) / 1e6, 1.5 * frame
    if container.format.name == _MOVIE:  # other streams may be longer, and an edit list may leave out both ends
        seconds = float((stream.duration or 0) * (stream.time_base or 0))
    else:
        seconds = (container.duration or 0) / 1e6 if container.format.name in _TIMED else 0.0
    return seconds, max(0.25, 0.01 * seconds, 1.5 * frame)
