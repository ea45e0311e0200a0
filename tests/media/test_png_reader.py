import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from araflow.core.errors import SourceError
from araflow.datasets._sample import draw_sample
from araflow.media import png_reader, video
from araflow.media.png import PngEncoder
from araflow.media.png_reader import read_png


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def encode(rgb):
    return PngEncoder(*rgb.shape[:2]).encode(rgb)


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def assemble(header, compressed, *further):
    parts = [chunk(b"IHDR", header), *further, chunk(b"IDAT", compressed), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def header(height, width, depth=8, colour=2, interlace=0):
    return struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)


def all_up(rgb):
    rows = np.zeros((rgb.shape[0], 1 + 3 * rgb.shape[1]), np.uint8)
    rows[:, 0] = 2
    rows[:, 1:] = np.diff(rgb.reshape(len(rgb), -1), axis=0, prepend=np.zeros((1, 3 * rgb.shape[1]), np.uint8))
    return rows.tobytes()


def by_cv2(data):
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)


@pytest.fixture
def without_opencv(monkeypatch):
    """The fast way must do it alone."""

    def refuse(*_):
        raise AssertionError("fell back to OpenCV")

    monkeypatch.setattr(png_reader, "_by_opencv", refuse)


@given(height=st.integers(1, 80), width=st.integers(1, 40), seed=st.integers(0, 2**32 - 1))
def test_what_our_writer_wrote_comes_back(height, width, seed):
    rgb = noise(height, width, seed)
    np.testing.assert_array_equal(read_png(encode(rgb)), rgb)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (15, 2), (16, 2), (17, 2), (31, 7), (33, 7), (240, 321)])
def test_odd_sizes_and_single_columns_take_the_fast_way(size, without_opencv):
    rgb = noise(*size)
    image = read_png(encode(rgb))
    np.testing.assert_array_equal(image, rgb)
    assert image.flags.c_contiguous
    assert image.flags.writeable
    assert image.dtype == np.uint8


def test_decoded_frames_are_what_opencv_reads(tmp_path, without_opencv):
    draw_sample(tmp_path, clips_per_class=1, width=161, height=97, seconds=(1.0, 1.0))
    for source in sorted((tmp_path / "videos").rglob("*.avi")):
        for rgb in video.read(source)[1]:
            path = tmp_path / "frame.png"
            path.write_bytes(encode(rgb))
            np.testing.assert_array_equal(read_png(path), cv2.imread(str(path), cv2.IMREAD_COLOR_RGB))


def test_real_frames_are_what_opencv_reads(real_data, without_opencv):
    for source in sorted((real_data / "clips").iterdir()):
        _, frames = video.read(source)
        for _, rgb in zip(range(10), frames, strict=False):
            np.testing.assert_array_equal(read_png(encode(rgb)), rgb)
        frames.close()


@given(filters=st.lists(st.integers(0, 4), min_size=6, max_size=6))
def test_any_filters_are_undone(filters):
    # Filtered bytes are arbitrary; what they mean is up to the filter types, and OpenCV knows them all.
    rows = np.random.default_rng(sum(filters)).integers(0, 256, (6, 1 + 3 * 5), np.uint8)
    rows[:, 0] = filters
    data = assemble(header(6, 5), zlib.compress(rows.tobytes()))
    np.testing.assert_array_equal(read_png(data), by_cv2(data))


RGB = noise(6, 5)
OTHERS = {
    "cv2": cv2.imencode(".png", RGB)[1].tobytes(),
    "gray": cv2.imencode(".png", RGB[..., 0])[1].tobytes(),
    "16 bits": cv2.imencode(".png", RGB.astype(np.uint16) * 257)[1].tobytes(),
    "alpha": cv2.imencode(".png", np.dstack([RGB, RGB[..., 0]]))[1].tobytes(),
    "jpeg": cv2.imencode(".jpg", RGB)[1].tobytes(),
    "bmp": cv2.imencode(".bmp", RGB)[1].tobytes(),
    "text": assemble(header(6, 5), zlib.compress(all_up(RGB)), chunk(b"tEXt", b"Comment\0hello")),
}


@pytest.mark.parametrize("data", OTHERS.values(), ids=OTHERS)
def test_files_of_other_writers_are_read_as_opencv_reads_them(data):
    image = read_png(data)
    np.testing.assert_array_equal(image, by_cv2(data))
    assert (image.shape, image.dtype) == ((6, 5, 3), np.uint8)


def test_every_byte_counts():
    data = encode(noise(7, 5))
    whole = read_png(data)
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 4
        with pytest.raises(SourceError):
            read_png(bytes(damaged))
    np.testing.assert_array_equal(read_png(data + b"junk behind the end mark"), whole)


def test_a_cut_file_is_an_error_wherever_it_is_cut(tmp_path):
    data, path = encode(noise(7, 5)), tmp_path / "cut.png"
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(SourceError, match=r"cut\.png: "):
            read_png(path)


def wrong_adler():
    compressed = bytearray(zlib.compress(all_up(RGB)))
    compressed[-1] ^= 1
    return assemble(header(6, 5), bytes(compressed))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (assemble(header(6, 5), zlib.compress(all_up(RGB)[:-1])), "not the 96 bytes that the header announces"),
        (assemble(header(6, 5), zlib.compress(all_up(RGB) + b"\0")), "not the 96 bytes"),
        (assemble(header(6, 5), zlib.compress(all_up(RGB))[:-6]), "not the 96 bytes"),
        (assemble(header(6, 5), b"\x78\x9c\xff\xff"), "do not inflate"),
        (assemble(header(6, 5), b""), "not the 96 bytes"),
        (wrong_adler(), "do not inflate"),
        (assemble(header(2**31 - 1, 2**31 - 1), zlib.compress(all_up(RGB))), "more than the 67,108,864"),
        (assemble(header(0, 5), zlib.compress(b"")), "not an image that OpenCV can read"),
        (b"\x89PNG\r\n\x1a\n", "ends at byte 8, before its end mark"),
        (b"no picture", "not an image that OpenCV can read"),
        (b"", "not an image that OpenCV can read"),
    ],
)
def test_damage_behind_right_check_sums_is_named(data, message):
    with pytest.raises(SourceError, match=message):
        read_png(data)


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(SourceError, match=r"nothing\.png: cannot be read: No such file"):
        read_png(tmp_path / "nothing.png")
    with pytest.raises(SourceError, match="cannot be read"):
        read_png(str(tmp_path))
