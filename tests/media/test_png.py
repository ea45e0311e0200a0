import struct
import zlib

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from araflow.media import video
from araflow.media.png import PngEncoder


def reference_decode(data: bytes) -> np.ndarray:
    """A decoder that knows the specification and nothing of our encoder; it also checks what decoders let pass."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, place = [], 8
    while place < len(data):
        (length,) = struct.unpack_from(">I", data, place)
        kind, body = data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        (crc,) = struct.unpack_from(">I", data, place + 8 + length)
        assert crc == zlib.crc32(kind + body), kind
        chunks.append((kind, body))
        place += 12 + length
    assert place == len(data)
    assert [kind for kind, _ in chunks] == [b"IHDR", b"IDAT", b"IEND"]
    width, height, *rest = struct.unpack(">IIBBBBB", chunks[0][1])
    assert rest == [8, 2, 0, 0, 0], "8-bit RGB, deflate, no interlace"
    rows = np.frombuffer(zlib.decompress(chunks[1][1]), np.uint8).reshape(height, 1 + 3 * width)
    assert (rows[:, 0] == 2).all(), "every row is Up-filtered"
    assert chunks[2][1] == b""
    # The row above the first counts as zero; sums wrap at 256 (PNG 1.2, section 6.4).
    return np.cumsum(rows[:, 1:], axis=0, dtype=np.uint8).reshape(height, width, 3)


def by_cv2(data: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)[..., ::-1]


def by_ffmpeg(data: bytes) -> np.ndarray:
    (frame,) = av.CodecContext.create("png", "r").decode(av.Packet(data))
    assert frame.format.name == "rgb24"
    return frame.to_ndarray()


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    seed=st.integers(0, 2**32 - 1),
    levels=st.sampled_from([1, 2, 256]),
    padding=st.integers(0, 9),
)
def test_every_decoder_gives_the_pixels_back(height, width, seed, levels, padding):
    # Padded rows are what FFmpeg hands out for widths that its SIMD code does not like.
    rows = np.random.default_rng(seed).integers(0, levels, (height, 3 * width + padding), np.uint8)
    rgb = np.lib.stride_tricks.as_strided(rows, (height, width, 3), (rows.strides[0], 3, 1))
    assert rgb.flags.c_contiguous == (padding == 0 or height == 1)
    encoded = PngEncoder(height, width).encode(rgb)
    for decode in (reference_decode, by_cv2, by_ffmpeg):
        np.testing.assert_array_equal(decode(encoded), rgb, err_msg=decode.__name__)


@given(st.binary(min_size=4 * 5 * 3, max_size=4 * 5 * 3))
def test_any_bytes_survive(data):
    rgb = np.frombuffer(data, np.uint8).reshape(4, 5, 3)
    np.testing.assert_array_equal(reference_decode(PngEncoder(4, 5).encode(rgb)), rgb)


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (97, 65), (480, 640)])
def test_extreme_and_odd_sizes(size):
    rgb = noise(*size)
    encoded = PngEncoder(*size).encode(rgb)
    np.testing.assert_array_equal(by_cv2(encoded), rgb)
    np.testing.assert_array_equal(by_ffmpeg(encoded), rgb)


def test_frames_leave_no_trace_in_the_next_one():
    encoder = PngEncoder(33, 47)
    first, second = noise(33, 47, 1), noise(33, 47, 2)
    fresh = PngEncoder(33, 47).encode(second)
    encoder.encode(first)
    assert encoder.encode(second) == fresh
    assert encoder.encode(second) == fresh


@pytest.mark.parametrize(
    "rgb",
    [
        np.zeros((4, 6), np.uint8),
        np.zeros((6, 4, 3), np.uint8),
        np.zeros((4, 6, 4), np.uint8),
        np.zeros((4, 6, 3), np.int8),
        np.zeros((4, 6, 3), np.uint16),
        np.zeros((4, 6, 3), np.float32),
    ],
    ids=lambda a: f"{a.dtype}{a.shape}",
)
def test_another_shape_or_dtype_is_refused(rgb):
    with pytest.raises(ValueError, match=r"expected uint8 \(4, 6, 3\), found ") as caught:
        PngEncoder(4, 6).encode(rgb)
    assert str(caught.value).endswith(f"found {rgb.dtype} {rgb.shape}")


def test_real_frames_are_exact_and_smaller_than_opencv_makes_them(real_data):
    ours = theirs = 0
    for path in sorted((real_data / "clips").iterdir()):
        _, frames = video.read(path)
        for index, rgb in enumerate(frames):
            if index % 8 == 0:
                encoded = PngEncoder(*rgb.shape[:2]).encode(rgb)
                np.testing.assert_array_equal(by_cv2(encoded), rgb)
                ours += len(encoded)
                theirs += len(cv2.imencode(".png", rgb[..., ::-1])[1])
            if index == 40:
                break
        frames.close()
    assert ours < 0.95 * theirs
