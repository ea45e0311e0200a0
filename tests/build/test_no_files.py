"""What lies among the videos and is no file, or costs more than a frame may: each is a row, and the others are made."""

import os
import socket
import struct
import zipfile
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from laid import lay

from araflow.build import run as build
from araflow.core.errors import SourceError
from araflow.core.spec_file import parse
from araflow.datasets import folder as own_videos
from araflow.datasets._sample import draw_sample
from araflow.media.png import chunk

EXPECTED = {
    "walk/pipe": "not-a-file: it is a named pipe, not a file",
    "walk/socket": "not-a-file: it is a socket, not a file",
    "walk/zero": "not-a-file: it is a device, not a file",
    "walk/loop": "not-a-file: it is a link that leads in a circle, not a file",
    "walk/nowhere": "io-error: No such file or directory",  # a link to a disk that is not there now, say
    "walk/folder.avi": "no-frames: the folder holds no image files",
    "walk/frames": "not-a-file: 3.png is a named pipe, not a file",
    "walk/circle": "not-a-file: 3.png is a link that leads in a circle, not a file",
    "walk/large": "frame-size: 1.png has 20000x20000 pixels, more than the 67,108,864 that a frame may have",
}


def black(side: int) -> bytes:
    """The beginning of a black PNG file; 20,000 whole rows would take 389 kB."""
    data = zlib.compress(bytes(20 * (side + 1)))
    parts = (b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)), (b"IDAT", data), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(piece for kind, own in parts for piece in chunk(kind, own))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """One good video, and one of each that is none."""
    folder = tmp_path / "source"
    draw_sample(folder, clips_per_class=1, width=64, height=48, seconds=(0.2, 0.2), classes=["walk"])
    walk = folder / "videos" / "walk"
    (good,) = walk.iterdir()
    good.rename(walk / "good.avi")
    os.mkfifo(walk / "pipe.avi")
    with socket.socket(socket.AF_UNIX) as one:  # bound by a short name: it may have 108 bytes
        handle = os.open(walk, os.O_RDONLY)
        one.bind(f"/proc/self/fd/{handle}/socket.avi")
        os.close(handle)
    (walk / "zero.avi").symlink_to("/dev/zero")
    (walk / "loop.avi").symlink_to("loop.avi")
    (walk / "nowhere.avi").symlink_to("/nowhere/at/all.avi")
    (walk / "folder.avi").mkdir()
    frame = cv2.imencode(".png", np.zeros((48, 64, 3), np.uint8))[1].tobytes()
    for name in ("frames", "circle"):
        (walk / name).mkdir()
        for number in (1, 2):
            (walk / name / f"{number}.png").write_bytes(frame)
    os.mkfifo(walk / "frames" / "3.png")
    (walk / "circle" / "3.png").symlink_to("3.png")
    (walk / "large").mkdir()
    for number in (1, 2):
        (walk / "large" / f"{number}.png").write_bytes(black(20_000))
    return folder / "videos"


def reasons(source: Path, out: Path) -> dict[str, str]:
    spec = {"name": "x", "dataset": {"name": "folder", "source": str(source)}, "split": {"protocol": "random"}}
    rest = {"optical": {"preset": "fastest"}, "run": {"workers": 1, "retries": 0}, "out": str(out)}
    manifest = build.build(parse(spec | rest))
    return {row["key"]: f"{row['outcome']} {row['reason']}" for row in manifest.table.to_pylist()}


@pytest.mark.timeout(60)
def test_each_is_a_row_and_what_becomes_a_file_is_made(source: Path, tmp_path: Path) -> None:
    expected = {key: f"quarantined {reason}" for key, reason in EXPECTED.items()} | {"walk/good": "done complete"}
    expected["walk/nowhere"] = f"failed {EXPECTED['walk/nowhere']}"  # and so tried again
    assert reasons(source, tmp_path / "out") == expected

    (source / "walk" / "pipe.avi").unlink()
    os.link(source / "walk" / "good.avi", source / "walk" / "pipe.avi")
    assert reasons(source, tmp_path / "out") == expected | {"walk/pipe": "done complete"}


@pytest.mark.timeout(60)
def test_a_list_names_them_and_is_a_file_itself(source: Path, tmp_path: Path) -> None:
    listed = source / "list.csv"
    names = [f"walk/{name}.avi" for name in ("good", "pipe", "socket", "zero", "loop", "nowhere")]
    listed.write_text("path,label\n" + "".join(f"{name},walk\n" for name in names))
    expected = {name[:-4]: f"quarantined {EXPECTED[name[:-4]]}" for name in names[1:]} | {"walk/good": "done complete"}
    for name in ("walk/loop", "walk/nowhere"):
        expected[name] = f"quarantined missing: {name}.avi is listed but not in the source"
    assert reasons(listed, tmp_path / "out") == expected

    listed.unlink()
    os.mkfifo(listed)
    with pytest.raises(SourceError, match=r"list\.csv"):
        reasons(listed, tmp_path / "out2")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside an archive"])
def test_what_is_called_an_archive_and_is_no_file_is_counted_and_stops_nothing(tmp_path: Path, beside: bool) -> None:
    folder = tmp_path / "source"
    lay(folder, "walk/a.avi", "run/b.avi")
    os.mkfifo(folder / "walk" / "x.zip")
    (folder / "z.tar").symlink_to("/dev/zero")
    (folder / "gone.rar").symlink_to("nowhere.rar")
    if beside:
        with zipfile.ZipFile(folder / "more.zip", "w") as archive:
            archive.writestr("jump/c.avi", b"x")
    spec = parse({"name": "x", "dataset": {"name": "folder", "source": str(folder)}, "out": "o"})
    files = own_videos.dataset.prepare(spec.dataset, tmp_path / "work", report=lambda line: None)
    listing = own_videos.dataset.list_clips(files, None)
    assert [clip.key for clip in listing.clips] == [*(["jump/c"] if beside else []), "run/b", "walk/a"]
    seen = {(one.why, one.what, one.count, one.example) for one in listing.passed_over}
    assert seen == {
        ("no-file", ".rar", 1, "gone.rar"),
        ("no-file", ".tar", 1, "z.tar"),
        ("no-file", ".zip", 1, "walk/x.zip"),
    }
