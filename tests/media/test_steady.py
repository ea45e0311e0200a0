"""Frames at an even rate: which of them are taken, against answers worked out by hand."""

import math
from fractions import Fraction

import av
import numpy as np
import pytest

from araflow.media import video
from araflow.media.steady import count, steady


def frames(info, times):
    """Frames that hold their numbers, at these seconds."""
    for number, time in enumerate(times):
        info.time = time
        yield np.full((2, 2, 3), number, np.uint8)


def taken(times, fps, rate=30.0):
    info = video.VideoInfo(2, 2, rate, None)
    return [int(frame[0, 0, 0]) for frame in steady(frames(info, times), info, fps)], info


@pytest.mark.parametrize(
    ("number", "rate", "fps", "expected"),
    [
        (9, 30, 30, [0, 1, 2, 3, 4, 5, 6, 7, 8]),
        (9, 30, 15, [0, 2, 4, 6, 8]),
        (10, 30, 10, [0, 3, 6, 9]),
        (6, 30, 20, [0, 1, 3, 4]),  # frames 0, 1.5, 3, 4.5 are shown
        (6, 25, 30, [0, 0, 1, 2, 3, 4, 5, 5]),  # 0, .83, 1.67, 2.5, 3.33, 4.17, 5, 5.83
        (3, 10, 30, [0, 0, 0, 1, 1, 1, 2, 2, 2]),
        (1, 30, 7, [0]),
        (30, 30, 1, [0]),
        (31, 30, 1, [0, 30]),
    ],
)
@pytest.mark.parametrize("digits", [12, 3])  # Matroska has milliseconds
def test_the_frames_that_are_shown_then_are_taken(number, rate, fps, expected, digits):
    found, info = taken([round(5 + index / rate, digits) for index in range(number)], fps, rate)
    assert info.notes == []
    assert info.decoded == number
    assert len(found) == count(number, rate, fps)
    assert found == expected


def test_ntsc_keeps_every_frame_for_an_hour():
    rate = 30000 / 1001
    assert taken([index / rate for index in range(250)], rate, rate)[0] == list(range(250))
    assert count(107_892, rate, rate) == 107_892
    assert count(107_892, rate, rate / 2) == 53_946


def test_an_uneven_video_is_taken_by_its_timestamps():
    # 0.0 to 0.3 at 10 per second, a still of 0.5 seconds, then 20 per second.
    times = [0.0, 0.1, 0.2, 0.7, 0.75, 0.8, 0.85]
    assert taken(times, 10, rate=20.0) == ([0, 1, 2, 2, 2, 2, 2, 3, 5], taken(times, 10, rate=20.0)[1])


@pytest.mark.parametrize(
    "times",
    [
        [0.0, 0.1, 0.1, 0.2],  # twice
        [0.0, 0.3, 0.2, 0.4],  # out of order, as HMDB51's: what comes before is not believed either
        [0.0, None, 0.2, 0.3],
        [None, 0.1, 0.2, 0.3],
        [0.0, 0.1, 95443.7, 95443.8],  # a clock that wrapped: not a million copies
        [0.0, math.nan, 0.2, 0.3],
    ],
)
def test_without_usable_timestamps_the_containers_rate_counts(times):
    found, info = taken(times, 10, rate=10.0)
    assert found == [0, 1, 2, 3]
    assert info.notes == ["timestamps are not in order, from frame 1 on 10 frames per second are assumed"]


def test_timestamps_are_believed_until_four_frames_before_the_first_that_is_out_of_order():
    times = [0.2 * index for index in range(10)]  # 5 per second, though the container says 10
    found, info = taken([*times, 0.0, 0.1], 10, rate=10.0)
    assert found == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 6, 7, 8, 9, 10, 11]
    assert info.notes == ["timestamps are not in order, from frame 6 on 10 frames per second are assumed"]


def test_without_a_rate_frames_are_taken_as_they_come():
    found, info = taken([None] * 5, 10, rate=None)
    assert found == [0, 1, 2, 3, 4]
    assert info.notes == ["no frame rate is known, frames are taken as they come"]
    assert count(5, None, 10) == 5


def test_a_real_file_of_uneven_rate(tmp_path):
    """Grey levels tell the frames apart; Matroska keeps their times, to milliseconds."""
    path, times = tmp_path / "uneven.mkv", [0, 33, 67, 100, 400, 433, 467, 500]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=30)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for index, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 16 + 28 * index, np.uint8), format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    info, decoded = video.read(path)
    found = [round((int(frame[0, 0, 0]) - 16) / 28) for frame in steady(decoded, info, 15)]
    assert found == [0, 2, 3, 3, 3, 3, 4, 6]  # at 0, 67, 133, 200, 267, 333, 400, 467 ms
    assert info.notes == []
