import json
import types

import click
import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from flo_writer import write_flo
from hypothesis import given
from hypothesis import strategies as st

from araflow import optical
from araflow.cli.flow_quality import PICTURE, REPORT, flow_quality
from araflow.core.errors import OutputError, SourceError, SpecError, UnavailableError
from araflow.core.written import LIST
from araflow.optical import Availability, Choice
from araflow.optical.quality import measure as quality
from araflow.optical.quality.measure import Errors, Setting
from araflow.optical.quality.pairs import Pair
from araflow.optical.quality.sheet import CELL, FlowSheet

PRESETS = ("fastest", "fast", "balanced", "accurate")


def field(u, v, size=(24, 32)):
    return np.full((*size, 2), (u, v), np.float32)


def pair(name="one", kind="kind", u=0.0, v=0.0, size=(24, 32)):
    image = np.random.default_rng(len(name)).integers(0, 256, size, np.uint8)
    return Pair(name, kind, image, image, field(u, v, size), np.ones(size, np.bool_))


def stub(offset=(0.0, 0.0), presets=PRESETS[:1], algorithms=("a",)):
    """A backend whose flow is known; it re-uses its array, as a backend may."""
    calls = []

    def compute(frames, algorithm, preset):
        frames, result = list(frames), None
        calls.append((algorithm, preset, len(frames)))
        for index in range(len(frames) - 1):
            if result is None:
                result = field(0, 0, frames[0].shape)
            result[:] = offset if index == 0 else 77
            yield result

    return types.SimpleNamespace(
        ALGORITHMS=algorithms,
        available=lambda: Availability(True, "a stub"),
        parameters=lambda algorithm, preset: {"preset": presets.index(preset) if preset in presets else 0},
        compute=compute,
        calls=calls,
    )


@pytest.fixture
def backends(monkeypatch):
    """Put stubs in place of the backends."""

    def place(**stubs):
        monkeypatch.setattr(optical, "load", stubs.__getitem__)
        first = next(iter(stubs))
        monkeypatch.setattr(optical, "choose", lambda name: Choice(first if name == "auto" else name, "dis", "stub"))
        return stubs

    return place


# --- errors


def test_a_constant_offset_has_its_length_as_error():
    valid = np.ones((24, 32), np.bool_)
    assert quality.errors(field(3, 4), field(0, 0), valid) == Errors(5.0, 100.0, 100.0, 0.0)
    assert quality.errors(field(3.5, -1), field(3, -1), valid) == Errors(0.5, 0.0, 0.0, 0.0)
    assert quality.errors(field(1, 1), field(1, 1), valid) == Errors(0.0, 0.0, 0.0, 0.0)


def test_outliers_are_counted_in_per_cent_beyond_each_limit():
    flow, valid = field(0, 0, (1, 10)), np.ones((1, 10), np.bool_)
    flow[0, :, 0] = [0, 0, 0.5, 1, 1.1, 2, 3, 4, 5, 50]
    found = quality.errors(flow, field(0, 0, (1, 10)), valid)
    assert found == Errors(pytest.approx(66.6 / 10), 60.0, 30.0, 10.0)


def test_only_valid_pixels_count():
    flow, valid = field(0, 0), np.zeros((24, 32), np.bool_)
    flow[:12], valid[12:] = 100, True
    assert quality.errors(flow, field(0, 0), valid).epe == 0
    with pytest.raises(ValueError, match="on 0 pixels"):
        quality.errors(flow, flow, np.zeros((24, 32), np.bool_))
    with pytest.raises(ValueError, match="cannot compare"):
        quality.errors(flow, field(0, 0, (24, 33)), valid)


# --- storing


@given(u=st.integers(-1990, 1990), v=st.integers(-1990, 1990))
def test_each_storage_keeps_a_field_within_its_own_step(u, v):
    flow, u, v = field(u / 100, v / 100), u / 100, v / 100
    # Half a step of 40/255; JPEG may move a level of a flat image by one.
    assert np.abs(quality.store(flow, "bound") - flow).max() <= 1.51 * 40 / 255
    radius = max(1.0, np.hypot(u, v))
    assert np.abs(quality.store(flow, "max_radius") - flow).max() <= 1.51 * radius / 127
    assert np.abs(quality.store(flow, "png16") - flow).max() <= 1 / 128


def test_bound_saturates_and_the_others_do_not():
    flow = field(30, 0)
    assert quality.store(flow, "bound")[..., 0].max() <= 20
    assert np.abs(quality.store(flow, "max_radius") - flow).max() < 0.5
    np.testing.assert_array_equal(quality.store(flow, "png16"), flow)


# --- measuring


def test_measuring_scores_the_first_field_of_each_pair(backends):
    stubs = backends(stub=stub(offset=(3, 4)))
    seen = []
    pairs = [pair("a", u=3, v=4), pair("bb", u=0, v=0)]
    setting = Setting("stub", "a", "fastest")
    right, wrong = quality.measure([setting], pairs, rounds=2, on_field=lambda *given: seen.append(given))
    assert right.computed == Errors(0, 0, 0, 0)
    assert wrong.computed == Errors(5, 100, 100, 0)
    assert (wrong.pair, wrong.kind, wrong.pairs, wrong.width, wrong.height) == ("bb", "kind", 1, 32, 24)
    assert list(wrong.stored) == list(quality.STORAGES)
    assert wrong.stored["png16"].epe == 5
    assert wrong.stored["bound"].epe == pytest.approx(5, abs=0.3)
    assert [(p.name, s, f[0, 0].tolist()) for p, s, f in seen] == [("a", setting, [3, 4]), ("bb", setting, [3, 4])]
    assert set(stubs["stub"].calls) == {("a", "fastest", 2), ("a", "fastest", 6)}
    assert quality.measure([setting], pairs, ["png16"], rounds=1)[0].stored.keys() == {"png16"}


@pytest.fixture
def clock(monkeypatch):
    """A clock that only the stubs move on."""
    now = [0.0]
    monkeypatch.setattr(quality, "perf_counter", lambda: now[0])
    return now


def ticking(clock, start, each):
    """A backend that takes so many seconds to start, and for each pair."""
    backend = stub()
    inner = backend.compute

    def compute(*given):
        clock[0] += start
        for flow in inner(*given):
            clock[0] += each
            yield flow

    backend.compute = compute
    return backend


def test_time_is_that_of_a_further_pair_and_starting_is_free(backends, clock):
    stubs = backends(stub=ticking(clock, 0.05, 0.004))
    (result,) = quality.measure([Setting("stub", "a", "fastest")], [pair()], rounds=3)
    assert result.ms == pytest.approx(4)
    assert [count for _, _, count in stubs["stub"].calls] == [2, 2, *[6, 2] * 3]


@pytest.mark.parametrize(("start", "each"), [(0.0, 1.5), (2.0, 0.25)], ids=["slow", "slow to start"])
def test_slow_settings_are_timed_on_fewer_pairs(backends, clock, start, each):
    stubs = backends(stub=ticking(clock, start, each))
    (result,) = quality.measure([Setting("stub", "a", "fastest")], [pair()])
    assert [count for _, _, count in stubs["stub"].calls] == [2, 2, 3]
    assert result.ms == pytest.approx(1000 * each)


def test_one_thread_while_timing_and_as_before_afterwards(backends):
    threads, watched = [], stub()
    inner = watched.compute
    watched.compute = lambda *given: (threads.append(cv2.getNumThreads()), inner(*given))[1]
    backends(stub=watched)
    before = cv2.getNumThreads()
    quality.measure([Setting("stub", "a", "fastest")], [pair()], rounds=1)
    assert set(threads[1:]) == {1}
    assert cv2.getNumThreads() == before


def test_means_weigh_pairs_equally_and_keep_kinds_apart(backends):
    backends(stub=stub())
    pairs = [pair("a", "x", u=1), pair("bb", "x", u=3), pair("ccc", "y", v=2, size=(30, 40))]
    x, y = quality.means(quality.measure([Setting("stub", "a", "fastest")], pairs, rounds=1))
    assert (x.kind, x.pair, x.pairs, x.computed.epe, x.computed.over_1) == ("x", None, 2, 2.0, 50.0)
    assert x.stored["png16"].epe == 2.0
    assert (y.kind, y.pairs, y.computed.epe, y.width, y.height) == ("y", 1, 2.0, 40, 30)
    pairs[1] = pair("bb", "x", u=3, size=(30, 40))
    assert quality.means(quality.measure([Setting("stub", "a", "fastest")], pairs, rounds=1))[0].width is None


def test_results_are_ready_for_json(backends):
    backends(stub=stub())
    (result,) = quality.measure([Setting("stub", "a", "fastest")], [pair(u=1)], rounds=1)
    read = json.loads(json.dumps(result.to_json()))
    assert read["setting"] == {"backend": "stub", "algorithm": "a", "preset": "fastest", "has_presets": True}
    assert read["computed"] == {"epe": 1.0, "over_1": 0.0, "over_3": 0.0, "over_5": 0.0}


def test_an_unknown_storage_is_refused():
    with pytest.raises(SpecError, match="storage: 'gif' is not one; allowed: bound, max_radius, png16"):
        quality.measure([], [], ["gif"])


# --- settings


def test_presets_that_come_to_the_same_are_listed_once(backends):
    backends(one=stub(presets=PRESETS[:3], algorithms=("a",)), two=stub(algorithms=("b", "c")))
    found = quality.settings(["one", "two", "one"])
    assert list(map(str, found)) == ["one a fastest", "one a fast", "one a balanced", "two b", "two c"]
    assert list(map(str, quality.settings(["one", "two"], ["c", "a"], ["balanced"]))) == ["one a balanced", "two c"]
    assert quality.settings(["auto"], [], ["fast"])[0].backend == "one"


def test_every_algorithm_of_opencv_is_found():
    found = list(map(str, quality.settings(["opencv"])))
    assert {"opencv dis fastest", "opencv dis accurate", "opencv farneback", "opencv tvl1"} <= set(found)
    assert len(found) == len(set(found))


def test_wrong_names_are_named_with_what_is_allowed():
    with pytest.raises(SpecError, match=r"'nope' is not a backend; allowed: auto, .*opencv"):
        quality.settings(["nope"])
    with pytest.raises(SpecError, match=r"algorithm: opencv has no 'nope'; allowed: .*dis"):
        quality.settings(["opencv"], ["nope"])
    with pytest.raises(SpecError, match="preset: 'nope' is not one; allowed: fastest, fast"):
        quality.settings(["opencv"], [], ["nope"])


# --- the picture


def test_the_sheet_has_a_row_per_pair_and_a_column_per_setting():
    sheet = FlowSheet()
    red, blue = pair("red", u=4, size=(120, 160)), pair("cyan", u=-4, size=(120, 160))
    for one in (red, blue):
        sheet.add(one, "first setting", one.flow)
        sheet.add(one, "second setting", field(0, 0, (120, 160)))
    image = cv2.imdecode(np.frombuffer(sheet.encode(), np.uint8), cv2.IMREAD_COLOR_RGB)
    assert image.shape == (16 + 2 * (16 + 120) + CELL // 2, 4 * CELL, 3)
    row = 16 + 16 + 60
    for column, colour in ((1, (255, 0, 0)), (2, (255, 0, 0)), (3, (255, 255, 255))):
        assert np.abs(image[row, column * CELL + 80].astype(int) - colour).max() < 12
    assert np.abs(image[row + 136, CELL + 80].astype(int) - (0, 255, 255)).max() < 12
    assert sheet.encode() == sheet.encode()


def test_where_errors_do_not_count_the_truth_is_darker():
    one = pair("red", u=4, size=(120, 160))
    one.valid[:60] = False
    sheet = FlowSheet()
    sheet.add(one, "x", one.flow)
    image = cv2.imdecode(np.frombuffer(sheet.encode(), np.uint8), cv2.IMREAD_COLOR_RGB)
    assert image[32 + 30, CELL + 80, 0] < 140 < 240 < image[32 + 90, CELL + 80, 0]
    with pytest.raises(ValueError, match="at least one field"):
        FlowSheet().encode()


# --- the command


@pytest.fixture
def folder(tmp_path):
    scene = cv2.GaussianBlur(np.random.default_rng(5).integers(0, 256, (90, 110), np.uint8), (0, 0), 2)
    scene = cv2.normalize(scene, None, 0, 255, cv2.NORM_MINMAX)
    for name, shift in (("left", -2), ("right", 3)):
        place = tmp_path / "pairs" / name
        place.mkdir(parents=True)
        cv2.imwrite(str(place / "frame10.png"), scene[9:73, 9:89])
        cv2.imwrite(str(place / "frame11.png"), scene[9:73, 9 - shift : 89 - shift])
        write_flo(place / "flow10.flo", field(shift, 0, (64, 80)))
    return tmp_path / "pairs"


def run(*arguments):
    return CliRunner().invoke(flow_quality, [*map(str, arguments), "--backend", "opencv", "--no-generated"])


def test_the_command_prints_a_table_and_writes_nothing(folder, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    result = run("--pairs", folder, "--algorithm", "dis", "--algorithm", "farneback")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert " ".join(lines[1].split()) == "backend algorithm preset kind pairs ms EPE >1 >3 >5 bound max_radius png16"
    assert [line.split()[:3] for line in lines[2:6]] == [["opencv", "dis", name] for name in PRESETS]
    assert lines[6].split()[:4] == ["opencv", "farneback", "pairs", "2"]
    assert all(float(line.split()[6]) < 0.2 for line in lines[2:6])
    assert lines[-1].startswith("5 settings on 2 pairs in ")
    assert "lowest error as stored (bound) opencv " in lines[-1]
    assert sorted(tmp_path.rglob("*")) == before


def test_the_command_writes_where_it_is_told(folder, tmp_path):
    result = run("--pairs", folder, "--algorithm", "dis", "--preset", "fast", "--out", tmp_path / "a" / "out", "--json")
    assert result.exit_code == 0, result.output
    out = tmp_path / "a" / "out"
    assert sorted(path.name for path in out.iterdir()) == [LIST, PICTURE, REPORT]
    printed = json.loads(result.stdout)
    assert printed == json.loads((out / REPORT).read_text())
    assert [one["pair"] for one in printed["pairs"]] == ["left", "right"]
    assert [one["pairs"] for one in printed["means"]] == [2]
    assert cv2.imread(str(out / PICTURE)).shape[1] == 3 * CELL


def test_generated_pairs_are_measured_by_default(monkeypatch, backends):
    backends(stub=stub())
    monkeypatch.setattr("araflow.optical.quality.pairs.generated", lambda: [pair("small-1", "small", u=1)])
    result = CliRunner().invoke(flow_quality, ["--json"])
    assert [one["kind"] for one in json.loads(result.stdout)["means"]] == ["small"]


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ([], click.UsageError, "give --pairs DIR"),
        (["--pairs", "/nowhere/at/all"], SourceError, "/nowhere/at/all: cannot be read"),
        (["--backend", "nope", "--generated"], SpecError, "allowed: auto"),
        (["--algorithm", "nope", "--generated"], SpecError, "opencv has no 'nope'"),
    ],
)
def test_wrong_options_are_named(arguments, kind, message):
    with pytest.raises(kind, match=message):
        flow_quality.main(["--backend", "opencv", "--no-generated", *arguments], standalone_mode=False)


def test_an_absent_backend_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setattr(optical.load("opencv"), "available", lambda: Availability(False, "get it so: pip install it"))
    with pytest.raises(UnavailableError, match="opencv cannot run here: get it so"):
        flow_quality.main(["--backend", "opencv"], standalone_mode=False)


def test_two_pairs_of_one_name_are_refused(folder):
    with pytest.raises(click.UsageError, match="two pairs are called left"):
        flow_quality.main(["--pairs", str(folder), "--pairs", str(folder), "--no-generated"], standalone_mode=False)


def test_an_output_folder_that_cannot_be_made_fails_before_the_work(folder, tmp_path, backends):
    stubs = backends(stub=stub())
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        flow_quality.main(
            ["--pairs", str(folder), "--out", str(tmp_path / "file" / "x"), "--no-generated"], standalone_mode=False
        )
    assert stubs["stub"].calls == []


def test_help_has_examples():
    text = CliRunner().invoke(flow_quality, ["--help"]).stdout
    assert "araflow flow-quality --backend opencv --algorithm dis --pairs middlebury/ --out quality/" in text
