import struct

import cv2
import numpy as np
import pytest
from flo_writer import write_flo
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from araflow.core.errors import SourceError
from araflow.media.flow_files import PNG_RANGE, PNG_STEP, decode_flow_png, encode_flow_png, read_flo


def fields(limit):
    sides = st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(2))
    return sides.flatmap(lambda shape: hnp.arrays(np.float32, shape, elements=st.floats(-limit, limit, width=32)))


# --- .flo


@given(flow=fields(1e9), data=st.data())
def test_a_flo_file_gives_every_bit_back(tmp_path_factory, flow, data):
    path = tmp_path_factory.getbasetemp() / "any.flo"
    known = data.draw(hnp.arrays(np.bool_, flow.shape[:2]))
    write_flo(path, flow, known)
    read, mask = read_flo(path)
    assert read.dtype == np.float32
    np.testing.assert_array_equal(mask, known)
    np.testing.assert_array_equal(read, np.where(known[..., None], flow, 0))
    assert path.stat().st_size == 12 + flow.nbytes


def test_the_layout_is_middleburys(tmp_path):
    path = tmp_path / "a.flo"
    write_flo(path, np.arange(12, dtype=np.float32).reshape(2, 3, 2), np.array([[1, 1, 1], [1, 1, 0]], np.bool_))
    expected = struct.pack("<fii12f", 202021.25, 3, 2, *range(10), 1e10, 1e10)
    assert path.read_bytes() == expected


@pytest.mark.parametrize("value", [1.1e9, -1e10, float("nan"), float("inf")])
def test_unknown_flow_becomes_a_mask(tmp_path, value):
    path = tmp_path / "a.flo"
    path.write_bytes(struct.pack("<4sII4f", b"PIEH", 2, 1, 1.0, value, 2.0, 3.0))
    flow, known = read_flo(path)
    assert known.tolist() == [[False, True]]
    assert flow.tolist() == [[[0, 0], [2, 3]]]


def test_opencv_reads_and_writes_the_same(tmp_path):
    flow = np.random.default_rng(1).normal(0, 9, (5, 7, 2)).astype(np.float32)
    write_flo(tmp_path / "ours.flo", flow)
    np.testing.assert_array_equal(cv2.readOpticalFlow(str(tmp_path / "ours.flo")), flow)
    cv2.writeOpticalFlow(str(tmp_path / "theirs.flo"), flow)
    np.testing.assert_array_equal(read_flo(tmp_path / "theirs.flo")[0], flow)


WHOLE = struct.pack("<4sII4f", b"PIEH", 2, 1, 1, 2, 3, 4)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a .flo file: it begins with b''"),
        (b"HEIP" + WHOLE[4:], "begins with b'HEIP' instead of b'PIEH'"),
        (WHOLE[:7], "ends within the header, after 7 bytes"),
        (WHOLE[:-1], "27 bytes, but 2x1 pixels take 28"),
        (WHOLE + b"\0", "29 bytes, but 2x1 pixels take 28"),
        (struct.pack("<4sII", b"PIEH", 0, 1), "says 0x1 pixels"),
        (struct.pack("<4sII", b"PIEH", 1, 2**32 - 1), "says 1x4294967295 pixels"),
        (struct.pack("<4sII", b"PIEH", 2, 99_999), "12 bytes, but 2x99999 pixels take 1599996"),
    ],
)
def test_a_damaged_flo_file_says_what_is_wrong(tmp_path, data, message):
    path = tmp_path / "bad.flo"
    path.write_bytes(data)
    with pytest.raises(SourceError, match=r"bad\.flo: ") as caught:
        read_flo(path)
    assert message in str(caught.value)


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(SourceError, match=r"none\.flo: cannot be read: No such file"):
        read_flo(tmp_path / "none.flo")


# --- 16-bit PNG


@given(flow=fields(511.984375), data=st.data())
def test_a_flow_png_is_exact_to_half_a_step(flow, data):
    known = data.draw(hnp.arrays(np.bool_, flow.shape[:2]))
    read, mask = decode_flow_png(encode_flow_png(flow, known))
    np.testing.assert_array_equal(mask, known)
    assert np.abs(read - flow)[known].max(initial=0) <= PNG_STEP / 2
    assert not read[~known].any()


@given(levels=hnp.arrays(np.uint16, (3, 4, 2)))
def test_every_16_bit_level_comes_back_exactly(levels):
    flow = ((levels.astype(np.float32) - 32768) / 64).astype(np.float32)
    read, known = decode_flow_png(encode_flow_png(flow))
    assert known.all()
    np.testing.assert_array_equal(read, flow)


def test_the_values_are_kittis():
    flow = np.array([[[0, 0], [1, -1]], [[-512, 600], [7, 7]]], np.float32)
    data = encode_flow_png(flow, np.array([[1, 1], [1, 0]], np.bool_))
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)[..., ::-1]
    assert image.dtype == np.uint16
    assert image.tolist() == [[[32768, 32768, 1], [32832, 32704, 1]], [[0, 65535, 1], [0, 0, 0]]]
    assert decode_flow_png(data)[0][1, 0].tolist() == list(PNG_RANGE)


def test_what_is_beyond_the_range_of_a_flow_png_is_stored_as_its_end():
    flow = np.array([[[3.4e38, -3.4e38], [511.999, -512.01]]], np.float32)
    assert decode_flow_png(encode_flow_png(flow))[0].tolist() == [[list(PNG_RANGE)[::-1]] * 2]


def test_flow_pngs_of_other_writers_are_read():
    flow = np.random.default_rng(2).normal(0, 20, (33, 21, 2)).astype(np.float32)
    ours = encode_flow_png(flow)
    image = cv2.imdecode(np.frombuffer(ours, np.uint8), cv2.IMREAD_UNCHANGED)
    theirs = cv2.imencode(".png", image)[1].tobytes()
    np.testing.assert_array_equal(decode_flow_png(theirs)[0], decode_flow_png(ours)[0])


@pytest.mark.parametrize("writer", ["ours", "cv2"])
def test_a_damaged_flow_png_is_an_error(writer):
    data = encode_flow_png(np.full((4, 5, 2), 3, np.float32))
    if writer == "cv2":
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        data = cv2.imencode(".png", image)[1].tobytes()
    for place in range(len(data)):
        with pytest.raises(SourceError):
            decode_flow_png(data[:place])
        flipped = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        with pytest.raises(SourceError):
            decode_flow_png(flipped)


@pytest.mark.parametrize("image", [np.zeros((4, 5, 3), np.uint8), np.zeros((4, 5), np.uint16)], ids=["8 bits", "gray"])
def test_another_png_is_refused(image):
    data = cv2.imencode(".png", image)[1].tobytes()
    with pytest.raises(SourceError, match=r"u\.png: not a flow PNG: it should have three 16-bit channels"):
        decode_flow_png(data, "u.png")
    with pytest.raises(SourceError, match="not a PNG file"):
        decode_flow_png(cv2.imencode(".jpg", np.zeros((4, 5), np.uint8))[1].tobytes())


@pytest.mark.parametrize(
    ("flow", "known", "message"),
    [
        (np.zeros((3, 4), np.float32), None, r"expected float32 \(height, width, 2\), found float32 \(3, 4\)"),
        (np.zeros((3, 4, 2)), None, "found float64"),
        (np.zeros((0, 4, 2), np.float32), None, r"found float32 \(0, 4, 2\)"),
        (np.zeros((3, 4, 2), np.float32), np.ones((4, 3), np.bool_), r"known as bool \(3, 4\), found bool \(4, 3\)"),
        (np.zeros((3, 4, 2), np.float32), np.ones((3, 4), np.uint8), "found uint8"),
        (np.full((3, 4, 2), np.nan, np.float32), None, "mark those pixels as unknown"),
        (np.full((3, 4, 2), np.inf, np.float32), None, "mark those pixels as unknown"),
    ],
)
def test_what_is_no_field_is_refused(flow, known, message):
    with pytest.raises(ValueError, match=message):
        encode_flow_png(flow, known)


def test_unknown_pixels_may_hold_anything(tmp_path):
    flow, known = np.full((1, 2, 2), np.nan, np.float32), np.array([[False, True]])
    flow[0, 1] = 3
    write_flo(tmp_path / "a.flo", flow, known)
    for read, mask in (read_flo(tmp_path / "a.flo"), decode_flow_png(encode_flow_png(flow, known))):
        np.testing.assert_array_equal(mask, known)
        assert read.tolist() == [[[0, 0], [3, 3]]]
