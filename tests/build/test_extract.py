import contextlib
import dataclasses
import errno
import hashlib
import json
import os
import struct
import subprocess
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from araflow import optical
from araflow.build import extract
from araflow.build import recipe as recipes
from araflow.build.extract import Job
from araflow.build.recipe import Recipe
from araflow.core.clip import REASONS, ClipRecord, Outcome
from araflow.core.errors import OutputError
from araflow.core.files import PROOF
from araflow.core.spec_file import parse
from araflow.media import quantize, video
from araflow.media.frame_form import FrameForm
from araflow.store import draft, layout
from araflow.store.address import open_store

KEY = "walk/clip"
SIZE = (64, 48)


def picture(index, width=SIZE[0], height=SIZE[1]):
    y, x = np.mgrid[0:height, 0:width]
    wave = 60 * np.sin((x - 1.5 * index) / 5) * np.cos((y - index) / 7)
    return np.dstack([128 + wave, 90 + wave / 2 + y / 2, 160 - wave]).astype(np.uint8)


def video_file(path, count=12, size=SIZE):
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        (stream.width, stream.height), stream.pix_fmt, stream.bit_rate = size, "yuv420p", 2_000_000
        container.start_encoding()
        for index in range(count):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(index, *size), format="rgb24")))
        container.mux(stream.encode())
    return path


def frame_folder(path, sizes):
    path.mkdir(parents=True)
    for index, size in enumerate(sizes):
        cv2.imwrite(str(path / f"{index}.png"), picture(index, *size)[..., ::-1])
    return path


def recipe_of(**settings):
    settings = {"optical.backend": "opencv", "optical.preset": "fastest", **settings}
    tree = {"name": "test", "out": "nowhere"}
    for key, value in settings.items():
        group, _, name = key.partition(".")
        tree.setdefault(group, {})[name] = value
    spec = parse(tree)
    return Recipe.of(spec, optical.choose(spec.optical.backend, spec.optical.algorithm))


def job_of(source, out, recipe=None, *, keep_rgb=False):
    size, checksum = extract.hash_source(source)
    return Job(KEY, source, open_store(out), recipe or recipe_of(), size, checksum, keep_rgb)


def make(source, out, recipe=None, *, keep_rgb=False):
    return extract.make(job_of(source, out, recipe, keep_rgb=keep_rgb))


def files(folder):
    """Every file below a folder: relative name to bytes."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def digest_of(*folders):
    """What docs/manifest.md says of the columns: sorted lines of a name, a zero byte, the SHA-256 of the bytes."""
    paths = sorted(path for folder in folders for path in folder.iterdir())
    lines = [f"{p.parent.name}/{p.name}\0{hashlib.sha256(p.read_bytes()).hexdigest()}\n" for p in paths]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def names(out, kind):
    return sorted(path.name for path in (out / "clips" / KEY / kind).iterdir())


def assert_nothing_lies_about(out):
    assert not (out / "clips" / KEY).exists()
    assert_work_is_empty(out)


def assert_work_is_empty(out):
    work = open_store(out).work
    assert not work.exists() or not list(work.iterdir())


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return video_file(tmp_path_factory.mktemp("source") / "clip.avi")


# --- a clip is made


@pytest.mark.parametrize("quantizer", ["bound", "max_radius"])
def test_the_files_are_what_a_plain_script_makes(clip, tmp_path, quantizer):
    recipe = recipe_of(**{"optical.quantizer": quantizer, "optical.bound": 4.0, "optical.jpeg_quality": 80})
    record = make(clip, tmp_path, recipe)
    frames = [frame.copy() for frame in video.read(clip)[1]]
    folder = tmp_path / "clips" / KEY
    assert sorted(path.name for path in folder.iterdir()) == [PROOF, "rgb", "u", "v"]
    assert names(tmp_path, "rgb") == [f"{k:04d}.png" for k in range(12)]
    assert names(tmp_path, "u") == names(tmp_path, "v") == [f"{k:04d}.jpg" for k in range(11)]
    engine = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    for k, rgb in enumerate(frames):
        stored = cv2.imread(str(folder / f"rgb/{k:04d}.png"))
        np.testing.assert_array_equal(stored[..., ::-1], rgb)
        if k + 1 < len(frames):
            following = cv2.imread(str(folder / f"rgb/{k + 1:04d}.png"))
            grays = (cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY) for bgr in (stored, following))
            u, v, radius = quantize.quantize(engine.calc(*grays, None), quantizer, 4.0)
            for kind, image in (("u", u), ("v", v)):
                expected = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, 80))[1].tobytes()
                assert (folder / f"{kind}/{k:04d}.jpg").read_bytes() == expected
            assert record.radii is None or record.radii[k] == radius
    assert (record.radii is None) == (quantizer == "bound")
    assert record.radii is None or len(record.radii) == 11


def test_the_record_tells_what_was_made(clip, tmp_path):
    recipe = recipe_of()
    record = make(clip, tmp_path, recipe)
    folders = {kind: tmp_path / "clips" / KEY / kind for kind in layout.KINDS}
    sizes = {kind: sum(path.stat().st_size for path in folder.iterdir()) for kind, folder in folders.items()}
    assert record == ClipRecord(
        key=KEY,
        outcome=Outcome.DONE,
        reason="complete",
        source_bytes=clip.stat().st_size,
        source_sha256=hashlib.sha256(clip.read_bytes()).hexdigest(),
        width=64,
        height=48,
        rotation=0,
        mirrored=False,
        rgb_format="png",
        fps=25.0,
        header_frames=12,
        frames=12,
        flows=11,
        rgb_bytes=sizes["rgb"],
        flow_bytes=sizes["u"] + sizes["v"],
        rgb_sha256=digest_of(folders["rgb"]),
        flow_sha256=digest_of(folders["u"], folders["v"]),
        backend="opencv",
        algorithm="dis",
        preset="fastest",
        flow_parameters=json.dumps(dict(optical.load("opencv").parameters("dis", "fastest")), sort_keys=True),
        quantizer="bound",
        bound=20.0,
        jpeg_quality=95,
        radii=None,
        saturated=0.0,
        damaged=False,
        fingerprint=recipe.fingerprint,
        rgb_fingerprint=recipe.rgb_fingerprint,
        software=extract.software(),
    )
    assert_work_is_empty(tmp_path)


@pytest.mark.parametrize(("quantizer", "bound"), [("bound", 0.5), ("bound", 2.0), ("max_radius", 0.5)])
def test_the_record_tells_how_much_of_the_flow_is_saturated(clip, tmp_path, quantizer, bound):
    recipe = recipe_of(**{"optical.quantizer": quantizer, "optical.bound": bound})
    record = make(clip, tmp_path, recipe)
    grays = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in video.read(clip)[1]]
    flows = np.stack([flow.copy() for flow in optical.load("opencv").compute(grays, "dis", "fastest")])
    expected = 0.0 if quantizer == "max_radius" else (np.abs(flows) > bound).mean()
    assert record.saturated == pytest.approx(expected, abs=1e-12)
    assert (record.saturated > 0) == (quantizer == "bound")


@pytest.mark.parametrize("quantizer", ["bound", "max_radius"])
def test_the_record_survives_as_json_and_proves_the_clip(clip, tmp_path, quantizer):
    record = make(clip, tmp_path, recipe_of(**{"optical.quantizer": quantizer}))
    stored = json.loads((tmp_path / "clips" / KEY / PROOF).read_text())
    assert ClipRecord.from_json(stored) == record
    assert ClipRecord.from_json(json.loads(json.dumps(record.to_json()))) == record
    assert open_store(tmp_path).find(KEY, record.fingerprint) == record
    assert open_store(tmp_path).find(KEY, "another") is None
    (tmp_path / "clips" / KEY / "v" / "0003.jpg").unlink()
    assert open_store(tmp_path).find(KEY) is None, "a clip that lost a file is not complete"


def test_a_preset_is_recorded_only_where_it_means_something(clip, tmp_path):
    assert make(clip, tmp_path, recipe_of(**{"optical.algorithm": "farneback"})).preset is None


def test_the_same_input_and_recipe_give_the_same_bytes(clip, tmp_path):
    for out in ("a", "b"):
        make(clip, tmp_path / out)
    assert files(tmp_path / "a") == files(tmp_path / "b")


@pytest.mark.parametrize("size", [(65, 97), (97, 65)])
def test_odd_sizes_stay(tmp_path, size):
    record = make(video_file(tmp_path / "odd.avi", 4, size), tmp_path)
    assert (record.outcome, record.width, record.height) == (Outcome.DONE, *size)
    for kind, name in (("rgb", "0000.png"), ("u", "0000.jpg"), ("v", "0002.jpg")):
        assert cv2.imread(str(tmp_path / "clips" / KEY / kind / name)).shape == (size[1], size[0], 3)


def test_a_folder_of_frames_is_a_clip(tmp_path):
    source = frame_folder(tmp_path / "in", [SIZE] * 11)  # 0.png to 10.png: natural order differs from plain order
    record = make(source, tmp_path / "out")
    assert (record.outcome, record.frames, record.flows, record.fps) == (Outcome.DONE, 11, 10, None)
    last = cv2.imread(str(tmp_path / "out" / "clips" / KEY / "rgb" / "0010.png"))
    np.testing.assert_array_equal(last[..., ::-1], picture(10))


def test_flow_k_belongs_to_frames_k_and_k_plus_1(tmp_path):
    # One jump among still frames: only that pair's flow moves.
    folder = tmp_path / "in"
    folder.mkdir()
    for index in range(6):
        cv2.imwrite(str(folder / f"{index}.png"), picture(0 if index < 4 else 2)[..., ::-1])
    make(folder, tmp_path / "out", recipe_of(**{"optical.bound": 4.0}))
    moving = []
    for name in names(tmp_path / "out", "u"):
        image = cv2.imread(str(tmp_path / "out" / "clips" / KEY / "u" / name), cv2.IMREAD_GRAYSCALE)
        if np.abs(image.astype(int) - 128).max() > 5:
            moving.append(name)
    assert moving == ["0003.jpg"]


def test_damage_that_the_decoder_went_on_from_is_told(tmp_path):
    path = video_file(tmp_path / "clip.avi")
    data = bytearray(path.read_bytes())
    place = data.index(b"00dc", data.index(b"movi") + 100) + 8  # the second frame's packet
    data[place + 30 : place + 130] = bytes(100)
    path.write_bytes(data)
    record = make(path, tmp_path)
    assert record.outcome is Outcome.DONE
    assert record.reason.startswith(f"complete: {record.frames} frames; the decoder reported ")
    assert record.reason_code == "complete"


@pytest.mark.parametrize(
    ("name", "frames"),
    [
        ("Crash_walk_f_cm_np1_ri_med_0.avi", 257),
        ("AdvancedBoxingTechniquesandExercises_punch_u_nm_np1_ba_med_23.avi", 172),
        ("v_BaseballPitch_g01_c01.avi", 107),
        ("abseiling_k400.mp4", 250),
    ],
)
def test_real_clips(real_data, tmp_path, name, frames):
    record = make(real_data / "clips" / name, tmp_path)
    assert (record.outcome, record.reason) == (Outcome.DONE, "complete")
    assert (record.frames, record.flows) == (frames, frames - 1)
    counts = [len(names(tmp_path, kind)) for kind in ("rgb", "u", "v")]
    assert counts == [frames, frames - 1, frames - 1]


# --- names


def test_recipe_naming_starts_at_one(clip, tmp_path):
    make(clip, tmp_path, recipe_of(**{"rgb.naming": "recipe"}))
    assert names(tmp_path, "rgb") == [f"{k:06d}.png" for k in range(1, 13)]
    assert names(tmp_path, "u") == [f"{k:06d}.jpg" for k in range(1, 12)]


@pytest.mark.parametrize(
    ("naming", "index", "total", "expected"),
    [
        ("card", 0, 1, "0000"),
        ("card", 9999, 10_000, "9999"),
        ("card", 0, 10_001, "00000"),
        ("card", 10_000, 10_001, "10000"),
        ("recipe", 0, 1, "000001"),
        ("recipe", 0, 999_999, "000001"),
        ("recipe", 0, 1_000_000, "0000001"),
    ],
)
def test_stem(naming, index, total, expected):
    assert layout.stem(naming, index, total) == expected


def lie_about_frames(path, count):
    data = bytearray(path.read_bytes())
    for chunk, offset in ((b"avih", 16), (b"strh", 32)):
        place = data.index(chunk) + 8 + offset
        data[place : place + 4] = struct.pack("<I", count)
    path.write_bytes(data)
    assert video.read(path)[0].header_frames == (count or None)
    return path


@pytest.mark.parametrize("keep_rgb", [False, True])
@pytest.mark.parametrize("naming", ["card", "recipe"])
@pytest.mark.parametrize(
    ("count", "header"),
    [(12, n) for n in (0, 1, 5, 10, 11, 12, 13, 100, 101, 100_000)] + [(9, 12), (10, 5), (10, 12), (2, 1)],
)
def test_names_are_as_wide_as_the_decoded_clip_needs(tmp_path, monkeypatch, naming, count, header, keep_rgb):
    # With one digit as the least, 12 frames do what 10,001 do with four.
    monkeypatch.setattr(layout, "_DIGITS", {"card": 1, "recipe": 1})
    source = lie_about_frames(video_file(tmp_path / "clip.avi", count), header)
    recipe = recipe_of(**{"rgb.naming": naming, "optical.lossless": True})
    record = make(source, tmp_path, recipe)
    if keep_rgb:
        record = make(source, tmp_path, dataclasses.replace(recipe, bound=5.0), keep_rgb=True)
    assert (record.outcome, record.frames) == (Outcome.DONE, count)
    expected = [layout.stem(naming, index, count) for index in range(count)]
    assert len({len(stem) for stem in expected}) == 1
    assert names(tmp_path, "rgb") == [f"{stem}.png" for stem in expected]
    assert names(tmp_path, "u") == names(tmp_path, "v") == [f"{stem}.jpg" for stem in expected[:-1]]
    assert names(tmp_path, layout.LOSSLESS) == [f"{stem}.png" for stem in expected[:-1]]
    for index in (0, count - 1):
        stored = cv2.imread(str(tmp_path / "clips" / KEY / "rgb" / f"{expected[index]}.png"))
        assert np.abs(stored[..., ::-1].astype(int) - picture(index)).mean() < 12, "the right frame by the right name"


@pytest.mark.parametrize("limit", [2, 5, 11, 12, 13, 500])
def test_max_frames_takes_the_first_ones(clip, tmp_path, monkeypatch, limit):
    monkeypatch.setattr(layout, "_DIGITS", {"card": 1, "recipe": 1})
    make(clip, tmp_path / "all")
    record = make(clip, tmp_path / "some", recipe_of(**{"rgb.max_frames": limit}))
    count = min(limit, 12)
    assert (record.outcome, record.frames, record.flows, record.header_frames) == (Outcome.DONE, count, count - 1, 12)
    width = len(str(count - 1))
    assert names(tmp_path / "some", "rgb") == [f"{k:0{width}d}.png" for k in range(count)]
    for k in range(count - 1):
        for kind, suffix in (("rgb", "png"), ("u", "jpg"), ("v", "jpg")):
            whole = tmp_path / "all" / "clips" / KEY / kind / f"{k:02d}.{suffix}"
            part = tmp_path / "some" / "clips" / KEY / kind / f"{k:0{width}d}.{suffix}"
            assert part.read_bytes() == whole.read_bytes()


# --- rgb that is right already


def test_kept_rgb_is_the_very_same_files(clip, tmp_path):
    first = make(clip, tmp_path)
    rgb = tmp_path / "clips" / KEY / "rgb"
    inodes = {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in rgb.iterdir()}
    recipe = recipe_of(**{"optical.bound": 5.0})
    second = make(clip, tmp_path, recipe, keep_rgb=True)
    assert {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in rgb.iterdir()} == inodes
    assert second.rgb_bytes == first.rgb_bytes
    assert (second.fingerprint, second.bound) == (recipe.fingerprint, 5.0)
    assert_work_is_empty(tmp_path)
    make(clip, tmp_path / "fresh", recipe)
    assert files(tmp_path / "clips") == files(tmp_path / "fresh" / "clips"), "as if made anew"


def test_without_keep_rgb_the_earlier_clip_is_replaced(clip, tmp_path):
    make(clip, tmp_path)
    make(clip, tmp_path, recipe_of(**{"rgb.max_frames": 3}))
    assert len(names(tmp_path, "rgb")) == 3
    assert_work_is_empty(tmp_path)


@pytest.mark.parametrize("loss", ["one file", "the folder"])
def test_kept_rgb_that_is_not_whole_fails_and_touches_nothing(clip, tmp_path, loss):
    make(clip, tmp_path)
    rgb = tmp_path / "clips" / KEY / "rgb"
    if loss == "one file":
        (rgb / "0004.png").unlink()
    else:
        for path in rgb.iterdir():
            path.unlink()
        rgb.rmdir()
    before = files(tmp_path)
    record = make(clip, tmp_path, recipe_of(**{"optical.bound": 5.0}), keep_rgb=True)
    assert (record.outcome, record.reason_code) == (Outcome.FAILED, "io-error")
    assert files(tmp_path) == before
    assert_work_is_empty(tmp_path)


# --- clips that cannot be made


def empty(folder):
    (folder / "clip.avi").touch()
    return folder / "clip.avi"


def text(folder):
    (folder / "clip.avi").write_text("no video\n" * 100)
    return folder / "clip.avi"


def cut(folder):
    path = video_file(folder / "clip.avi")
    path.write_bytes(path.read_bytes()[:-2000])
    return path


def resized(folder):
    with av.open(str(folder / "clip.avi"), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        (stream.width, stream.height), stream.pix_fmt = SIZE, "yuvj420p"
        for index, size in enumerate([SIZE] * 3 + [(80, 48)]):
            packet = av.Packet(cv2.imencode(".jpg", picture(index, *size))[1].tobytes())
            packet.stream, packet.time_base, packet.pts, packet.dts = stream, Fraction(1, 25), index, index
            container.mux(packet)
    return folder / "clip.avi"


def damaged_image(folder):
    path = frame_folder(folder / "frames", [SIZE] * 4)
    (path / "2.png").write_bytes((path / "2.png").read_bytes()[:500])
    return path


BAD = {
    "empty": (empty, "empty", None, None),
    "text": (text, "not-a-video", None, None),
    "cut": (cut, "truncated", None, None),
    "no frames": (lambda folder: video_file(folder / "clip.avi", 0), "no-frames", 0, SIZE),
    "one frame": (lambda folder: video_file(folder / "clip.avi", 1), "one-frame", 1, SIZE),
    "empty folder": (lambda folder: frame_folder(folder / "frames", []), "no-frames", None, None),
    "folder of one": (lambda folder: frame_folder(folder / "frames", [SIZE]), "one-frame", 1, SIZE),
    "resized": (resized, "size-change", 3, SIZE),
    "resized folder": (lambda folder: frame_folder(folder / "frames", [SIZE, SIZE, (48, 64)]), "size-change", 2, SIZE),
    "damaged image": (damaged_image, "decode-error", 2, SIZE),
    "too small": (lambda folder: video_file(folder / "clip.avi", 5, (64, 16)), "frame-size", 1, (64, 16)),
}


@pytest.mark.parametrize(("build", "code", "frames", "size"), BAD.values(), ids=BAD)
def test_a_bad_clip_is_a_row_with_its_reason(tmp_path, build, code, frames, size):
    assert code in REASONS
    out = tmp_path / "out"
    source = build(tmp_path)
    record = make(source, out)
    assert (record.outcome, record.reason_code) == (Outcome.QUARANTINED, code)
    assert len(record.reason) > len(code) + 5, "it says what was seen"
    assert str(tmp_path) not in record.reason
    assert (record.frames, record.width, record.height) == (frames, *(size or (None, None)))
    assert not record.flows
    assert (record.rgb_bytes, record.flow_bytes, record.radii) == (None, None, None)
    assert (record.source_bytes, record.source_sha256) == extract.hash_source(source)
    assert record.fingerprint == recipe_of().fingerprint
    assert_nothing_lies_about(out)
    assert make(source, tmp_path / "again") == record
    assert ClipRecord.from_json(json.loads(json.dumps(record.to_json()))) == record


def test_a_bad_clip_leaves_an_earlier_good_one_alone(clip, tmp_path):
    make(clip, tmp_path / "out")
    before = files(tmp_path / "out")
    assert make(cut(tmp_path), tmp_path / "out").outcome is Outcome.QUARANTINED
    assert files(tmp_path / "out") == before


def test_a_source_that_went_away_fails_to_be_tried_again(clip, tmp_path):
    job = dataclasses.replace(job_of(clip, tmp_path), source=tmp_path / "gone.avi")
    record = extract.make(job)
    assert (record.outcome, record.reason) == (Outcome.FAILED, "io-error: No such file or directory")
    assert_nothing_lies_about(tmp_path)


# --- a disk that fills up


class Disk:
    """Stands in for ``open``: takes so many bytes in all, in pieces, and then fails as told."""

    def __init__(self, room, error=errno.ENOSPC, piece=None):
        self.room, self.error, self.piece = room, error, piece

    def __call__(self, *args, **kwargs):
        file = open(*args, **kwargs)  # noqa: PTH123, SIM115
        disk = self

        class Limited:
            def write(self, data):
                if not disk.room:
                    raise OSError(disk.error, os.strerror(disk.error))
                taken = file.write(data[: min(disk.room, disk.piece or disk.room)])
                disk.room -= taken
                return taken

        @contextlib.contextmanager
        def managed():
            with file:
                yield Limited()

        return managed()


@pytest.mark.parametrize("room", [0, 5_000, 40_000])
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_full_disk_ends_the_run(clip, tmp_path, monkeypatch, room, error):
    monkeypatch.setattr(draft, "open", Disk(room, error), raising=False)
    with pytest.raises(OutputError, match=f"{os.strerror(error)}: nothing more can be written"):
        make(clip, tmp_path)
    assert_nothing_lies_about(tmp_path)


def test_a_full_cache_folder_ends_a_run_into_object_storage(clip, tmp_path, monkeypatch):
    pytest.importorskip("upath", reason="needs universal-pathlib: pip install 'araflow[s3]'")
    monkeypatch.setenv("ARAFLOW_CACHE", str(tmp_path / "cache"))
    output = open_store(f"memory://full{tmp_path}/out")
    with output.session() as bound:
        job = dataclasses.replace(job_of(clip, tmp_path), store=bound)
        with monkeypatch.context() as patch:
            patch.setattr(draft, "open", Disk(5_000), raising=False)
            with pytest.raises(OutputError, match=rf"{tmp_path}/cache: .*: nothing more can be written"):
                extract.make(job)
        assert not list(bound.work.iterdir())
        assert output.place.sizes("") == {}
        made = extract.make(job)
    assert output.find(KEY) == made and made.outcome == Outcome.DONE


def test_another_write_error_fails_the_clip(clip, tmp_path, monkeypatch):
    monkeypatch.setattr(draft, "open", Disk(5_000, errno.EIO), raising=False)
    record = make(clip, tmp_path)
    assert (record.outcome, record.reason) == (Outcome.FAILED, f"io-error: {os.strerror(errno.EIO)}")
    assert record.frames
    assert_nothing_lies_about(tmp_path)


def test_no_file_is_left_half_written(clip, tmp_path, monkeypatch):
    # A write may take a part only, without an error.
    make(clip, tmp_path / "plain")
    monkeypatch.setattr(draft, "open", Disk(10**9, piece=700), raising=False)
    make(clip, tmp_path / "pieces")
    assert files(tmp_path / "pieces") == files(tmp_path / "plain")


@pytest.mark.parametrize("keep_rgb", [False, True])
def test_a_disk_too_full_for_the_proof_costs_no_earlier_clip(clip, tmp_path, monkeypatch, keep_rgb):
    first = make(clip, tmp_path)
    before = files(tmp_path)

    def full(self, record):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(draft.ClipDraft, "seal", full)
    with pytest.raises(OutputError):
        make(clip, tmp_path, recipe_of(**{"optical.bound": 5.0}), keep_rgb=keep_rgb)
    assert files(tmp_path) == before
    assert open_store(tmp_path).find(KEY) == first
    assert_work_is_empty(tmp_path)


def test_a_disk_that_is_really_full(clip, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "araflow-test", disk]
    try:
        mounted = os.geteuid() == 0 and subprocess.run(mount, capture_output=True).returncode == 0
    except (OSError, AttributeError):
        mounted = False
    if not mounted:
        pytest.skip("a small disk of its own needs root and mount")
    try:
        with pytest.raises(OutputError, match="No space left on device"):
            make(clip, disk)
        assert_nothing_lies_about(disk)
    finally:
        subprocess.run(["umount", disk], check=True)


# --- what a clip is bound to


def test_hash_of_a_file_is_its_sha256(clip):
    data = clip.read_bytes()
    assert extract.hash_source(clip) == (len(data), hashlib.sha256(data).hexdigest())


def test_hash_of_a_folder_covers_names_and_bytes_of_its_frames_alone(tmp_path):
    def sample(name):
        return frame_folder(tmp_path / name, [SIZE] * 3)

    size, expected = extract.hash_source(sample("a"))
    assert size == sum(path.stat().st_size for path in (tmp_path / "a").iterdir())
    assert extract.hash_source(sample("b")) == (size, expected), "not the folder's own name"
    (tmp_path / "b" / "notes.txt").write_text("x")
    (tmp_path / "b" / ".hidden.png").write_text("x")
    assert extract.hash_source(tmp_path / "b") == (size, expected)
    (tmp_path / "b" / "2.png").rename(tmp_path / "b" / "3.png")
    assert extract.hash_source(tmp_path / "b")[1] != expected
    one, other = sample("c") / "0.png", tmp_path / "c" / "1.png"
    swapped = other.read_bytes(), one.read_bytes()
    one.write_bytes(swapped[0])
    other.write_bytes(swapped[1])
    assert extract.hash_source(tmp_path / "c")[0] == size
    assert extract.hash_source(tmp_path / "c")[1] != expected


CHANGED = {
    "naming": "recipe",
    "max_frames": 7,
    "backend": "another",
    "algorithm": "tvl1",
    "parameters": {"patch_size": 9},
    "quantizer": "max_radius",
    "bound": 19.0,
    "jpeg_quality": 94,
    "lossless": True,
    "also": ("flo",),
    "frames": FrameForm(short_side=20),
}


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Recipe)])
def test_the_fingerprint_covers_exactly_what_matters(field):
    recipe = recipe_of()
    changed = dataclasses.replace(recipe, **{field: CHANGED.get(field, "another name")})
    assert (changed.fingerprint != recipe.fingerprint) == (field not in ("preset", "rotation"))
    assert (changed.rgb_fingerprint != recipe.rgb_fingerprint) == (field in ("naming", "max_frames", "frames"))


def test_settings_without_effect_do_not_change_the_fingerprint():
    def fingerprint(**settings):
        return recipe_of(**{f"optical.{name}": value for name, value in settings.items()}).fingerprint

    assert fingerprint() == fingerprint()
    assert fingerprint(preset="fast") != fingerprint(preset="balanced")
    assert fingerprint(algorithm="tvl1", preset="fast") == fingerprint(algorithm="tvl1", preset="balanced")
    assert fingerprint(bound=5.0) != fingerprint(bound=6.0)
    assert fingerprint(bound=5.0) == fingerprint(bound=5)
    assert fingerprint(quantizer="max_radius", bound=5.0) == fingerprint(quantizer="max_radius", bound=6.0)


@pytest.mark.parametrize(
    ("settings", "fingerprint"),
    [
        ({}, "c26b08b793e5a75c"),
        ({"algorithm": "dis"}, "c26b08b793e5a75c"),
        ({"preset": "accurate"}, "90ca46036dcd8de3"),
        ({"preset": "fast"}, "5c8fdbbdf999a80f"),
        ({"quantizer": "max_radius"}, "ed66b16b21906180"),
        ({"algorithm": "farneback"}, "e4ef9bd293e90e6b"),
        ({"algorithm": "tvl1"}, "b4643770b5e8d0cf"),
    ],
)
def test_clips_that_are_finished_stay_finished(settings, fingerprint):
    # fast, farneback and tvl1 as computed when OpenCV was the only backend, the others since DIS presets are our own.
    # A change here makes everybody's clips again: mean it.
    recipe = recipe_of(**{f"optical.{name}": value for name, value in ({"preset": "balanced"} | settings).items()})
    assert recipe.fingerprint == fingerprint
    assert recipe.rgb_fingerprint == "107a6a1dd04d06b9"


def test_a_backends_resolved_parameters_count(monkeypatch):
    before = recipe_of().fingerprint
    backend = optical.load("opencv")
    resolved = backend.parameters("dis", "fastest")
    monkeypatch.setattr(backend, "parameters", lambda algorithm, preset: {**resolved, "gradient_descent": 13})
    assert recipe_of().fingerprint != before


@pytest.mark.parametrize("name", ["_RGB_FORMAT", "_FLOW_FORMAT"])
def test_a_new_file_format_makes_clips_again(monkeypatch, name):
    before = recipe_of()
    fingerprint, rgb_fingerprint = before.fingerprint, before.rgb_fingerprint
    monkeypatch.setattr(recipes, name, getattr(recipes, name) + 1)
    assert recipe_of().fingerprint != fingerprint
    assert (recipe_of().rgb_fingerprint != rgb_fingerprint) == (name == "_RGB_FORMAT")
