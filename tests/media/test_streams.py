"""Which stream is the video, and what is said of it that is not applied."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition

from araflow.core.errors import ClipError
from araflow.media import video

RED, GREEN = (200, 30, 30), (30, 200, 30)
NONE, DEFAULT, COVER = Disposition(0), Disposition.default, Disposition.attached_pic


def write(path: Path, *streams: tuple[tuple[int, int, int], tuple[int, int], Disposition], **of_codec: object) -> Path:
    """Write streams of one colour each: three frames, or one JPEG for a cover."""
    of_codec = {"codec": "mpeg4", "options": {}, "frames": 3, **of_codec}
    codec, options, frames = of_codec.pop("codec"), of_codec.pop("options"), of_codec.pop("frames")
    with av.open(str(path), "w") as container:
        made = []
        for _, (width, height), disposition in streams:
            is_cover = disposition & COVER
            stream = container.add_stream("mjpeg" if is_cover else codec, rate=25, options=dict(options))
            stream.width, stream.height, stream.pix_fmt = width, height, "yuvj420p" if is_cover else "yuv420p"
            stream.disposition = disposition.value  # a plain flag before PyAV 17
            for name, value in of_codec.items():
                setattr(stream.codec_context, name, value)
            made.append(stream)
        for stream, (colour, (width, height), disposition) in zip(made, streams, strict=True):
            picture = np.full((height, width, 3), colour, np.uint8)
            for _ in range(1 if disposition & COVER else frames):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())
    return path


def seen(path: Path) -> tuple[tuple[int, int], str, list[str]]:
    info, frames = video.read(path)
    means = [frame.mean((0, 1)) for frame in frames]
    assert len(means) == 3
    return (info.width, info.height), "red" if means[0][0] > means[0][1] else "green", info.notes


SMALL, LARGE = (32, 32), (64, 48)


@pytest.mark.parametrize(
    ("streams", "expected", "note"),
    [
        ([(RED, SMALL, DEFAULT), (GREEN, LARGE, NONE)], "red", "number 1, the default"),
        ([(RED, LARGE, NONE), (GREEN, SMALL, DEFAULT)], "green", "number 2, the default"),
        ([(RED, SMALL, NONE), (GREEN, LARGE, NONE)], "green", "number 2, the largest"),
        ([(RED, SMALL, NONE), (GREEN, SMALL, NONE)], "red", "number 1, the largest"),
        ([(RED, SMALL, DEFAULT), (GREEN, LARGE, DEFAULT)], "green", "number 2, the default"),
    ],
)
def test_the_default_stream_is_the_video(tmp_path: Path, streams, expected: str, note: str):
    _, colour, notes = seen(write(tmp_path / "clip.mkv", *streams))
    assert (colour, notes) == (expected, [f"2 video streams, taken is {note}"])


def test_a_cover_is_no_video(tmp_path: Path):
    path = write(tmp_path / "clip.mp4", (GREEN, LARGE, COVER), (RED, SMALL, DEFAULT))
    assert seen(path) == (SMALL, "red", [])
    with pytest.raises(ClipError, match=r"^not-a-video: its only picture is a cover$"):
        video.read(write(tmp_path / "cover.mp4", (GREEN, LARGE, COVER)))


@pytest.mark.parametrize(
    ("suffix", "settings", "notes"),
    [
        ("mp4", {"sample_aspect_ratio": Fraction(4, 3)}, ["sample aspect 4:3, not applied"]),
        ("mkv", {"sample_aspect_ratio": Fraction(1, 2)}, ["sample aspect 1:2, not applied"]),
        ("mp4", {"sample_aspect_ratio": Fraction(201, 200)}, []),
        ("mp4", {"color_trc": 16, "color_primaries": 9, "colorspace": 9}, ["HDR (PQ), not mapped to a screen's range"]),
        ("mkv", {"color_trc": 18}, ["HDR (HLG), not mapped to a screen's range"]),
        ("mp4", {"color_trc": 1}, []),
        ("avi", {"codec": "mpeg2video", "options": {"flags": "+ilme+ildct"}}, ["interlaced, not deinterlaced"]),
        ("avi", {"codec": "mpeg2video"}, []),
    ],
)
def test_what_is_not_applied_is_noted(tmp_path: Path, suffix: str, settings: dict[str, object], notes: list[str]):
    path = write(tmp_path / f"clip.{suffix}", (RED, LARGE, DEFAULT), **settings)
    assert seen(path) == (LARGE, "red", notes)
