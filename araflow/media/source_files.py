"""What can be said of a clip's files by their names: kinds and order.

Apart from ``araflow.media.video``, since listing a dataset's clips needs no decoder.
"""

from __future__ import annotations

import re
from pathlib import Path

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
