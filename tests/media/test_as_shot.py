"""Videos as phones and cameras shoot them, held against what the program ``ffmpeg`` decodes.

The short version is drawn; ``test_a_build_of_real_clips_as_shot`` encodes real ones in the same ways.
"""

import itertools
import struct
import subprocess
from collections.abc import Iterable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from araflow.cli import main
from araflow.media import video
from araflow.store.manifest import Manifest

MOST = 2
"""Levels of 255 by which a value may differ."""
X264, X265 = ("-c:v", "libx264", "-preset", "ultrafast"), ("-c:v", "libx265", "-preset", "ultrafast")
QUIET = ("-x265-params", "log-level=none")
HDR = ("-color_primaries", "bt2020", "-colorspace", "bt2020nc", "-color_trc")
WAYS = {
    # name: suffix, display matrix (a, b, c, d), what ffmpeg is told
    "as coded": (".mp4", (1, 0, 0, 1), X264),
    "rotated by 90": (".mp4", (0, -1, 1, 0), X264),
    "rotated by 180": (".mov", (-1, 0, 0, -1), X264),
    "rotated by 270": (".3gp", (0, 1, -1, 0), X264),
    "mirrored": (".mp4", (-1, 0, 0, 1), X264),
    "upside down": (".m4v", (1, 0, 0, -1), X264),
    "transposed": (".mp4", (0, 1, 1, 0), X264),
    "transversed": (".mov", (0, -1, -1, 0), X264),
    "H.263 in 3GP": (".3gp", None, ("-c:v", "h263", "-s", "176x144")),
    "variable frame rate": (".mp4", None, (*X264, "-vf", "setpts='N*(1+mod(N,3))/25/TB'", "-fps_mode", "passthrough")),
    "HEVC, rotated": (".mov", (0, -1, 1, 0), (*X265, "-tag:v", "hvc1", *QUIET)),
    "AV1": (".mp4", None, ("-c:v", "libsvtav1", "-preset", "12")),
    "VP9": (".webm", None, ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8")),
    "10 bit": (".mp4", (0, 1, -1, 0), (*X264, "-pix_fmt", "yuv420p10le")),
    "PQ": (".mp4", None, (*X265, "-pix_fmt", "yuv420p10le", *HDR, "smpte2084", *QUIET)),
    "HLG": (".mov", None, (*X265, "-pix_fmt", "yuv420p10le", *HDR, "arib-std-b67", "-tag:v", "hvc1", *QUIET)),
    "BT.709": (".mp4", None, (*X264, "-vf", "scale=out_color_matrix=bt709", "-colorspace", "bt709")),
    "full range": (".mp4", None, (*X264, "-vf", "scale=out_range=full", "-color_range", "pc")),
    "reordered frames": (".mp4", None, ("-c:v", "libx264", "-preset", "veryfast", "-bf", "3", "-g", "250")),
    "open groups": (".mkv", None, ("-c:v", "libx264", "-preset", "veryfast", "-x264-params", "open-gop=1:keyint=6")),
    "interlaced": (".ts", None, ("-c:v", "mpeg2video", "-flags", "+ilme+ildct")),
    "ProRes": (".mov", None, ("-c:v", "prores_ks")),
    "Motion JPEG": (".avi", None, ("-c:v", "mjpeg", "-q:v", "3")),
    "MPEG-4": (".avi", None, ("-c:v", "mpeg4")),
}

SHORT = ("rotated by 90", "transposed", "10 bit", "variable frame rate", "HEVC, rotated", "AV1", "interlaced")
"""Those that always run."""


def ffmpeg(*arguments: str | Path) -> bytes:
    command = ["ffmpeg", "-y", "-v", "error", "-nostdin", *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout


def shoot(source: Path, folder: Path, name: str, *also: str) -> Path:
    suffix, matrix, how = WAYS[name]
    path = folder / f"{name.replace(' ', '_')}{suffix}"
    ffmpeg("-i", source, *how, *also, path)
    if matrix is not None:
        turn(path, matrix)
    return path


def turn(path: Path, matrix: tuple[int, ...]) -> None:
    a, b, c, d = (value << 16 for value in matrix)
    data = bytearray(path.read_bytes())
    struct.pack_into(">9i", data, data.index(b"tkhd") + 44, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


def compare(path: Path, frames: Iterable[np.ndarray]) -> tuple[int, int]:
    """Hold every frame against ffmpeg's; return their number, and the most that a value differs by."""
    ours = [frame.copy() for frame in frames]
    raw = ffmpeg("-i", path, "-map", "0:v:0", "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24", "-")
    theirs = np.frombuffer(raw, np.uint8).reshape(-1, *ours[0].shape)
    assert len(ours) == len(theirs)
    return len(ours), max(int(cv2.absdiff(one, other).max()) for one, other in zip(ours, theirs, strict=True))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Colours and edges that move, without loss."""
    path = tmp_path_factory.mktemp("drawn") / "drawn.mkv"
    y, x = np.mgrid[0:64, 0:96]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "bgr0"
        for index in range(12):
            picture = (np.dstack([x * 2 + index * 9, y * 3, (x + y) // 2 + 40]) % 250).astype(np.uint8)
            picture[index : index + 20, 3 * index : 3 * index + 30] = (250, 10, 60)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.mark.ffmpeg
@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.proof] * (name not in SHORT)) for name in WAYS])
def test_frames_are_ffmpegs(drawn: Path, tmp_path: Path, name: str):
    path = shoot(drawn, tmp_path, name)
    count, most = compare(path, video.read(path)[1])
    assert count >= 11
    assert most <= MOST


@pytest.mark.ffmpeg
def test_a_trimmed_start_stays_trimmed(drawn: Path, tmp_path: Path):
    """Cut without a new encoding: an edit list says what is shown."""
    whole, path = shoot(drawn, tmp_path, "reordered frames"), tmp_path / "trimmed.mp4"
    ffmpeg("-ss", "0.2", "-i", whole, "-c", "copy", path)
    count, most = compare(path, video.read(path)[1])
    assert 0 < count < 12
    assert video.read(path)[0].header_frames == (count if hasattr(av.stream.Stream, "index_entries") else 12)
    assert most <= MOST


@pytest.mark.ffmpeg
def test_a_message_in_the_stream_turns_it(drawn: Path, tmp_path: Path):
    whole = shoot(drawn, tmp_path, "as coded")
    for suffix in (".mkv", ".ts"):
        path = tmp_path / f"message{suffix}"
        orientation = "h264_metadata=display_orientation=insert:rotate=90"
        ffmpeg("-i", whole, "-c", "copy", "-bsf:v", orientation, path)
        info, frames = video.read(path)
        assert {frame.shape for frame in frames} == {(96, 64, 3)}
        assert (info.applied and info.applied.rotation) == 90


@pytest.mark.proof
@pytest.mark.ffmpeg
def test_a_build_of_real_clips_as_shot(real_data: Path, tmp_path: Path):
    clips = sorted((real_data / "clips").iterdir()) + sorted((real_data / "jhmdb5").glob("*/*"))[::9]
    videos, out = tmp_path / "videos", tmp_path / "out"
    videos.mkdir()
    paths = {
        shoot(clip, videos, name, "-an", "-t", "2").stem: (name, clip)
        for name, clip in zip(WAYS, itertools.cycle(clips), strict=False)
    }
    run = CliRunner().invoke(main, ["flow", str(videos), "--out", str(out), "--preset", "fastest"])
    assert run.exit_code == 0, run.output
    found = {}
    for key, path in Manifest.read(out).columns("key", "path"):
        files = sorted((out / path / "rgb").iterdir())
        frames = (cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB) for file in files)
        name, clip = paths[Path(key).name]
        found[name] = compare(next(videos.glob(f"{Path(key).name}.*")), frames)
        print(f"{name:20} {clip.name[:40]:40} {found[name][0]:4} frames, {found[name][1]} levels")
    assert {name: most for name, (_, most) in found.items() if most > MOST} == {}
    assert found.keys() == WAYS.keys()
