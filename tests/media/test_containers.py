"""What is said of a file's end, for every container that PyAV writes: whole, cut anywhere, written to a pipe."""

import io
import struct

import av
import numpy as np
import pytest

from araflow.acquire.statuses import status_of
from araflow.core.errors import ClipError
from araflow.media import video
from araflow.media.containers import ending

KINDS = {
    "matroska": ("mpeg4", {}),
    "webm": ("libvpx", {}),
    "flv": ("flv", {}),
    "mpegts": ("mpeg2video", {}),
    "m2ts": ("mpeg2video", {"mpegts_m2ts_mode": "1"}),
    "mpeg": ("mpeg1video", {}),
    "vob": ("mpeg2video", {}),
    "asf": ("wmv2", {}),
    "ogg": ("libvpx", {}),
    "mov": ("mpeg4", {}),
    "mp4": ("mpeg4", {"movflags": "faststart"}),
    "fragments": ("mpeg4", {"movflags": "frag_keyframe+empty_moov"}),
    "avi": ("mpeg4", {}),
    "gif": ("gif", {}),
    "ivf": ("libvpx", {}),
    "mxf": ("mpeg2video", {}),
    "nut": ("mpeg4", {}),
    "rm": ("rv20", {}),
}
FORMATS = {"m2ts": "mpegts", "fragments": "mp4"}
AT_BORDERS = {"mpegts", "m2ts", "mpeg", "vob"}
"""A file that ends between two packets of these is a whole one, as far as its packets tell."""
COUNT = 20


class Pipe(io.RawIOBase):
    """Takes bytes, and cannot go back."""

    def __init__(self):
        super().__init__()
        self.data = b""

    def writable(self):
        return True

    def seekable(self):
        return False

    def write(self, data):
        self.data += bytes(data)
        return len(data)


def write(target, kind, count=COUNT):
    codec, options = KINDS[kind]
    with av.open(target, "w", format=FORMATS.get(kind, kind), options=options) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height = (176, 144) if codec == "rv20" else (96, 64)
        stream.pix_fmt, stream.bit_rate, stream.gop_size = "rgb8" if kind == "gif" else "yuv420p", 400_000, 5
        y, x = np.mgrid[0 : stream.height, 0 : stream.width]
        for index in range(count):
            picture = (np.dstack([x * 2 + index * 3, y * 2, (x + y) // 2 + 40]) % 200).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture(scope="module", params=KINDS)
def whole(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / f"clip.{request.param}"
    write(str(path), request.param)
    return request.param, path.read_bytes(), path


def said(path):
    """The reason of a clip that is not usable, or its faults and what the decoder complained of."""
    try:
        info, frames = video.read(path)
        count = sum(1 for _ in frames)
    except ClipError as error:
        return str(error), 0
    return "; ".join(info.faults + info.complaints), count


def lost_in_silence(path, data):
    path.write_bytes(data)
    text, count = said(path)
    return not text and count < COUNT - 1


def test_a_whole_file_is_whole(whole):
    _, data, path = whole
    assert ending(path).lacking == ""
    assert status_of(path) == "ok"
    assert said(path) == ("", COUNT)
    path.write_bytes(data)


def test_no_cut_is_passed_over(whole, tmp_path):
    kind, data, _ = whole
    path, silent = tmp_path / "cut", []
    for kept in range(1000, len(data), max(1, len(data) // 100)):
        path.write_bytes(data[:kept])
        found = ending(path)
        if not found.lacking:
            silent.append(kept)
        assert (status_of(path) == "corrupt") == bool(found.lacking)
    if kind == "ivf":  # its header counts frames, which is known when they are read
        silent = [kept for kept in silent if lost_in_silence(path, data[:kept])]
    if kind in AT_BORDERS:
        size = {"mpegts": 188, "m2ts": 192}.get(kind, 2048)
        silent = [kept for kept in silent if kept % size > 4]
    assert silent == []


@pytest.mark.parametrize("share", [0.4, 0.8])
def test_a_cut_is_a_reason_or_a_fault_when_it_is_read(whole, tmp_path, share):
    kind, data, _ = whole
    path = tmp_path / "cut"
    path.write_bytes(data[: int(len(data) * share) | 1])
    assert said(path)[0], f"{kind}: in silence"


@pytest.mark.parametrize("tail", [bytes(1000), b"<!-- what a server put after the end, longer than any header -->"])
def test_bytes_after_the_end_are_no_cut(whole, tmp_path, tail):
    kind, data, _ = whole
    path = tmp_path / "longer"
    path.write_bytes(data + tail)
    assert not ending(path).sure or (kind == "ivf" and tail[0])


@pytest.mark.parametrize("kind", ["avi", "matroska", "webm", "flv", "asf", "ogg", "mpegts", "fragments", "ivf", "gif"])
def test_what_is_written_to_a_pipe_is_whole_and_its_cut_is_not(tmp_path, kind):
    pipe = Pipe()
    write(pipe, kind)
    path = tmp_path / "clip"
    path.write_bytes(pipe.data)
    assert (ending(path).lacking, said(path)) == ("", ("", COUNT))
    path.write_bytes(pipe.data[: len(pipe.data) * 2 // 3 | 1])
    assert said(path)[0]


# --- AVI


@pytest.fixture
def avi(tmp_path):
    path = tmp_path / "clip.avi"
    write(str(path), "avi")
    return path, bytearray(path.read_bytes())


@pytest.mark.parametrize("more", [1, 8, 5000])
def test_a_riff_said_to_be_longer_is_whole_if_its_frames_are(avi, more):
    path, data = avi
    data[4:8] = struct.pack("<I", len(data) - 8 + more)
    path.write_bytes(data)
    assert said(path) == ("", COUNT)


def test_an_index_that_is_not_there_is_no_loss(avi):
    path, data = avi
    path.write_bytes(data[: data.rindex(b"idx1")])
    assert said(path) == ("", COUNT)


def test_a_list_of_frames_a_few_bytes_too_long_is_no_cut(avi):
    path, data = avi
    at = data.index(b"movi") - 4
    end = data.rindex(b"idx1")
    data = data[:end]
    data[at : at + 4] = struct.pack("<I", len(data) - at - 4 + 8)
    path.write_bytes(data)
    assert ending(path).lacking == ""
    data[at : at + 4] = struct.pack("<I", len(data) - at - 4 + 800)
    path.write_bytes(data)
    assert ending(path).sure


def test_several_riffs_in_a_row(avi):
    path, data = avi
    more = b"RIFF" + struct.pack("<I", 4 + 12 + 8 + 40) + b"AVIX" + b"LIST" + struct.pack("<I", 4 + 8 + 40) + b"movi"
    data += more + b"00dc" + struct.pack("<I", 40) + bytes(40)
    path.write_bytes(data)
    assert ending(path).lacking == ""
    path.write_bytes(data[:-10])
    assert ending(path).sure


def test_a_hole_of_zeros_is_a_fault(avi):
    path, data = avi
    start = data.index(b"movi") + (len(data) - data.index(b"movi")) // 2
    path.write_bytes(data[:start] + bytes(len(data) - start))
    text, count = said(path)
    assert count < COUNT
    assert "the header says 0.80 s" in text


# --- other containers by hand


def box(kind, body=b"", size=None):
    return struct.pack(">I4s", 8 + len(body) if size is None else size, kind) + body


LARGE = struct.pack(">I4sQ", 1, b"mdat", 116) + bytes(100)
FTYP = box(b"ftyp", b"isom")
LIVE = b"\x1a\x45\xdf\xa3\x80" + b"\x18\x53\x80\x67\x01" + b"\xff" * 7 + b"\x1f\x43\xb6\x75\xff" + b"\xe7\x81\0"


@pytest.mark.parametrize(
    ("data", "sure"),
    [
        (FTYP + box(b"moov") + box(b"mdat", bytes(100)), False),
        (FTYP + box(b"moov") + LARGE, False),
        (FTYP + box(b"moov") + LARGE[:60], True),
        (FTYP + box(b"moov") + box(b"mdat", bytes(100), size=0), False),
        (FTYP + box(b"mdat", bytes(100), size=5), False),
        (FTYP + box(b"mdat", bytes(100)), True),
        (FTYP + b"\0\0\0", True),
        (box(b"wide") + box(b"mdat", bytes(9)) + box(b"moov", bytes(9)), False),
        (box(b"wide") + box(b"mdat", bytes(9)) + box(b"moov", bytes(9))[:-1], True),
        (b"RIFF" + struct.pack("<I", 4) + b"AVI ", False),
        (b"RIFF" + struct.pack("<I", 4_000_000_000) + b"AVI ", True),
        (b"RIFF\0\0", False),
        (LIVE + b"\xa3\x84" + bytes(4), False),
        (LIVE + b"\xa3\x84" + bytes(3), True),
        (b"", False),
        (b"To be or not to be\n" * 99, False),
    ],
)
def test_what_a_few_headers_say(tmp_path, data, sure):
    path = tmp_path / "clip"
    path.write_bytes(data)
    assert ending(path).sure is sure


def test_a_file_of_nothing_but_headers_does_not_keep_anybody(tmp_path, monkeypatch):
    monkeypatch.setattr("araflow.media._ending._MOST_LOOKS", 100)
    path = tmp_path / "clip"
    path.write_bytes(FTYP + box(b"free") * 200 + box(b"mdat", size=1 << 20))
    assert not ending(path).lacking


def test_the_end_of_an_edit_list_is_no_end_of_the_file(tmp_path):
    """The header counts frames that a cutter left out."""
    path = tmp_path / "clip.mp4"
    write(str(path), "mp4")
    data = bytearray(path.read_bytes())
    at = data.index(b"elst") + 12
    data[at : at + 8] = struct.pack(">Ii", 400, 4096)  # of 800 ms: 400 from the ninth frame on
    path.write_bytes(data)
    info, frames = video.read(path)
    assert sum(1 for _ in frames) < COUNT
    assert info.faults == []


def test_no_real_clip_gets_a_word(real_data):
    assert [path.name for path in (real_data / "clips").iterdir() if ending(path).lacking] == []
