import cv2
import numpy as np
import pytest

from araflow.core.errors import ClipError
from araflow.media import numbering, video


def names(numbers, pattern="{:04d}.png"):
    return [pattern.format(number) for number in numbers]


@pytest.mark.parametrize("pattern", ["{:04d}.png", "img_{:05d}.jpg", "{}.png", "v2_{:03d}_cam1.png", "clip-7.{}.tif"])
@pytest.mark.parametrize("numbers", [range(10), range(1, 12), range(0, 50, 5), [3], []])
def test_even_numbers_lack_nothing(pattern, numbers):
    assert numbering.remark(names(numbers, pattern)) == ""


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        (
            [0, 1, 2, 3, 6, 7, 8, 9],
            "frames 4 and 5 of 0000 to 0009 are lacking; the flow between 0003 and 0006 spans 3 steps",
        ),
        ([1, 2, 4, 5], "frame 3 of 0001 to 0005 is lacking; the flow between 0002 and 0004 spans 2 steps"),
        ([0, 1, 2, 3, 9], "frames 4 to 8 of 0000 to 0009 are lacking; the flow between 0003 and 0009 spans 6 steps"),
        ([0, 5, 10, 20, 25], "frame 15 of 0000 to 0025 is lacking; the flow between 0010 and 0020 spans 2 steps"),
        (
            [0, 1, 3, 4, 5, 8, 9],
            "frame 2 of 0000 to 0009 is lacking, and more: 3 in 2 places; the flow between 0001 and 0003 spans 2 steps",
        ),
    ],
)
def test_a_gap_is_named(numbers, text):
    assert numbering.remark(names(numbers)) == text


def test_a_number_that_is_there_twice_is_named():
    assert numbering.remark(["01.png", "1.png", "2.png"]) == "frame 1 is there twice, as 01.png and 1.png"
    assert "as 1.jpg and 1.png, and so are 1 more" in numbering.remark(["1.jpg", "1.png", "2.jpg", "2.png", "3.jpg"])


@pytest.mark.parametrize(
    "found",
    [
        ["a.png", "b.png", "d.png"],
        ["1000000.png", "1033333.png", "1066667.png", "1100000.png"],  # times
        ["1_1.png", "1_2.png", "2_1.png", "2_2.png"],  # two counts
        ["cover.png", "1.png", "2.png", "9.png"],
    ],
)
def test_what_does_not_count_is_not_judged(found):
    assert numbering.remark(found) == ""


def test_the_note_comes_with_the_frames(tmp_path):
    for name in names([0, 1, 2, 5]):
        cv2.imwrite(str(tmp_path / name), np.full((24, 32, 3), 90, np.uint8))
    info, frames = video.read(tmp_path)
    assert sum(1 for _ in frames) == 4
    assert (len(info.notes), info.faults) == (1, [])
    assert info.notes[0].startswith("frames 3 and 4 of 0000 to 0005 are lacking")


def test_a_frame_without_bytes_is_named(tmp_path):
    for name in names(range(3)):
        cv2.imwrite(str(tmp_path / name), np.full((24, 32, 3), 90, np.uint8))
    (tmp_path / "0001.png").write_bytes(b"")
    with pytest.raises(ClipError, match=r"decode-error: 0001\.png is "):
        list(video.read(tmp_path)[1])
