"""``optical.also``: flow as it was computed, as .flo, .npy or a film, beside its u and v images."""

import itertools

import av
import cv2
import numpy as np
import pytest

from araflow import optical
from araflow.build import extract
from araflow.build.extract import Job
from araflow.build.recipe import Recipe
from araflow.core.clip import Outcome
from araflow.core.errors import SpecError
from araflow.core.files import PROOF
from araflow.core.spec_file import parse
from araflow.media.colours import film_colours
from araflow.media.flow_files import read_flo
from araflow.store import checks, layout
from araflow.store.address import open_store

KEY, WIDTH, HEIGHT, COUNT = "walk/clip", 65, 47, 6
ALL = ["film", "npy32", "flo", "npy16"]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source") / "clip"
    folder.mkdir()
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    for index in range(COUNT):
        wave = 128 + 60 * np.sin((x - 1.5 * index) / 5) * np.cos((y - index) / 7)
        cv2.imwrite(str(folder / f"{index}.png"), np.dstack([wave, wave / 2, 255 - wave]).astype(np.uint8))
    return folder


def recipe_of(also, **flow):
    spec = parse({"name": "t", "out": "x", "optical": {"backend": "opencv", "preset": "fastest", "also": also, **flow}})
    return Recipe.of(spec, optical.choose("opencv", "auto"))


def make(source, out, recipe, *, keep_rgb=False):
    size, checksum = extract.hash_source(source)
    return extract.make(Job(KEY, source, open_store(out), recipe, size, checksum, keep_rgb))


def folders(out):
    return {path.name for path in (out / "clips" / KEY).iterdir()} - {PROOF}


def fields_of(source):
    grays = (cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2GRAY) for path in sorted(source.iterdir()))
    engine = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    return [engine.calc(one, other, None) for one, other in itertools.pairwise(grays)]


def test_each_form_holds_the_flow_that_was_computed(source, tmp_path):
    record = make(source, tmp_path, recipe_of(ALL, bound=0.1))  # the images cut it off; nothing else does
    clip = tmp_path / "clips" / KEY
    assert record.outcome is Outcome.DONE
    assert record.also == "flo,npy16,npy32,film"
    assert folders(tmp_path) == {"rgb", "u", "v", "flo", "npy16", "npy32", "film"}
    further = [path for form in ("flo", "npy16", "npy32", "film") for path in (clip / form).iterdir()]
    assert record.also_bytes == sum(path.stat().st_size for path in further)
    expected = fields_of(source)
    for k, field in enumerate(expected):
        found, known = read_flo(clip / f"flo/{k:04d}.flo")
        assert known.all()
        np.testing.assert_array_equal(found, field)
        exact, half = (np.load(clip / f"{form}/{k:04d}.npy") for form in ("npy32", "npy16"))
        np.testing.assert_array_equal(exact, field)
        np.testing.assert_array_equal(half, field.astype(np.float16))
        assert (exact.dtype, half.dtype) == (np.float32, np.float16)
    assert len(further) == 3 * len(expected) + 1


def test_the_film_shows_every_field_in_its_colours(source, tmp_path):
    make(source, tmp_path, recipe_of(["film"]))
    with av.open(str(tmp_path / "clips" / KEY / "film" / "flow.mp4")) as film:
        assert (film.streams.video[0].codec_context.name, float(film.streams.video[0].average_rate)) == ("h264", 25)
        shown = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    fields = fields_of(source)
    assert len(shown) == len(fields)
    for picture, field in zip(shown, fields, strict=True):
        assert picture.shape == (HEIGHT + 1, WIDTH + 1, 3)  # even, as H.264 wants it
        apart = np.abs(picture[:HEIGHT, :WIDTH].astype(int) - film_colours(field))
        assert apart.mean() < 12  # of 255; another field's colours are 30 and more apart
    assert np.abs(shown[0][:HEIGHT, :WIDTH].astype(int) - film_colours(-fields[0])).mean() > 30


def test_the_same_input_gives_the_same_bytes(source, tmp_path):
    first, second = (make(source, tmp_path / name, recipe_of(ALL)) for name in "ab")
    assert (first.flow_sha256, first.also_bytes) == (second.flow_sha256, second.also_bytes)


def test_order_is_no_setting_and_none_keeps_the_fingerprint():
    assert recipe_of(ALL).fingerprint == recipe_of([*sorted(ALL), "flo"]).fingerprint != recipe_of(["flo"]).fingerprint
    plain = recipe_of([])
    assert plain.rgb_fingerprint == recipe_of(ALL).rgb_fingerprint
    assert plain.fingerprint != recipe_of(["flo"]).fingerprint
    with pytest.raises(SpecError, match=r"optical\.also.*flo"):
        recipe_of(["flow"])


def test_turned_on_and_off_later_the_frames_stay_and_the_folders_come_and_go(source, tmp_path):
    first = make(source, tmp_path, recipe_of([]))
    frames = {path: path.stat().st_ino for path in (tmp_path / "clips" / KEY / "rgb").iterdir()}
    on = make(source, tmp_path, recipe_of(["flo", "film"]), keep_rgb=True)
    assert folders(tmp_path) == {"rgb", "u", "v", "flo", "film"}
    assert (on.rgb_sha256, on.flow_bytes) == (first.rgb_sha256, first.flow_bytes)
    off = make(source, tmp_path, recipe_of([]), keep_rgb=True)
    assert folders(tmp_path) == {"rgb", "u", "v"}
    assert (off.also, off.flow_sha256) == (None, first.flow_sha256)
    assert {path: path.stat().st_ino for path in (tmp_path / "clips" / KEY / "rgb").iterdir()} == frames


@pytest.mark.parametrize("name", ["flo/0002.flo", "npy16/0002.npy", "npy32/0002.npy", "film/flow.mp4"])
def test_what_is_lost_or_damaged_is_found(source, tmp_path, name):
    record = make(source, tmp_path, recipe_of(ALL))
    store = open_store(tmp_path)
    sizes = store.place.sizes(f"clips/{KEY}")
    assert layout.own_names(record, sizes) == sizes.keys() - {PROOF}
    assert checks.damage(store.place, record) == []
    file = tmp_path / "clips" / KEY / name
    whole = file.read_bytes()
    file.write_bytes(bytes(len(whole)))
    assert any("not those that were written" in line for line in checks.damage(store.place, record))
    row = {**{name: getattr(record, name) for name in checks.COLUMNS if name != "path"}, "path": f"clips/{KEY}"}
    assert f"{name} does not decode" in list(checks.check_files(row, store.place, decode=True, deep=False))
    file.unlink()
    assert store.find_made(KEY) is None


def test_a_single_frame_is_a_single_frame_with_a_film_too(source, tmp_path):
    folder = tmp_path / "one"
    folder.mkdir()
    (folder / "0.png").write_bytes((source / "0.png").read_bytes())
    assert make(folder, tmp_path / "out", recipe_of(["film"])).reason_code == "one-frame"
