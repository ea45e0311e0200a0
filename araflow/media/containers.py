"""Whether a video file ends where its container says that it does: told from a few headers, nothing is decoded.

Players show the beginning of a file that was cut without a word. What a container cannot tell (a copy that ends between
two packets of MPEG-TS, a recording of unknown length) is left to whoever decodes: ``araflow.media.video``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from araflow.core.reading import open_file
from araflow.media import _boxes, _packets
from araflow.media._ending import UNKNOWN, Bytes, Ending, EndlessError

__all__ = ["Ending", "ending"]
_Look = Callable[[Bytes], Ending]
_BY_START: tuple[tuple[int, bytes, _Look], ...] = (
    (0, b"RIFF", _boxes.riff),
    (0, b"\x1a\x45\xdf\xa3", _boxes.ebml),
    (0, bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"), _boxes.asf),
    (0, b".RMF", _boxes.real_media),
    (0, bytes.fromhex("060e2b34020501010d0102010102"), _boxes.mxf),
    *((4, kind, _boxes.iso) for kind in sorted(_boxes.FIRST_BOXES)),
    (0, b"FLV", _packets.flv),
    (0, b"OggS", _packets.ogg),
    (0, b"GIF8", _packets.gif),
    (0, b"DKIF", _packets.ivf),
    (0, b"nut/multimedia container\0", _packets.nut),
    (0, b"\x1f\x07\x00", _packets.dv),
    (0, b"\0\0\x01\xba", _packets.program_stream),
)
"""Place and bytes that tell a container, and what knows it. FFmpeg goes by content, too: a suffix says little."""


def ending(path: Path) -> Ending:
    """Tell whether a file was cut.

    Args:
        path: A video file, of any container.

    Returns:
        What is lacking, if anything is; nothing, too, for a container that is not known here.

    Raises:
        NotAFileError: It is a pipe, a device, a folder.
        OSError: It cannot be read.
    """
    with open_file(path) as file:
        data = Bytes(file.fileno(), os.fstat(file.fileno()).st_size)
        try:
            return _look(data)(data)
        except EndlessError:
            return UNKNOWN


def _look(data: Bytes) -> _Look:
    head = data.at(0, 32)
    for place, start, look in _BY_START:
        if head[place : place + len(start)] == start:
            return look
    return _packets.transport_stream
