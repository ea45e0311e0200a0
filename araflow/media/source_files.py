"""What can be said of a clip's files before anything is decoded: kinds, order, and whether a video was cut short.

Apart from ``araflow.media.video``, since listing a dataset's clips needs no decoder.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path

from araflow.core.reading import open_file
from araflow.media import series

_VIDEO = (
    ".avi .divx .xvid .amv .mp4 .m4v .mp4v .mov .qt .3gp .3gpp .3g2 .3gp2 .f4v .mkv .webm .mpg .mpeg .mpe .m1v "
    ".m2v .mpv .vob .ts .mts .m2t .m2ts .mod .tod .wmv .asf .flv .ogv .ogg .ogm .gif .mxf .rm .rmvb .dv .wtv "
    ".y4m .mjpg .mjpeg .ivf .nut .h264 .264 .h265 .265 .hevc"
)
VIDEO_SUFFIXES = frozenset(_VIDEO.split())
"""What FFmpeg opens, of the formats that ``araflow.media.video`` allows it; the decoder says whether it is one."""
_IMAGE = ".png .jpg .jpeg .jpe .jfif .bmp .tif .tiff .webp .ppm .pgm .pbm .pnm"
IMAGE_SUFFIXES = frozenset(_IMAGE.split())


def frame_files(folder: Path) -> list[Path]:
    """Return the frames in a folder in natural order (``2.png`` before ``10.png``); images of flow are none."""
    names = [p.name for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".")]
    return sorted((folder / name for name in series.sort_out(names).frames), key=_natural)


def _natural(path: Path) -> tuple[list[str | int], str]:
    """Sort key; the name itself settles ``1.png`` and ``01.png``, which the file system lists in any order."""
    parts = re.split(r"([0-9]+)", path.name)  # text and number by turns
    return [int(part) if place % 2 else part for place, part in enumerate(parts)], path.name


def declared_size(path: Path) -> int | None:
    """Return how many bytes the container says the file has at least, or ``None`` where it does not say.

    A file that is shorter was cut: players show its beginning without a word. RIFF (AVI) states its size in bytes 4 to
    7; ISO media (MP4, MOV) is a row of boxes, each with its size first (ISO/IEC 14496-12, section 4.2).
    """
    with open_file(path) as file:
        head = file.read(12)
        if head[:4] == b"RIFF" and len(head) == 12:
            return 8 + int(struct.unpack("<I", head[4:8])[0])
        if head[4:8] != b"ftyp":
            return None
        end, size = 0, path.stat().st_size
        while end < size:
            file.seek(end)
            box = file.read(16)
            if len(box) < 8:
                return end + 8
            length = int(struct.unpack(">I", box[:4])[0])
            if length == 1 and len(box) == 16:
                length = int(struct.unpack(">Q", box[8:])[0])
            if length < 8:  # 0 means "to the end of the file"; anything else is damage, which the decoder will name
                return None
            end += length
        return end
