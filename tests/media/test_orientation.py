"""Frames are upright, whatever says how: a display matrix, a message in the stream, an EXIF tag."""

import itertools
import struct
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from araflow.media import orientation, video
from araflow.media.orientation import Orientation

WIDTH, HEIGHT = 48, 32
PICTURE = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
PICTURE[: HEIGHT // 2, : WIDTH // 2] = (230, 20, 20)  # each quarter has a colour of its own
PICTURE[: HEIGHT // 2, WIDTH // 2 :] = (20, 230, 20)
PICTURE[HEIGHT // 2 :, : WIDTH // 2] = (20, 20, 230)
MATRICES = {
    # a, b, c, d: (x, y) is shown at (a x + c y, b x + d y)
    (1, 0, 0, 1): (0, False, PICTURE),
    (0, -1, 1, 0): (90, False, np.rot90(PICTURE)),
    (-1, 0, 0, -1): (180, False, np.rot90(PICTURE, 2)),
    (0, 1, -1, 0): (270, False, np.rot90(PICTURE, 3)),
    (-1, 0, 0, 1): (0, True, PICTURE[:, ::-1]),
    (1, 0, 0, -1): (180, True, PICTURE[::-1]),
    (0, 1, 1, 0): (90, True, PICTURE.transpose(1, 0, 2)),
    (0, -1, -1, 0): (270, True, np.rot90(PICTURE, 2).transpose(1, 0, 2)),
}
EXIF = dict(zip((1, 8, 3, 6, 2, 4, 5, 7), MATRICES.values(), strict=True))


def clip(path: Path, *matrix: float) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = WIDTH, HEIGHT, "yuv420p", 4_000_000
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(PICTURE, format="rgb24")))
        container.mux(stream.encode())
    if matrix:
        a, b, c, d = (round(value * 65536) for value in matrix)
        data = bytearray(path.read_bytes())
        struct.pack_into(">9i", data, data.index(b"tkhd") + 44, a, b, 0, c, d, 0, 0, 0, 1 << 30)
        path.write_bytes(data)
    return path


def with_exif(data: bytes, tag: int, order: str) -> bytes:
    mark = {"<": b"II*\0", ">": b"MM\0*"}[order]
    entries = ((0x0100, 3, 1, 7, 0), (0x0112, 3, 1, tag, 0))
    block = mark + struct.pack(f"{order}IH", 8, 2) + b"".join(struct.pack(f"{order}HHIHH", *one) for one in entries)
    block = b"Exif\0\0" + block + bytes(4)
    comment = b"\xff\xfe\0\6some"
    return data[:2] + comment + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + data[2:]


def check(source: Path, rotation: int, mirrored: bool, expected: np.ndarray) -> None:
    info, frames = video.read(source)
    for frame in frames:
        assert frame.shape == expected.shape
        assert np.abs(frame.astype(int) - expected).mean() < 8
    assert (info.width, info.height) == (expected.shape[1], expected.shape[0])
    assert info.applied == Orientation(rotation, mirrored)
    assert info.notes == []
    assert video.orientation(source) == Orientation(rotation, mirrored)
    info, frames = video.read(source, upright=False)
    assert {frame.shape for frame in frames} == {PICTURE.shape}
    turned = bool(rotation or mirrored)
    assert (info.applied is None, len(info.notes)) == (turned, turned)


@pytest.mark.parametrize("scale", [1, 0.5])
@pytest.mark.parametrize("matrix", MATRICES)
def test_all_eight_matrices(tmp_path: Path, matrix: tuple[int, ...], scale: float):
    path = clip(tmp_path / "clip.mp4", *(scale * value for value in matrix))
    check(path, *MATRICES[matrix])


@pytest.mark.parametrize("suffix", [".mov", ".m4v", ".3gp"])
def test_every_file_of_boxes_is_turned(tmp_path: Path, suffix: str):
    check(clip(tmp_path / f"clip{suffix}", 0, -1, 1, 0), *MATRICES[0, -1, 1, 0])


@pytest.mark.parametrize("tag", EXIF)
def test_all_eight_tags_of_a_folder_of_photographs(tmp_path: Path, tag: int):
    quality = (cv2.IMWRITE_JPEG_QUALITY, 98)
    jpeg = cv2.imencode(".jpg", PICTURE[..., ::-1], quality)[1].tobytes()
    for number, order in enumerate("<>"):
        (tmp_path / f"{number}.jpg").write_bytes(with_exif(jpeg, tag, order))
    check(tmp_path, *EXIF[tag])


def test_tags_of_png_and_webp(tmp_path: Path):
    image = pytest.importorskip("PIL.Image")
    exif = image.Exif()
    exif[274] = 6
    for suffix in ("png", "webp", "tiff"):  # OpenCV turns a TIFF's pictures by itself
        folder = tmp_path / suffix
        folder.mkdir()
        image.fromarray(PICTURE).save(folder / f"0.{suffix}", exif=exif)
        _, (frame,) = video.read(folder)
        assert np.abs(frame.astype(int) - np.rot90(PICTURE, 3)).mean() < 8, suffix


def test_damaged_tags_ask_for_nothing(tmp_path: Path):
    jpeg = cv2.imencode(".jpg", PICTURE)[1].tobytes()
    for number, tag in enumerate((0, 9, 65535)):
        (tmp_path / f"{number}.jpg").write_bytes(with_exif(jpeg, tag, "<"))
    _, frames = video.read(tmp_path)
    assert {frame.shape for frame in frames} == {PICTURE.shape}
    whole = with_exif(jpeg, 6, "<")
    for end in range(0, 80):  # no cut of the header is more than an error of its own
        assert video.exif.orientation(whole[:end]) in (1, 6)


@pytest.mark.parametrize(("degrees", "asked"), [(12.5, 12.5), (89.5, 90), (-90.5, 270), (45, 45), (-30, 330)])
def test_other_angles_are_noted_and_not_applied(tmp_path: Path, degrees: float, asked: float):
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    info, frames = video.read(clip(tmp_path / "clip.mp4", cos, -sin, sin, cos))
    shapes = {frame.shape for frame in frames}
    if asked % 90:
        assert (shapes, info.notes) == ({PICTURE.shape}, [f"rotation by {asked:.1f} degrees, not applied"])
    else:
        assert (info.applied, info.notes) == (Orientation(int(asked)), [])


def test_a_matrix_that_is_damaged_asks_for_nothing():
    for numbers in ((0,) * 9, (65536,) * 9, (65536, 65536, 0, 65536, 65536, 0, 0, 0, 0)):
        assert not orientation.of_matrix(struct.pack("=9i", *numbers))
    assert not orientation.of_matrix(b"")


def test_what_pyav_cannot_name_does_not_hide_the_frame(tmp_path: Path):
    """A message of LCEVC, which is side data that some versions have no name for."""
    if "libx264" not in av.codecs_available:
        pytest.skip("this PyAV has no H.264 encoder")
    path = tmp_path / "clip.h264"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(PICTURE, format="rgb24")))
        container.mux(stream.encode())
    parts = path.read_bytes().split(b"\0\0\1")
    payload = bytes((0xB4, 0x00, 0x50)) + b"\1" * 20  # ITU-T T.35: the country, V-Nova's number
    message = bytes((6, 4, len(payload))) + payload + b"\x80"
    with_message = itertools.chain.from_iterable(
        (message, one) if one[0] & 31 in (1, 5) else (one,) for one in parts[1:]
    )
    path.write_bytes(parts[0] + b"".join(b"\0\0\1" + one for one in with_message))
    assert sum(1 for _ in video.read(path)[1]) == 3
