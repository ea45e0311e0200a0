"""``optical.lossless``: each flow field as it was computed, to 1/128 pixel, beside its u and v images."""

import json
from pathlib import Path

import cv2
import here
import numpy as np
import pytest
from click.testing import CliRunner
from fakes.nvof_machine import installed

from araflow import optical
from araflow.cli import main
from araflow.core.files import PROOF
from araflow.media.flow_files import decode_flow_png
from araflow.optical.backends import nvof
from araflow.store.address import open_store
from araflow.store.audit import validate
from araflow.store.layout import KINDS, LOSSLESS
from araflow.store.manifest import Manifest


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return here.videos(tmp_path_factory.mktemp("drawn"))


@pytest.fixture
def make(monkeypatch, videos, tmp_path):
    """Build the two videos into ``out``, losslessly unless told otherwise; return manifest and jobs."""

    def run(**settings):
        flow = {"backend": "opencv", "preset": "fastest", "lossless": True}
        return here.made(monkeypatch, videos, tmp_path / "out", **(flow | settings))

    return run


def grays(clip):
    """The gray frames of a clip, from its stored RGB."""
    for path in sorted((clip / "rgb").iterdir()):
        yield cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2GRAY)


def clips(manifest):
    return [(row, manifest.folder / row["path"]) for row in manifest.table.to_pylist()]


# --- what is stored


@pytest.mark.parametrize(
    ("algorithm", "quantizer", "naming"),
    [("dis", "bound", "card"), ("farneback", "max_radius", "recipe")],
)
def test_each_file_decodes_to_the_flow_within_half_a_step(make, algorithm, quantizer, naming):
    # A bound that the 8-bit images cut off at: the 16-bit files do not.
    manifest, _ = make(algorithm=algorithm, quantizer=quantizer, bound=0.25, rgb={"naming": naming})
    largest = 0
    for row, clip in clips(manifest):
        names = sorted(path.name for path in (clip / LOSSLESS).iterdir())
        assert [Path(name).stem for name in names] == sorted(path.stem for path in (clip / "u").iterdir())
        assert {Path(name).suffix for name in names} == {".png"}
        assert len(names) == row["flows"] == row["frames"] - 1
        computed = optical.load("opencv").compute(grays(clip), algorithm, "fastest")
        for name, flow in zip(names, computed, strict=True):
            stored, known = decode_flow_png((clip / LOSSLESS / name).read_bytes())
            assert known.all()
            assert stored.dtype == np.float32
            assert np.abs(stored - flow).max() <= 1 / 128
            largest = max(largest, np.abs(flow).max())
    assert largest > 0.5


def test_a_reader_of_kittis_benchmark_sees_u_v_and_known(make):
    # Its development kit: u = (first channel - 2^15) / 64; OpenCV names the channels backwards.
    manifest, _ = make()
    _, clip = clips(manifest)[0]
    name = "0000.png"
    levels = cv2.imread(str(clip / LOSSLESS / name), cv2.IMREAD_UNCHANGED)
    flow = next(iter(optical.load("opencv").compute(grays(clip), "dis", "fastest")))
    assert (levels.dtype, levels.shape) == (np.uint16, (64, 96, 3))
    assert (levels[..., 0] == 1).all()
    for channel, component in ((2, flow[..., 0]), (1, flow[..., 1])):
        assert np.abs((levels[..., channel].astype(np.float64) - 2**15) / 64 - component).max() <= 1 / 128


def test_vectors_of_an_engine_come_back_exactly(monkeypatch, videos, tmp_path):
    with installed():
        manifest, _ = here.made(
            monkeypatch, videos, tmp_path / "out", backend="nvof", lossless=True, rgb={"max_frames": 4}
        )
        for _, clip in clips(manifest):
            computed = list(nvof.compute(grays(clip), "hardware", "balanced"))
            assert len(computed) == 3
            for number, flow in enumerate(computed):
                stored, _ = decode_flow_png((clip / LOSSLESS / f"{number:04d}.png").read_bytes())
                np.testing.assert_array_equal(stored, flow)


def test_the_record_and_the_row_count_its_bytes(make):
    manifest, _ = make()
    for row, clip in clips(manifest):
        total = sum(path.stat().st_size for path in (clip / LOSSLESS).iterdir())
        assert row["lossless_bytes"] == total > 0
        assert json.loads((clip / PROOF).read_text())["lossless_bytes"] == total
        assert row["flow_bytes"] == sum(path.stat().st_size for kind in "uv" for path in (clip / kind).iterdir())
        assert sorted(path.name for path in clip.iterdir()) == [PROOF, LOSSLESS, "rgb", "u", "v"]
    assert validate(manifest) == []
    assert Manifest.read(manifest.folder).metadata["spec"]["optical"]["lossless"] is True


def test_without_it_nothing_is_stored_and_the_column_is_empty(make):
    manifest, _ = make(lossless=False)
    for row, clip in clips(manifest):
        assert row["lossless_bytes"] is None
        assert sorted(path.name for path in clip.iterdir()) == [PROOF, "rgb", "u", "v"]
    assert validate(manifest) == []
    assert "lossless" not in manifest.metadata["spec"]["optical"]


def test_it_changes_no_other_file(monkeypatch, videos, tmp_path):
    with_it, without = (
        here.made(monkeypatch, videos, tmp_path / name, backend="opencv", lossless=lossless)[0].folder / "clips"
        for name, lossless in (("with", True), ("without", False))
    )
    one, other = ({name: data for name, (_, data) in here.files(folder).items()} for folder in (with_it, without))
    extra = set(one) - set(other)
    assert extra
    assert {name.split("/")[-2] for name in extra} == {LOSSLESS}
    assert all(one[name] == data for name, data in other.items() if not name.endswith(PROOF))


# --- what validate sees


def gone(folder):
    (folder / "0001.png").unlink()
    return f"{LOSSLESS} holds "


def short(folder):
    path = folder / "0001.png"
    path.write_bytes(path.read_bytes()[:-9])
    return "lossless_bytes says "


def renamed(folder):
    (folder / "0001.png").rename(folder / "0999.png")
    return "not named as the frames"


def no_folder(folder):
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    return LOSSLESS


def other_size(folder):
    # As many bytes as before, so that only decoding tells.
    path = folder / "0001.png"
    room = path.stat().st_size
    data = cv2.imencode(".png", np.zeros((8, 8, 3), np.uint16))[1].tobytes()
    path.write_bytes(data + bytes(room - len(data)))
    return f"{LOSSLESS}/0001.png is (8, 8, 3), expected (64, 96, 3)"


def garbled(folder):
    path = folder / "0001.png"
    path.write_bytes(b"no picture".ljust(path.stat().st_size))
    return f"{LOSSLESS}/0001.png does not decode"


@pytest.mark.parametrize("damage", [gone, short, renamed, no_folder, other_size, garbled])
def test_validate_sees(make, damage):
    manifest, _ = make()
    row, clip = clips(manifest)[0]
    expected = damage(clip / LOSSLESS)
    problems = validate(manifest)
    assert problems
    assert any(expected in problem for problem in problems), problems
    assert all(problem.startswith(f"{row['key']}: ") for problem in problems)
    result = CliRunner().invoke(main, ["manifest", "validate", str(manifest.folder)])
    assert result.exit_code == 1


@pytest.mark.parametrize("damage", [gone, short, no_folder])
def test_a_clip_whose_files_are_not_whole_is_made_again(make, damage):
    manifest, _ = make()
    before = here.files(manifest.folder / "clips")
    _, clip = clips(manifest)[1]
    damage(clip / LOSSLESS)
    manifest, jobs = make()
    assert [job.key for job in jobs] == [clips(manifest)[1][0]["key"]]
    after = here.files(manifest.folder / "clips")
    assert {name: data for name, (_, data) in after.items()} == {name: data for name, (_, data) in before.items()}
    assert validate(manifest) == []


# --- turned on and off


def test_turned_on_later_the_clips_are_made_again_but_for_their_frames(make, tmp_path):
    make(lossless=False)
    before = here.files(tmp_path / "out" / "clips")
    manifest, jobs = make()
    assert [job.keep_rgb for job in jobs] == [True, True]
    after = here.files(tmp_path / "out" / "clips")
    rgb = {name for name in before if "/rgb/" in name}
    assert {name: after[name] for name in rgb} == {name: before[name] for name in rgb}, "the very same files"
    images = {name for name in before if "/u/" in name or "/v/" in name}
    assert {name: after[name][1] for name in images} == {name: before[name][1] for name in images}
    assert sum(f"/{LOSSLESS}/" in name for name in after) == sum(row["flows"] for row in manifest.table.to_pylist())
    assert validate(manifest) == []
    assert make()[1] == [], "and then it is finished"


def test_turned_off_later_the_folder_goes(make, tmp_path):
    make()
    manifest, jobs = make(lossless=False)
    assert [job.keep_rgb for job in jobs] == [True, True]
    assert not any(f"/{LOSSLESS}/" in name for name in here.files(tmp_path / "out"))
    assert validate(manifest) == []
    assert make(lossless=False)[1] == []


@pytest.mark.parametrize("field", ["lossless_bytes", "saturated"])
def test_a_clip_of_before_there_was_this_field_is_still_complete(make, field):
    manifest, _ = make(lossless=False)
    for row, clip in clips(manifest):
        proof = json.loads((clip / PROOF).read_text())
        for name in (field, "rgb_sha256", "flow_sha256", "record_sha256"):  # the digests came later
            del proof[name]
        (clip / PROOF).write_text(json.dumps(proof))
        assert open_store(manifest.folder).find_made(row["key"]) is not None
    manifest, jobs = make(lossless=False)
    assert jobs == []
    assert {row[field] for row in manifest.table.to_pylist()} == {None}


def test_an_empty_folder_does_not_pass_for_the_files(make):
    manifest, _ = make()
    row, clip = clips(manifest)[0]
    for path in (clip / LOSSLESS).iterdir():
        path.write_bytes(b"")
    assert open_store(manifest.folder).find_made(row["key"]) is None


# --- through the command, with real worker processes


def test_the_command_stores_it_too(videos, tmp_path):
    out = tmp_path / "out"
    command = ["flow", str(videos), "--out", str(out), "--backend", "opencv", "--set", "optical.lossless=true"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    for row, clip in clips(Manifest.read(out)):
        assert len(list((clip / LOSSLESS).iterdir())) == row["flows"]
        assert {path.name for path in clip.iterdir()} == {*KINDS, LOSSLESS, PROOF}
    assert CliRunner().invoke(main, ["manifest", "validate", str(out)]).exit_code == 0
