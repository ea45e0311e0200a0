import itertools
import struct
import subprocess
import sys
import zlib
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

import araflow
from araflow.core.clip import REASONS
from araflow.core.errors import ClipError
from araflow.media import images, source_files, video


def picture(index, width, height):
    """A smooth scene with a bright bar that tells the frame's number."""
    y, x = np.mgrid[0:height, 0:width]
    scene = np.dstack([x * 2 + index * 3, y * 2, (x + y) // 2 + 40]) % 200
    scene[:, (index * 4) % width :][:, :4] = 255
    return scene.astype(np.uint8)


def encode(path, count=12, size=(96, 64), codec="mpeg4", options=None, **tags):
    """Write a clip with a real codec; returns its path."""
    width, height = size
    with av.open(str(path), "w", options=options or {}) as container:
        container.metadata.update(tags)
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height = size
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.bit_rate = 2_000_000
        container.start_encoding()
        for index in range(count):
            frame = av.VideoFrame.from_ndarray(picture(index, width, height), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def mjpeg(path, sizes):
    """An AVI whose JPEG frames have these sizes, whatever its header says."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        (stream.width, stream.height), stream.pix_fmt = sizes[0], "yuvj420p"
        for index, (width, height) in enumerate(sizes):
            jpeg = cv2.imencode(".jpg", picture(index, width, height))[1].tobytes()
            packet = av.Packet(jpeg)
            packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(1, 25), True
            packet.pts = packet.dts = index
            container.mux(packet)
    return path


def audio(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        stream.layout = "mono"
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), format="s16", layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    return path


def patch(path, change):
    """Rewrite a file by ``change(bytearray)``."""
    data = bytearray(path.read_bytes())
    change(data)
    path.write_bytes(data)
    return path


def set_avi_frame_count(path, count):
    """Lie in both places where an AVI header counts frames: avih's dwTotalFrames and strh's dwLength."""

    def change(data):
        for chunk, offset in ((b"avih", 16), (b"strh", 32)):
            place = data.index(chunk) + 8 + offset
            data[place : place + 4] = struct.pack("<I", count)

    return patch(path, change)


def decode(source):
    """Everything in memory: the header's word, and copies of the frames."""
    info, frames = video.read(source)
    return info, [frame.copy() for frame in frames]


def reason(source):
    with pytest.raises(ClipError) as caught:
        decode(source)
    assert caught.value.code in REASONS
    assert str(source) not in caught.value.detail, "a reason must not differ from machine to machine"
    return caught.value.code


has_h264 = pytest.mark.skipif("libx264" not in av.codecs_available, reason="this PyAV has no H.264 encoder")

# --- decoding


@pytest.mark.parametrize("size", [(96, 64), (65, 97)], ids=["even", "odd"])
@pytest.mark.parametrize("name", ["mpeg4.avi", "mjpeg.avi", "mpeg4.mp4", "mpeg4.mkv"])
def test_n_frames_in_n_frames_out(tmp_path, name, size):
    codec = name.partition(".")[0]
    info, frames = decode(encode(tmp_path / name, 12, size, codec))
    assert len(frames) == 12
    assert (info.width, info.height, info.fps, info.complaints) == (*size, 25.0, [])
    for index, frame in enumerate(frames):
        assert (frame.dtype, frame.shape) == (np.uint8, (size[1], size[0], 3))
        assert np.abs(frame.astype(int) - picture(index, *size)).mean() < 12, f"frame {index} is another picture"


@has_h264
@pytest.mark.parametrize("options", [{}, {"movflags": "faststart"}], ids=["moov-last", "moov-first"])
def test_h264_with_reordered_frames_comes_in_display_order(tmp_path, options):
    path = encode(tmp_path / "clip.mp4", 20, codec="libx264", options=options)
    with av.open(str(path)) as container:
        assert any(f.pict_type == av.video.frame.PictureType.B for f in container.decode(video=0)), "B-frames are here"
    _, frames = decode(path)
    assert len(frames) == 20
    for index, frame in enumerate(frames):
        errors = [np.abs(frame.astype(int) - picture(k, 96, 64)).mean() for k in range(20)]
        assert int(np.argmin(errors)) == index


def test_channels_are_red_green_blue(tmp_path):
    red = np.zeros((64, 96, 3), np.uint8)
    red[..., 0] = 255
    with av.open(str(tmp_path / "red.avi"), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(red, format="rgb24")))
        container.mux(stream.encode())
    cv2.imwrite(str(tmp_path / "red.png"), red[..., ::-1])
    for source in (tmp_path / "red.avi", tmp_path):
        _, (frame,) = decode(source)
        assert np.abs(frame.astype(int) - red).max() < 12


def test_pixels_are_those_of_opencvs_own_reader(real_data):
    for path in sorted((real_data / "clips").iterdir()):
        reader = cv2.VideoCapture(str(path))
        _, frames = video.read(path)
        for index, frame in enumerate(frames):
            if index % 25 == 0:
                there, theirs = reader.read()
                assert there
                np.testing.assert_array_equal(frame, theirs[..., ::-1], err_msg=f"{path.name} frame {index}")
            else:
                reader.grab()
        assert not reader.read()[0]
        reader.release()


@pytest.mark.parametrize(
    ("name", "header", "frames", "size", "fps"),
    [
        ("Crash_walk_f_cm_np1_ri_med_0.avi", 258, 257, (560, 240), 30.0),
        ("AdvancedBoxingTechniquesandExercises_punch_u_nm_np1_ba_med_23.avi", 173, 172, (320, 240), 30.0),
        ("v_BaseballPitch_g01_c01.avi", 107, 107, (320, 240), 30000 / 1001),
        ("abseiling_k400.mp4", 250, 250, (454, 256), 25.0),
    ],
)
def test_real_clips(real_data, name, header, frames, size, fps):
    info, decoded = video.read(real_data / "clips" / name)
    assert sum(1 for _ in decoded) == frames
    assert (info.header_frames, info.width, info.height, info.complaints) == (header, *size, [])
    assert info.fps == pytest.approx(fps, rel=1e-6)


def test_frames_stream(tmp_path):
    """Not one frame is decoded before it is asked for, and closing early closes the file."""
    path = encode(tmp_path / "clip.avi", 12)
    _, frames = video.read(path)
    before = len(list(Path("/proc/self/fd").iterdir())) if sys.platform == "linux" else None
    next(frames)
    frames.close()
    with pytest.raises(StopIteration):
        next(frames)
    if before is not None:
        assert len(list(Path("/proc/self/fd").iterdir())) == before - 1


def test_two_clips_can_be_read_by_turns(tmp_path):
    first, second = encode(tmp_path / "a.avi", 6), encode(tmp_path / "b.avi", 6, (48, 48))
    (_, one), (_, two) = video.read(first), video.read(second)
    shapes = [(a.shape, b.shape) for a, b in zip(one, two, strict=True)]
    assert shapes == [((64, 96, 3), (48, 48, 3))] * 6


# --- headers


@pytest.mark.parametrize("count", [1, 5, 13, 40, 100_000])
def test_the_header_may_lie_about_the_number_of_frames(tmp_path, count):
    info, frames = decode(set_avi_frame_count(encode(tmp_path / "clip.avi", 12), count))
    assert info.header_frames == count
    assert len(frames) == 12


def make_tag_invalid(path, tag):
    return patch(path, lambda data: data.__setitem__(data.index(tag) + 2, 0x8C))


def fails_by_default(path):
    if int(av.__version__.split(".")[0]) >= 19:
        return  # it takes any bytes
    with pytest.raises(UnicodeDecodeError), av.open(str(path)) as container:
        _ = [stream.metadata for stream in container.streams]


def test_metadata_that_is_not_utf8_is_no_obstacle(tmp_path):
    path = make_tag_invalid(encode(tmp_path / "clip.avi", 12, title="a title"), b"a title")
    fails_by_default(path)
    assert len(decode(path)[1]) == 12


def test_the_real_strn_tag_that_is_not_utf8_is_no_obstacle(real_data, tmp_path):
    source = (real_data / "clips" / "Crash_walk_f_cm_np1_ri_med_0.avi").read_bytes()
    path = tmp_path / "Crash.avi"
    path.write_bytes(source)

    def third_byte_from_the_end(data):
        place = data.index(b"strn")
        (length,) = struct.unpack_from("<I", data, place + 4)
        data[place + 8 + length - 3] = 0x8C

    fails_by_default(patch(path, third_byte_from_the_end))
    assert sum(1 for _ in video.read(path)[1]) == 257


# --- files that are no clips


def test_an_empty_file(tmp_path):
    (tmp_path / "clip.avi").touch()
    assert reason(tmp_path / "clip.avi") == "empty"


@pytest.mark.parametrize(
    "content", [b"To be or not to be\n" * 400, b"RIFF", b"\0" * 5000, b"\xff" * 5000, b"<html>" * 99]
)
@pytest.mark.parametrize("suffix", [".avi", ".mp4"])
def test_something_else_by_a_videos_name(tmp_path, content, suffix):
    path = tmp_path / f"clip{suffix}"
    path.write_bytes(content)
    assert reason(path) == "not-a-video"


def test_sound_without_pictures(tmp_path):
    assert reason(audio(tmp_path / "clip.avi")) == "not-a-video"


def test_a_codec_that_nobody_knows(tmp_path):
    def change(data):
        for name in (b"FMP4", b"fmp4"):
            while (place := data.find(name)) >= 0:
                data[place : place + 4] = b"QQQQ"

    assert reason(patch(encode(tmp_path / "clip.avi"), change)) in ("not-a-video", "decode-error")


def test_a_file_that_is_not_there_is_not_the_clips_fault(tmp_path):
    with pytest.raises(FileNotFoundError):
        video.read(tmp_path / "clip.avi")


def test_no_frames_and_one_frame(tmp_path):
    info, frames = decode(encode(tmp_path / "none.avi", 0))
    assert frames == []
    assert (info.width, info.height, info.header_frames) == (96, 64, None)
    assert len(decode(encode(tmp_path / "one.avi", 1))[1]) == 1


def test_a_size_that_changes_midway(tmp_path):
    path = mjpeg(tmp_path / "clip.avi", [(64, 48)] * 3 + [(80, 48)] * 2)
    info, frames = video.read(path)
    with pytest.raises(ClipError, match=r"^size-change: 64x48 becomes 80x48 at frame 3$"):
        for _ in frames:
            pass
    assert (info.width, info.height) == (64, 48)


def test_a_frame_too_large_to_be_one_is_refused(tmp_path, monkeypatch):
    path = encode(tmp_path / "clip.avi", 3, (64, 48))
    monkeypatch.setattr(images, "MOST_PIXELS", 64 * 48)
    assert len(decode(path)[1]) == 3
    monkeypatch.setattr(images, "MOST_PIXELS", 64 * 48 - 1)
    assert reason(path) == "frame-size"


def test_the_first_frames_size_counts_and_not_the_headers(tmp_path):
    path = encode(tmp_path / "clip.avi", 3, (64, 48))

    def change(data):  # strf holds a BITMAPINFOHEADER: size, width, height
        place = data.index(b"strf") + 8 + 4
        data[place : place + 8] = struct.pack("<ii", 640, 480)

    info, frames = decode(patch(path, change))
    assert (info.width, info.height) == (64, 48)
    assert {frame.shape for frame in frames} == {(48, 64, 3)}


@pytest.fixture
def damaged(tmp_path):
    def zero_a_piece(data):
        place = data.index(b"00dc", data.index(b"movi") + 100) + 8  # the second frame's packet
        data[place + 30 : place + 130] = bytes(100)

    return patch(encode(tmp_path / "damaged.avi", 12), zero_a_piece)


def test_damage_is_noted(damaged):
    info, frames = decode(damaged)
    assert frames
    assert info.complaints
    assert all(complaint == complaint.strip() for complaint in info.complaints)


def test_what_is_noted_does_not_depend_on_the_clips_before(damaged, tmp_path):
    expected = decode(damaged)[0].complaints
    # By default PyAV holds repeated lines back and hands out their number with the next line, whoever's that is.
    assert not any("repeated" in complaint for complaint in expected + decode(damaged)[0].complaints)
    assert len(expected) == len(set(expected))
    assert decode(damaged)[0].complaints == expected
    whole = encode(tmp_path / "whole.avi", 12)
    assert decode(whole)[0].complaints == []
    assert decode(damaged)[0].complaints == expected
    assert decode(whole)[0].complaints == []


@pytest.mark.parametrize("settings", [(None, True), (av.logging.PANIC, False)])
def test_clips_read_by_turns_keep_their_own_complaints(damaged, tmp_path, settings):
    expected = decode(damaged)[0].complaints
    before = av.logging.get_level(), av.logging.get_skip_repeated()
    av.logging.set_level(settings[0])
    av.logging.set_skip_repeated(settings[1])
    whole, frames = video.read(encode(tmp_path / "whole.avi", 20))
    broken, broken_frames = video.read(damaged)
    for _ in itertools.zip_longest(frames, broken_frames):
        assert (av.logging.get_level(), av.logging.get_skip_repeated()) == settings
    assert broken.complaints == expected
    assert whole.complaints == []
    av.logging.set_level(before[0])
    av.logging.set_skip_repeated(before[1])


# --- truncation


@pytest.mark.parametrize("kept", [12, 13, 100, 0.25, 0.5, 0.9, -1])
def test_a_cut_avi_is_told_by_its_header(tmp_path, kept):
    path = encode(tmp_path / "clip.avi", 12)
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data))] if isinstance(kept, float) else data[:kept])
    assert reason(path) == "truncated"


@pytest.mark.parametrize("options", [{}, {"movflags": "faststart"}], ids=["moov-last", "moov-first"])
@pytest.mark.parametrize("kept", [12, 30, 60, 0.25, 0.5, 0.9, -1])
def test_a_cut_mp4_is_told_by_its_boxes(tmp_path, options, kept):
    path = encode(tmp_path / "clip.mp4", 12, options=options)
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data))] if isinstance(kept, float) else data[:kept])
    assert reason(path) == "truncated"


@pytest.mark.parametrize("suffix", [".avi", ".mp4"])
def test_no_cut_anywhere_passes_for_a_whole_clip(tmp_path, suffix):
    path = encode(tmp_path / f"clip{suffix}", 6, (48, 32))
    data = path.read_bytes()
    for kept in range(0, len(data), max(1, len(data) // 60)):
        path.write_bytes(data[:kept])
        assert reason(path) in ("empty", "not-a-video", "truncated"), f"cut at {kept} of {len(data)}"


def test_bytes_after_the_end_do_no_harm(tmp_path):
    for name in ("clip.avi", "clip.mp4"):
        path = encode(tmp_path / name, 12)
        path.write_bytes(path.read_bytes() + bytes(1000))
        assert len(decode(path)[1]) == 12


def test_no_cut_or_flip_of_a_clip_crashes_the_process(tmp_path):
    """In a process of its own, so that a native crash is a failure here and not the end of the tests."""
    for name in ("clip.avi", "clip.mp4"):
        encode(tmp_path / name, 6, (48, 32))
    script = """
import random, sys
from pathlib import Path
from araflow.media import images, source_files, video
from araflow.core.errors import ClipError
work = Path(sys.argv[1])
for name in ("clip.avi", "clip.mp4"):
    data, target = (work / name).read_bytes(), work / ("mutant" + name[-4:])
    for seed in range(60):
        dice, mutant = random.Random(seed), bytearray(data)
        for _ in range(dice.choice((1, 4, 40))):
            mutant[dice.randrange(len(mutant))] = dice.randrange(256)
        target.write_bytes(mutant)
        try:
            info, frames = video.read(target)
            for frame in frames:
                assert frame.shape == (info.height, info.width, 3)
        except ClipError as error:
            assert error.code and error.detail
"""
    root = Path(araflow.__file__).parent.parent
    run = subprocess.run(
        [sys.executable, "-c", script, tmp_path], capture_output=True, text=True, timeout=100, cwd=root
    )
    assert run.returncode == 0, run.stderr[-2000:]


# --- folders of frames


def write_frames(folder, names, size=(40, 30)):
    folder.mkdir(exist_ok=True)
    for index, name in enumerate(names):
        cv2.imwrite(str(folder / name), picture(index, *size)[..., ::-1])
    return folder


def test_a_folder_of_frames_is_read_in_natural_order(tmp_path):
    names = ["1.png", "2.png", "9.png", "10.png", "11.png", "100.png"]
    folder = write_frames(tmp_path / "clip", names)
    (folder / ".hidden.png").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("no picture")
    info, frames = decode(folder)
    assert (info.width, info.height, info.fps, info.header_frames) == (40, 30, None, 6)
    for index, frame in enumerate(frames):
        np.testing.assert_array_equal(frame, picture(index, 40, 30))


@pytest.mark.parametrize(
    "names",
    [
        ["img_1.jpg", "img_2.png", "img_10.JPG"],
        ["a2.png", "a10.png", "b1.png"],
        ["1a2.png", "1a10.png", "2a1.png"],
        ["01.png", "1.png", "001.png", "2.png"],
        ["5.png", "a.png", "²1.png", "٣.png"],
        ["f-1.png", "f-2.png", "f.png"],
    ],
)
def test_natural_order_is_total_and_independent_of_the_file_system(tmp_path, monkeypatch, names):
    for name in names:
        (tmp_path / name).touch()
    found = [path.name for path in source_files.frame_files(tmp_path)]
    assert sorted(found) == sorted(names)
    if names[0] != "01.png":
        assert found == names
    for order in (sorted(names), sorted(names, reverse=True)):
        monkeypatch.setattr(Path, "iterdir", lambda self, order=order: (self / name for name in order))
        assert [path.name for path in source_files.frame_files(tmp_path)] == found


def test_png_of_every_kind_gives_8_bit_rgb(tmp_path):
    rgb = picture(3, 40, 30)
    bgr = rgb[..., ::-1]
    gray = cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY)
    alpha = np.dstack([bgr, np.arange(1200, dtype=np.uint8).reshape(30, 40)])
    cases = {
        "rgb": (bgr, rgb),
        "rgb16": (bgr.astype(np.uint16) * 257, rgb),
        "gray": (gray, np.dstack([gray] * 3)),
        "gray16": (gray.astype(np.uint16) * 257, np.dstack([gray] * 3)),
        "alpha": (alpha, rgb),
    }
    for name, (stored, expected) in cases.items():
        folder = tmp_path / name
        folder.mkdir()
        cv2.imwrite(str(folder / "0.png"), stored)
        header = (folder / "0.png").read_bytes()[24:26]
        assert header == {"rgb": b"\x08\x02", "rgb16": b"\x10\x02", "gray": b"\x08\0", "gray16": b"\x10\0"}.get(
            name, b"\x08\x06"
        )
        _, (frame,) = decode(folder)
        assert (frame.dtype, frame.shape) == (np.uint8, (30, 40, 3))
        np.testing.assert_array_equal(frame, expected, err_msg=name)


def test_a_palette_png_gives_its_colours(tmp_path):
    folder = tmp_path / "clip"
    folder.mkdir()
    colours = np.array([[255, 0, 0], [0, 255, 0], [10, 20, 30]], np.uint8)
    indices = np.arange(12, dtype=np.uint8).reshape(3, 4) % 3

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = b"".join(b"\0" + row.tobytes() for row in indices)
    (folder / "0.png").write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 3, 8, 3, 0, 0, 0))
        + chunk(b"PLTE", colours.tobytes())
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )
    _, (frame,) = decode(folder)
    np.testing.assert_array_equal(frame, colours[indices])


def test_a_folder_whose_frames_change_size(tmp_path):
    write_frames(tmp_path, ["1.png", "2.png"])
    write_frames(tmp_path, ["10.png"], (42, 30))
    with pytest.raises(ClipError, match=r"^size-change: 40x30 becomes 42x30 at frame 2 \(10.png\)$"):
        decode(tmp_path)


def test_a_folder_without_frames(tmp_path):
    (tmp_path / "readme.txt").write_text("nothing here")
    assert reason(tmp_path) == "no-frames"


def huge_png():
    header = b"IHDR" + struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    chunks = [header, b"IDAT" + zlib.compress(bytes(100)), b"IEND"]
    packed = (struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


@pytest.mark.parametrize("which", [0, 2], ids=["first", "third"])
@pytest.mark.parametrize("damage", ["empty", "cut", "text", "huge"])
def test_a_damaged_image_is_named(tmp_path, damage, which, capfd):
    folder = write_frames(tmp_path / "clip", ["0.png", "1.png", "2.png", "3.png"])
    path = folder / f"{which}.png"
    data = path.read_bytes()
    path.write_bytes({"empty": b"", "cut": data[: len(data) // 2], "text": b"text", "huge": huge_png()}[damage])
    with pytest.raises(ClipError) as caught:
        decode(folder)
    assert caught.value.code == ("frame-size" if damage == "huge" else "decode-error")
    assert f"{which}.png" in caught.value.detail


@pytest.mark.parametrize(
    "text", ["#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{}\n#EXT-X-ENDLIST\n", "ffconcat version 1.0\nfile '{}'\n"]
)
def test_a_playlist_that_calls_itself_a_video_opens_no_other_file(tmp_path, text):
    other = tmp_path / "other.avi"
    encode(other, 5)
    path = tmp_path / "list.avi"
    path.write_text(text.format(other.name))
    with pytest.raises(ClipError) as caught:
        list(video.read(path)[1])
    assert caught.value.code == "not-a-video"
