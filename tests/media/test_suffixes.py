"""Every suffix that counts as a video's is of a format that the decoder may open."""

from fractions import Fraction

import av
import numpy as np
import pytest

from araflow.media import video
from araflow.media.source_files import VIDEO_SUFFIXES

MADE = {  # suffix: FFmpeg's format, codec
    ".gif": ("gif", "gif"),
    ".ogv": ("ogg", "libvpx"),
    ".3gp": ("3gp", "mpeg4"),
    ".3g2": ("3g2", "mpeg4"),
    ".f4v": ("f4v", "libx264"),
    ".mts": ("mpegts", "mpeg2video"),
    ".m2ts": ("mpegts", "libx264"),
    ".vob": ("vob", "mpeg2video"),
    ".mpe": ("mpeg", "mpeg1video"),
    ".m2v": ("mpeg2video", "mpeg2video"),
    ".asf": ("asf", "msmpeg4"),
    ".mxf": ("mxf", "mpeg2video"),
    ".divx": ("avi", "mpeg4"),
    ".xvid": ("avi", "mpeg4"),
    ".rm": ("rm", "rv10"),
    ".y4m": ("yuv4mpegpipe", "rawvideo"),
    ".mjpeg": ("mjpeg", "mjpeg"),
    ".qt": ("mov", "mjpeg"),
    ".mp4v": ("mp4", "mpeg4"),
    ".ivf": ("ivf", "libvpx"),
}


@pytest.mark.parametrize("suffix", sorted(MADE))
def test_a_video_of_this_suffix_is_decoded(tmp_path, suffix):
    assert suffix in VIDEO_SUFFIXES
    kind, codec = MADE[suffix]
    path = tmp_path / f"clip{suffix}"
    try:
        with av.open(str(path), "w", format=kind) as container:
            stream = container.add_stream(codec, rate=Fraction(25))
            stream.width, stream.height = 176, 144
            stream.pix_fmt = {"gif": "rgb8", "mjpeg": "yuvj420p"}.get(codec, "yuv420p")
            for number in range(6):
                picture = np.full((144, 176, 3), 40 * number, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode(None))
    except (av.codec.codec.UnknownCodecError, ValueError) as error:
        pytest.skip(f"this FFmpeg cannot write it: {error}")
    _, frames = video.read(path)
    assert sum(1 for _ in frames) in (5, 6)
