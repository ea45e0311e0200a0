"""The size in a header is what the decoder makes of it, and is believed before anything is decoded."""

import struct
import zlib

import cv2
import numpy as np
import pytest

from araflow.media import images
from araflow.media.png import chunk

PICTURE = np.random.default_rng(1).integers(0, 255, (37, 53, 3), np.uint8)


def png(width: int, height: int, colour: int = 0) -> bytes:
    """A whole black picture, whatever its size, in few bytes."""
    squeeze = zlib.compressobj(9)
    row = bytes(1 + width * (3 if colour == 2 else 1))
    data = b"".join(squeeze.compress(row) for _ in range(min(height, 64))) + squeeze.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    parts = (b"IHDR", header), (b"IDAT", data), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(piece for kind, own in parts for piece in chunk(kind, own))


@pytest.mark.parametrize("grey", [False, True], ids=["colour", "grey"])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif", ".webp", ".ppm", ".pgm"])
def test_the_size_of_every_kind_of_frame_is_read(suffix: str, grey: bool) -> None:
    if (suffix, grey) in ((".ppm", True), (".pgm", False)):
        pytest.skip("no such picture")
    data = cv2.imencode(suffix, PICTURE[..., 0] if grey else PICTURE)[1].tobytes()
    assert images.size_of(data) == (53, 37)
    assert images.decode(data, cv2.IMREAD_COLOR).shape == PICTURE.shape
    for end in range(0, len(data), max(1, len(data) // 300)):  # whatever of it is missing, it is an answer
        try:
            assert images.size_of(data[:end]) == (53, 37)
        except images.ImageError as error:
            assert type(error) is images.ImageError


@pytest.mark.parametrize(
    ("quality", "flags"),
    [("progressive", (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)), ("restarts", (cv2.IMWRITE_JPEG_RST_INTERVAL, 2))],
)
def test_other_jpegs(quality: str, flags: tuple[int, int]) -> None:
    data = cv2.imencode(".jpg", PICTURE, flags)[1].tobytes()
    assert images.size_of(data) == (53, 37)
    # A picture within the picture (EXIF's thumbnail) is passed over.
    inner = cv2.imencode(".jpg", PICTURE[:8, :8])[1].tobytes()
    assert images.size_of(data[:2] + b"\xff\xe1" + struct.pack(">H", 2 + len(inner)) + inner + data[2:]) == (53, 37)


@pytest.mark.parametrize(
    "data",
    [
        png(20_000, 20_000),
        png(2**31 - 1, 1, 2),
        b"\xff\xd8\xff\xc0\0\x11\x08" + struct.pack(">HH", 65_000, 65_000) + bytes(20),
        b"BM" + bytes(12) + struct.pack("<Iii", 40, 30_000, -30_000) + bytes(20),
        b"P6 #\n 99999 99999 255\n" + bytes(100),
        b"RIFF" + bytes(4) + b"WEBPVP8X" + bytes(8) + b"\xff\xff\xff" * 2,
        b"II*\0" + struct.pack("<IHHHIIHHIII", 8, 2, 256, 4, 1, 60_000, 257, 4, 1, 60_000, 0),
    ],
    ids=["png", "wide", "jpeg", "bmp", "ppm", "webp", "tiff"],
)
def test_what_is_too_large_is_not_decoded(data: bytes) -> None:
    with pytest.raises(images.TooLargeError, match="more than the 67,108,864"):
        images.decode(data, cv2.IMREAD_COLOR)


@pytest.mark.parametrize("data", [b"", b"GIF89a" + bytes(20), b"\xff\xd8" + b"\xff\xc4\0\0" * 5, b"P6", bytes(100)])
def test_what_has_no_header_is_no_picture(data: bytes) -> None:
    with pytest.raises(images.ImageError, match="not an image"):
        images.decode(data, cv2.IMREAD_COLOR)
