"""``rgb.short_side``, ``rgb.format`` and what flow, records, resume and readers make of them."""

import itertools

import av
import cv2
import numpy as np
import pytest

from araflow import optical
from araflow.build import extract
from araflow.build.extract import Job
from araflow.build.plan import plan
from araflow.build.recipe import Recipe
from araflow.core.clip import Outcome
from araflow.core.files import PROOF
from araflow.core.spec_file import parse
from araflow.media import quantize
from araflow.store import checks, layout
from araflow.store.address import open_store

KEY = "walk/clip"
WIDTH, HEIGHT, COUNT = 96, 61, 6


def picture(index, width=WIDTH, height=HEIGHT):
    y, x = np.mgrid[0:height, 0:width]
    wave = 60 * np.sin((x - 1.5 * index) / 5) * np.cos((y - index) / 7)
    return np.dstack([128 + wave, 90 + wave / 2 + y / 2, 160 - wave]).astype(np.uint8)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source") / "clip"
    folder.mkdir()
    for index in range(COUNT):
        cv2.imwrite(str(folder / f"{index}.png"), picture(index)[..., ::-1])
    return folder


def recipe_of(**rgb):
    spec = parse({"name": "t", "out": "x", "rgb": rgb, "optical": {"backend": "opencv", "preset": "fastest"}})
    return Recipe.of(spec, optical.choose("opencv", "auto"))


def make(source, out, recipe, *, keep_rgb=False):
    size, checksum = extract.hash_source(source)
    return extract.make(Job(KEY, source, open_store(out), recipe, size, checksum, keep_rgb))


def stored(out, kind="rgb"):
    """The frames as any reader sees them, B, G, R or grey."""
    paths = sorted((out / "clips" / KEY / kind).iterdir())
    return [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in paths]


@pytest.mark.parametrize(
    ("rgb", "suffix", "size"),
    [
        ({"short_side": 32}, ".png", (50, 32)),  # 96 * 32 / 61 = 50.4
        ({"format": "jpeg"}, ".jpg", (96, 61)),
        ({"short_side": 40, "format": "jpeg", "jpeg_quality": 60}, ".jpg", (63, 40)),  # 62.95
        ({"short_side": 61}, ".png", (96, 61)),
        ({"short_side": 500}, ".png", (96, 61)),  # never enlarged
    ],
)
def test_flow_is_that_of_the_frames_as_they_are_stored(source, tmp_path, rgb, suffix, size):
    record = make(source, tmp_path, recipe_of(**rgb))
    assert (record.outcome, record.reason) == (Outcome.DONE, "complete")
    assert (record.width, record.height) == size
    kept = (record.short_side, record.rgb_format, record.rgb_quality)
    jpeg = rgb.get("format") == "jpeg"
    assert kept == (rgb.get("short_side"), rgb.get("format", "png"), rgb.get("jpeg_quality", 95) if jpeg else None)
    names = sorted(path.name for path in (tmp_path / "clips" / KEY / "rgb").iterdir())
    assert names == [f"{k:04d}{suffix}" for k in range(COUNT)]
    frames = stored(tmp_path)
    engine = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    for k, u_stored in enumerate(stored(tmp_path, "u")):
        grays = (cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) for frame in frames[k : k + 2])
        u, _, _ = quantize.quantize(engine.calc(*grays, None), "bound", 20.0)
        expected = cv2.imencode(".jpg", u, (cv2.IMWRITE_JPEG_QUALITY, 95))[1]
        np.testing.assert_array_equal(u_stored, cv2.imdecode(expected, cv2.IMREAD_UNCHANGED))


def test_a_scaled_frame_is_the_mean_over_the_area(source, tmp_path):
    folder = tmp_path / "even"
    folder.mkdir()
    big = np.random.default_rng(0).integers(0, 256, (2, 160, 240, 3), np.uint8)
    for index, frame in enumerate(big):
        cv2.imwrite(str(folder / f"{index}.png"), frame)
    make(folder, tmp_path / "out", recipe_of(short_side=40))
    means = big.reshape(2, 40, 4, 60, 4, 3).mean((2, 4))
    assert np.abs(np.stack(stored(tmp_path / "out")) - means).max() <= 0.5 + 1e-6


def test_jpeg_frames_have_the_quality_and_half_of_the_colours_resolution(source, tmp_path):
    make(source, tmp_path, recipe_of(format="jpeg", jpeg_quality=80))
    data = (tmp_path / "clips" / KEY / "rgb" / "0003.jpg").read_bytes()
    sampling = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420)
    expected = cv2.imencode(".jpg", picture(3)[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, 80, *sampling))[1].tobytes()
    assert data == expected
    start = data.index(b"\xff\xc0")
    assert data[start + 11] == 0x22  # brightness twice as fine as colour, both ways (ITU-T T.81, B.2.2)


@pytest.mark.parametrize("form", [{"short_side": 32}, {"format": "jpeg"}])
def test_each_form_has_a_fingerprint_and_the_default_keeps_its_own(form):
    plain, other = recipe_of(), recipe_of(**form)
    assert plain.rgb_fingerprint == "107a6a1dd04d06b9"
    assert plain.rgb_fingerprint != other.rgb_fingerprint
    assert plain.fingerprint != other.fingerprint
    assert recipe_of(jpeg_quality=50) == plain  # read for jpeg only
    assert recipe_of(format="jpeg", jpeg_quality=50).rgb_fingerprint != recipe_of(format="jpeg").rgb_fingerprint


def test_kept_jpeg_frames_give_the_flow_that_new_ones_would(source, tmp_path):
    recipe = recipe_of(format="jpeg", jpeg_quality=70, short_side=40)
    first = make(source, tmp_path, recipe)
    before = {path: path.stat().st_ino for path in (tmp_path / "clips" / KEY / "rgb").iterdir()}
    fields = [image.tobytes() for image in stored(tmp_path, "u")]
    store = open_store(tmp_path)
    store.withdraw(first)  # so that the clip is placed again
    (tmp_path / "clips" / KEY / PROOF).write_bytes(layout.encode(first))
    again = make(source, tmp_path, recipe_of(format="jpeg", jpeg_quality=70, short_side=40), keep_rgb=True)
    assert (again.outcome, again.rgb_sha256, again.width) == (Outcome.DONE, first.rgb_sha256, first.width)
    assert {path: path.stat().st_ino for path in (tmp_path / "clips" / KEY / "rgb").iterdir()} == before
    assert [image.tobytes() for image in stored(tmp_path, "u")] == fields


def test_a_clip_of_jpeg_frames_is_whole_and_its_damage_is_found(source, tmp_path):
    record = make(source, tmp_path, recipe_of(format="jpeg"))
    store = open_store(tmp_path)
    assert store.find_made(KEY) == record
    sizes = store.place.sizes(f"clips/{KEY}")
    assert layout.own_names(record, sizes) == sizes.keys() - {PROOF}
    assert checks.damage(store.place, record) == []
    frame = tmp_path / "clips" / KEY / "rgb" / "0002.jpg"
    whole = frame.read_bytes()
    frame.write_bytes(whole[:-2] + b"\0\0")
    assert checks.damage(store.place, record) == ["rgb: names and bytes are not those that were written"]


def video_of(path, count=12, rate=30):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 64, 48, "yuv420p", 2_000_000
        for index in range(count):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(index, 64, 48), format="rgb24")))
        container.mux(stream.encode())
    return path


def test_fewer_frames_of_a_second_are_the_clips_own_and_flow_is_from_one_to_the_next(tmp_path):
    clip = video_of(tmp_path / "clip.avi")
    make(clip, tmp_path / "all", recipe_of())
    record = make(clip, tmp_path / "half", recipe_of(fps=15))
    assert (record.reason, record.fps, record.rgb_fps) == ("complete", 30, 15)
    assert (record.frames, record.flows) == (6, 5)
    every, half = stored(tmp_path / "all"), stored(tmp_path / "half")
    np.testing.assert_array_equal(np.stack(half), np.stack(every[::2]))
    engine = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    u, _, _ = quantize.quantize(
        engine.calc(*(cv2.cvtColor(every[k], cv2.COLOR_BGR2GRAY) for k in (2, 4)), None), "bound", 20.0
    )
    expected = cv2.imdecode(cv2.imencode(".jpg", u, (cv2.IMWRITE_JPEG_QUALITY, 95))[1], cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(stored(tmp_path / "half", "u")[1], expected)


def test_a_frame_that_is_shown_twice_is_there_twice_and_names_are_wide_enough(tmp_path):
    record = make(video_of(tmp_path / "clip.avi"), tmp_path, recipe_of(fps=60, max_frames=7))
    frames = stored(tmp_path)
    assert (record.reason, record.frames, len(frames)) == ("complete", 7, 7)
    assert [np.array_equal(one, other) for one, other in itertools.pairwise(frames)] == [True, False] * 3


def test_a_folder_of_frames_has_no_rate_and_stays_as_it_is(source, tmp_path):
    record = make(source, tmp_path, recipe_of(fps=5))
    assert record.reason == "complete: no frame rate is known, frames are taken as they come"
    assert (record.frames, record.rgb_fps) == (COUNT, None)


def test_a_plan_counts_the_frames_and_bytes_of_the_form(tmp_path):
    (tmp_path / "videos" / "walk").mkdir(parents=True)
    for name in ("a", "b"):
        video_of(tmp_path / "videos" / "walk" / f"{name}.avi", count=24)

    def estimate(**rgb):
        dataset = {"name": "folder", "source": str(tmp_path / "videos")}
        tree = {"name": "t", "out": str(tmp_path / "out"), "dataset": dataset, "split": {"protocol": "random"}}
        return plan(parse({**tree, "rgb": rgb, "optical": {"backend": "opencv", "preset": "fastest"}})).estimate

    usual, half = estimate(), estimate(fps=15, format="jpeg", short_side=40)
    assert (usual["frames"], half["frames"]) == (48, 24)
    assert half["rgb_bytes"] < usual["rgb_bytes"] / 4
