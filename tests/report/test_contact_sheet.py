import cv2
import numpy as np
import pytest

from araflow.core.clip import Clip, ClipRecord, Outcome
from araflow.report import contact_sheet
from araflow.store.layout import CONTACT_SHEET
from araflow.store.manifest import Manifest


def field(u, v, size=(4, 5)):
    return np.full((*size, 2), (u, v), np.float32)


@pytest.mark.parametrize(
    ("u", "v", "colour"),
    [
        (1, 0, (255, 0, 0)),  # right: red
        (1, 1, (255, 191, 0)),  # right and down: 45 degrees, orange
        (0, 1, (128, 255, 0)),  # down: 90 degrees, yellow-green
        (-1, 0, (0, 255, 255)),  # left: red's opposite
        (0, -1, (128, 0, 255)),  # up: 270 degrees, violet
        (0, 0, (255, 255, 255)),  # rest: white
    ],
)
def test_hue_is_direction(u, v, colour):
    image = contact_sheet.flow_colours(field(7 * u, 7 * v), 7.0)
    assert (image.shape, image.dtype) == ((4, 5, 3), np.uint8)
    # Hue comes in steps of two degrees: 8.5 levels.
    assert np.abs(image.astype(int) - colour).max() <= 9
    assert (image == image[0, 0]).all()


def test_saturation_is_speed():
    colours = [contact_sheet.flow_colours(field(speed, 0), 8.0)[0, 0].tolist() for speed in (0, 2, 4, 8, 800)]
    assert [red for red, _, _ in colours] == [255] * 5
    assert [green for _, green, _ in colours] == pytest.approx([255, 191, 128, 0, 0], abs=1)
    assert [blue for _, _, blue in colours] == [green for _, green, _ in colours]


def test_without_a_speed_the_fields_own_is_taken_but_noise_is_not_magnified():
    flow = field(0, 0, (10, 10))
    flow[:5] = (12, 0)
    assert contact_sheet.flow_colours(flow)[0, 0].tolist() == [255, 0, 0]
    assert (contact_sheet.flow_colours(field(0.01, 0)) > 250).all()


@pytest.mark.parametrize("angle", np.linspace(0, 2 * np.pi, 33))
def test_every_direction_is_fully_bright(angle):
    image = contact_sheet.flow_colours(field(3 * np.cos(angle), 3 * np.sin(angle)), 3.0)
    assert image.max() == 255
    assert image.min() <= 2


# --- contact sheet

CLIPS = {"run/a": (64, 48, 12), "run/b": (64, 48, 12), "walk/(c)_ü": (48, 64, 3), "wave/d": (97, 65, 2)}
"""Key to width, height, frames."""


def manifest(folder, finished=tuple(CLIPS), radii=False):
    clips, records = [], []
    for key, (width, height, count) in CLIPS.items():
        clips.append(Clip(dataset="test", key=key, label=key.partition("/")[0]))
        if key not in finished:
            records.append(ClipRecord(key, Outcome.QUARANTINED, "truncated: cut"))
            continue
        place = folder / "clips" / key
        for kind in ("rgb", "u", "v"):
            (place / kind).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            dice = np.random.default_rng(index)
            cv2.imwrite(str(place / "rgb" / f"{index:04d}.png"), dice.integers(0, 256, (height, width, 3), np.uint8))
            for kind in ("u", "v") if index + 1 < count else ():
                cv2.imwrite(str(place / kind / f"{index:04d}.jpg"), dice.integers(0, 256, (height, width), np.uint8))
        measured = {"width": width, "height": height, "frames": count, "flows": count - 1}
        scale = {"radii": (2.0,) * (count - 1)} if radii else {"bound": 20.0}
        records.append(ClipRecord(key, Outcome.DONE, "complete", **measured, **scale))
    return Manifest.of(clips, records, labels=["run", "walk", "wave"], split_of={}, metadata={}, folder=folder)


@pytest.mark.parametrize("radii", [False, True], ids=["bound", "max_radius"])
def test_a_contact_sheet_shows_one_clip_of_each_class(tmp_path, radii):
    path = contact_sheet.write_contact_sheet(manifest(tmp_path, radii=radii))
    assert path == tmp_path / CONTACT_SHEET
    image = cv2.imread(str(path))
    # Three strips, each a caption of 24 rows and two pictures as high as the tallest (48x64 at 240 wide: 320).
    assert image.shape == (3 * (24 + 2 * 320), 4 * 240, 3)


def test_the_same_manifest_gives_the_same_picture(tmp_path):
    table = manifest(tmp_path)
    first = contact_sheet.write_contact_sheet(table).read_bytes()
    (tmp_path / CONTACT_SHEET).unlink()
    assert contact_sheet.write_contact_sheet(table).read_bytes() == first
    assert contact_sheet.write_contact_sheet(table).read_bytes() == first, "and replaces itself"


def test_unfinished_clips_are_passed_over(tmp_path):
    path = contact_sheet.write_contact_sheet(manifest(tmp_path, finished=("run/b",)))
    assert cv2.imread(str(path)).shape == (24 + 2 * 180, 4 * 240, 3)


def test_nothing_finished_gives_no_picture(tmp_path):
    assert contact_sheet.write_contact_sheet(manifest(tmp_path, finished=())) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("what", ["another", "edited", "folder", "link", "dangling"])
@pytest.mark.parametrize("finished", [(), tuple(CLIPS)])
def test_a_picture_of_the_users_stays_and_is_named(tmp_path, caplog, what, finished):
    out = tmp_path / "out"
    file, outside = out / CONTACT_SHEET, tmp_path / "precious.jpg"
    contact_sheet.write_contact_sheet(manifest(out))
    drawn = file.read_bytes()
    outside.write_bytes(drawn)
    edited = cv2.imencode(".jpg", cv2.imread(str(file))[:99])[1].tobytes()
    file.unlink()
    if what == "folder":
        file.mkdir()
    elif what in ("link", "dangling"):
        file.symlink_to(outside if what == "link" else tmp_path / "nowhere")
    else:
        file.write_bytes(edited if what == "edited" else drawn + b"a note")
    before = None if what == "folder" else str(file.readlink()) if file.is_symlink() else file.read_bytes()
    assert contact_sheet.write_contact_sheet(manifest(out, finished=finished)) is None
    after = None if file.is_dir() else str(file.readlink()) if file.is_symlink() else file.read_bytes()
    assert after == before and outside.read_bytes() == drawn
    assert ("no picture is drawn" in caplog.text) == bool(finished)


def test_araflows_own_picture_is_replaced_and_removed(tmp_path):
    table = manifest(tmp_path)
    file = contact_sheet.write_contact_sheet(table)
    first = file.read_bytes()
    assert cv2.imdecode(np.frombuffer(first, np.uint8), cv2.IMREAD_COLOR) is not None
    unsigned = first[:2] + first[2 + 4 + int.from_bytes(first[4:6], "big") - 2 :]  # as an older araflow drew it
    file.write_bytes(unsigned)
    assert contact_sheet.write_contact_sheet(table) == file
    assert file.read_bytes() == first
    contact_sheet.write_contact_sheet(manifest(tmp_path, finished=("run/b",)))
    assert file.read_bytes() != first
    contact_sheet.write_contact_sheet(manifest(tmp_path, finished=()))
    assert not file.exists()
