"""What every optical-flow backend must do, whichever library or device is behind it.

A backend is a file in ``araflow/optical``; adding one adds it here. What it offers is found by asking it: settings that
resolve to the same parameters are tested once. Those that cannot run here are skipped with their own reason.
"""

import copy
import functools
import json
import os
import re
import shutil
import subprocess
import sys
import types
import typing
from pathlib import Path

import cv2
import numpy as np
import pytest

import araflow
from araflow import optical
from araflow.core import resources
from araflow.core.errors import ClipError, SpecError, UnavailableError
from araflow.core.spec import Algorithm, Preset
from araflow.optical import Availability, Choice
from araflow.optical.quality.measure import errors
from araflow.optical.quality.pairs import generated
from araflow.store.manifest import Manifest

BACKENDS = resources.plugins("optical/backends")


def offered(backend):
    """Each distinct (algorithm, preset) of a backend."""
    found = {}
    module = optical.load(backend)
    for algorithm in module.ALGORITHMS:
        for preset in optical.PRESETS:
            parameters = module.parameters(algorithm, preset)
            found.setdefault((algorithm, tuple(sorted(parameters.items()))), (algorithm, preset))
    return list(found.values())


ENGINES = [(backend, *setting) for backend in BACKENDS for setting in offered(backend)]


class Engine(typing.NamedTuple):
    backend: str
    algorithm: str
    preset: str

    def stream(self, frames):
        return optical.load(self.backend).compute(frames, self.algorithm, self.preset)

    def all(self, *frames):
        return [field.copy() for field in self.stream(iter(frames))]

    def one(self, first, second):
        (field,) = self.all(first, second)
        return field


def skip_if_absent(backend):
    found = optical.load(backend).available()
    if not found.present:
        pytest.skip(f"{backend}: {found.detail}")


@pytest.fixture(params=ENGINES, ids="-".join)
def engine(request):
    skip_if_absent(request.param[0])
    return Engine(*request.param)


def texture(height, width, sigma, seed=3):
    """Random, and smooth enough for every algorithm; 0 to 255."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width)).astype(np.float32)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), sigma), None, 0, 255, cv2.NORM_MINMAX)


def window(dx=0, dy=0, *, height=72, width=80):
    """A view of one big texture; the picture in it stands (dx, dy) pixels to the right and down of where it was."""
    scene = texture(160, 160, 2.5, seed=7).astype(np.uint8)
    return np.ascontiguousarray(scene[40 - dy : 40 - dy + height, 40 - dx : 40 - dx + width])


INNER = (slice(12, -12), slice(12, -12))


def test_there_is_a_backend_that_runs_anywhere():
    assert "opencv" in BACKENDS
    assert len([engine for engine in ENGINES if engine[0] == "opencv"]) == 7


@pytest.mark.parametrize("backend", BACKENDS)
def test_availability_is_a_value_with_a_reason(backend):
    found = optical.load(backend).available()
    assert isinstance(found, Availability)
    assert len(found.detail) > 5


@pytest.mark.parametrize("backend", BACKENDS)
def test_software_says_what_computes_or_would(backend):
    said = optical.load(backend).software()
    assert said == optical.load(backend).software()
    assert len(said) > 5
    assert "\n" not in said


@pytest.mark.parametrize("backend", BACKENDS)
def test_its_algorithms_are_those_that_settings_allow(backend):
    names = optical.load(backend).ALGORITHMS
    assert names
    assert len(set(names)) == len(names)
    assert set(names) <= set(typing.get_args(Algorithm)) - {"auto"}


def test_settings_allow_every_algorithm_and_no_other():
    names = optical.algorithms()
    assert names == ("hardware", "tvl1", "farneback", "brox", "dis", "deepflow")
    assert len(set(names)) == len(names)
    assert set(typing.get_args(Algorithm)) == {"auto", *names}
    assert typing.get_args(Preset) == optical.PRESETS


@pytest.mark.parametrize(("backend", "algorithm"), sorted({engine[:2] for engine in ENGINES}))
def test_an_algorithm_has_presets_or_ignores_them(backend, algorithm):
    distinct = [setting for setting in offered(backend) if setting[0] == algorithm]
    assert optical.has_presets(backend, algorithm) == (len(distinct) > 1)


# --- what a field means


def test_no_motion_is_zero(engine):
    frame = window()
    field = engine.one(frame, frame.copy())
    assert (field.dtype, field.shape) == (np.float32, (72, 80, 2))
    assert np.abs(field).max() <= 0.05


@pytest.mark.parametrize(("dx", "dy"), [(3, 0), (-2, 0), (0, 3), (0, -2)], ids=["right", "left", "down", "up"])
def test_a_shift_is_found_with_its_axis_and_sign(engine, dx, dy):
    field = engine.one(window(), window(dx, dy))[INNER]
    assert np.abs(field - (dx, dy)).mean() < 0.05
    assert np.abs(field - (dx, dy)).max() < 0.3


def test_fields_are_anchored_at_the_first_frame(engine):
    # A picture enlarged by s about its centre c moves by (s - 1)(x - c), with x in the first frame. With x in the
    # second frame it would be (1 - 1/s)(x - c): 0.25 against 0.20 per pixel.
    size, scale = 160, 1.25
    centre = (size - 1) / 2
    zoom = np.float32([[scale, 0, centre * (1 - scale)], [0, scale, centre * (1 - scale)]])
    first = texture(size, size, 5)
    second = cv2.warpAffine(first, zoom, (size, size), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    field = engine.one(first.astype(np.uint8), second.clip(0, 255).astype(np.uint8))
    inner = slice(size // 4, -size // 4)
    offset = np.arange(size)[inner] - centre
    weight = len(offset) * (offset**2).sum()
    u, v = field[inner, inner, 0], field[inner, inner, 1]
    assert (u * offset[None, :]).sum() / weight == pytest.approx(scale - 1, abs=0.015)
    assert (v * offset[:, None]).sum() / weight == pytest.approx(scale - 1, abs=0.015)


def test_a_moving_square_is_where_it_was_in_the_first_frame(engine):
    size, side, start, shift = 160, 64, 48, 8
    background, square = texture(size, size, 3, seed=5) * 0.4 + 60, texture(side, side, 4, seed=9)

    def at(x):
        frame, truth = background.copy(), np.zeros((size, size, 2))
        frame[start : start + side, x : x + side] = square
        truth[start : start + side, x : x + side] = (shift, 0)
        return frame.astype(np.uint8), truth

    (first, there), (second, moved) = at(start), at(start + shift)
    field = engine.one(first, second)
    inside = field[start + 2 : start + side - 2, start + 2 : start + side - 2]
    assert np.median(inside, axis=(0, 1)) == pytest.approx((shift, 0), abs=0.3)
    assert np.abs(field[:24, :, :]).mean() < 0.5, "the background stands still"
    assert np.abs(field - there).mean() < np.abs(field - moved).mean() - 0.01


def test_a_mirrored_scene_moves_the_other_way(engine):
    first, second = window(), window(2, 1)
    field = engine.one(first, second)[INNER]
    mirrored = engine.one(np.ascontiguousarray(first[:, ::-1]), np.ascontiguousarray(second[:, ::-1]))[:, ::-1][INNER]
    assert np.abs(mirrored - field * (-1, 1)).max() < 0.15


# --- how they come


@pytest.mark.parametrize("size", [(65, 97), (97, 65), (33, 64)])
def test_odd_sizes_keep_their_shape(engine, size):
    height, width = size
    assert engine.one(window(height=height, width=width), window(1, height=height, width=width)).shape == (*size, 2)


@pytest.mark.parametrize("count", [0, 1, 2, 4])
def test_n_frames_give_n_minus_one_fields(engine, count):
    frames = [window(k, height=48, width=48) for k in range(count)]
    assert len(engine.all(*frames)) == max(count - 1, 0)


def test_a_field_comes_before_the_next_frame_is_asked_for(engine):
    asked = []

    def frames():
        for k in range(4):
            asked.append(k)
            yield window(k, height=48, width=48)

    for k, _ in enumerate(engine.stream(frames())):
        assert asked == list(range(k + 2))
    assert len(asked) == 4


def test_a_stream_equals_its_pairs_one_by_one_and_itself(engine):
    frames = [window(dx, dy, height=48, width=56) for dx, dy in ((0, 0), (2, 0), (5, 1), (5, 1), (1, -2))]
    together = engine.all(*frames)
    assert np.abs(together[0]).max() > 1, "there is something to compare"
    for k, field in enumerate(together):
        assert field.tobytes() == engine.one(frames[k], frames[k + 1]).tobytes(), f"field {k}"
    assert [field.tobytes() for field in engine.all(*frames)] == [field.tobytes() for field in together]


def test_frames_are_only_read(engine):
    frames = [window(k, height=48, width=48) for k in range(3)]
    before = [frame.copy() for frame in frames]
    for frame in frames:
        frame.flags.writeable = False
    engine.all(*frames)
    for frame, kept in zip(frames, before, strict=True):
        np.testing.assert_array_equal(frame, kept)


SMALL = """
import sys
import cv2
import numpy as np
from araflow import optical
from araflow.core.errors import ClipError
backend, count, *settings = sys.argv[1:]
compute = optical.load(backend).compute
cv2.setNumThreads(1)
scene = np.random.default_rng(0).integers(0, 256, (60, 60), np.uint8)
scene = cv2.resize(scene, (480, 480), interpolation=cv2.INTER_CUBIC)
for setting, height, width in ((setting, *size) for setting in settings for size in (
    (1, 1), (2, 90), (32, 32), (33, 300), (300, 33), (16, 16), (12, 64), (8, 8), (9, 8), (8, 40), (11, 11), (12, 12),
    (64, 12), (13, 200), (17, 16), (24, 200), (200, 24), (31, 31), (31, 300),
)[: int(count)]):
    algorithm, preset = setting.split("-")
    frames = [np.ascontiguousarray(scene[k : k + height, k : k + width]) for k in range(3)]
    seen = set()
    for run in range(2):
        try:
            fields = [field.tobytes() for field in compute(iter(frames), algorithm, preset)]
            assert [len(field) for field in fields] == 2 * [8 * height * width]
            seen.add(b"".join(fields))
        except ClipError as error:
            assert error.code == "frame-size" and f"{width}x{height}" in error.detail, error
            seen.add(error.code)
    assert len(seen) == 1, f"{setting} {width}x{height}: two runs differ"
    print(setting, f"{width}x{height}", "refused" if seen == {"frame-size"} else "done", flush=True)
"""


def sizes_of(backend):
    return 6 if backend == "torch" else 19


@functools.cache
def small_frames(backend):
    """What a backend does with small frames under each of its settings, in a process of its own.

    OpenCV 5.0's DIS reads out of bounds on frames that its pyramid is too coarse for. What is no C++ gets fewer sizes.
    """
    settings = ["-".join(setting) for setting in offered(backend)]
    return subprocess.run(
        [sys.executable, "-c", SMALL, backend, str(sizes_of(backend)), *settings],
        capture_output=True,
        text=True,
        timeout=240,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        cwd=Path(araflow.__file__).parent.parent,
    )


def test_small_frames_are_refused_and_never_crash(engine):
    found = small_frames(engine.backend)
    assert found.returncode == 0, f"exit status {found.returncode} after:\n{found.stdout}{found.stderr[-2000:]}"
    lines = [line.split() for line in found.stdout.splitlines()]
    answers = {size: done for setting, size, done in lines if setting == f"{engine.algorithm}-{engine.preset}"}
    assert len(answers) == sizes_of(engine.backend)
    assert answers["1x1"] == answers["90x2"] == "refused"
    assert answers["300x33"] == answers["33x300"] == answers["32x32"] == "done"


def test_the_refusal_says_what_it_takes(engine):
    with pytest.raises(ClipError) as caught:
        engine.all(np.zeros((4, 300), np.uint8), np.zeros((4, 300), np.uint8))
    assert caught.value.code == "frame-size"
    assert caught.value.detail.startswith(f"300x4 frames; {engine.algorithm} ")


def wrong(engine, *frames):
    """What a clip of these frames is refused with."""
    with pytest.raises(ClipError) as caught:
        engine.all(*frames)
    return str(caught.value)


def test_the_same_fault_of_a_clip_is_the_same_reason_in_every_backend(engine):
    small = np.zeros((8, 300), np.uint8)
    for frames in ([small], [small, small], [small, window()]):
        assert re.fullmatch(
            rf"frame-size: 300x8 frames; {engine.algorithm}.* needs at least \d+ on each side", wrong(engine, *frames)
        ), "before there is a pair"
    assert wrong(engine, window(), window(width=64)) == "size-change: 80x72, then 64x72 at frame 1"
    assert wrong(engine, window(), window(1), window(height=96)) == "size-change: 80x72, then 80x96 at frame 2"
    assert wrong(engine, window(), small) == "size-change: 80x72, then 300x8 at frame 1", "and not too small"
    assert engine.all() == engine.all(window()) == [], "no pair is no fault here; the stage says one-frame"
    assert engine.one(window(), window(2)).any(), "the next clip is none the worse"


@pytest.mark.parametrize(
    "frame", [np.zeros((72, 80), np.float32), np.zeros((72, 80), np.int16), np.zeros((72, 80, 3), np.uint8)],
    ids=["float", "int16", "colour"],
)  # fmt: skip
def test_what_is_no_grayscale_frame_is_the_callers_fault(engine, frame):
    for frames in ([frame, frame], [window(), frame]):
        with pytest.raises(ValueError, match=r"expected frames as uint8 \(height, width\), found ") as caught:
            engine.all(*frames)
        assert f"{frame.dtype} {frame.shape}" in str(caught.value)


# --- settings


@pytest.mark.parametrize("backend", BACKENDS)
def test_unknown_settings_name_the_allowed_ones(backend):
    module = optical.load(backend)
    with pytest.raises(SpecError, match=rf"optical.algorithm.*'horn'.*{', '.join(module.ALGORITHMS)}"):
        module.parameters("horn", "fast")
    for algorithm in module.ALGORITHMS:
        if optical.has_presets(backend, algorithm):
            with pytest.raises(SpecError, match=r"optical.preset: 'best'.*fastest, fast, balanced, accurate"):
                module.parameters(algorithm, "best")


def test_compute_refuses_unknown_settings_too():
    with pytest.raises(SpecError, match="horn"):
        list(optical.load("opencv").compute([], "horn", "fast"))


@pytest.mark.parametrize("setting", ENGINES, ids="-".join)
def test_parameters_are_json_ready_numbers_and_words(setting):
    backend, algorithm, preset = setting
    parameters = optical.load(backend).parameters(algorithm, preset)
    assert parameters
    assert all(type(value) in (int, float, str) for value in parameters.values())


# --- choosing


def test_a_name_that_is_no_backend_is_a_wrong_setting():
    for ask in (optical.load, optical.choose):
        with pytest.raises(SpecError, match=r"'nvoff' is not a backend; allowed: auto, .*opencv"):
            ask("nvoff")


STATED = {name: optical.load(name).PREFERENCE for name in BACKENDS}


@pytest.fixture
def machine(monkeypatch):
    """A machine with these backends: name to availability."""

    def prepare(**backends):
        monkeypatch.setattr(resources, "plugins", lambda package: tuple(sorted(backends)))
        for name, (present, detail) in backends.items():
            found = Availability(present, detail)
            own = ("farneback", "tvl1") if name == "cuda" else ("dis", "tvl1") if name == "opencv" else ("hardware",)
            module = types.SimpleNamespace(available=functools.partial(copy.copy, found), ALGORITHMS=own)
            module.PREFERENCE = STATED[name]
            monkeypatch.setitem(sys.modules, f"araflow.optical.backends.{name}", module)

    return prepare


def test_auto_takes_hardware_first_and_says_why(machine):
    machine(opencv=(True, "on the CPU"), cuda=(True, "an H100"), nvof=(False, "no driver"))
    assert optical.choose("auto") == Choice(
        "cuda", "farneback", "cuda farneback, chosen by auto: an H100", "nvof (no driver)"
    )


def test_auto_falls_back_openly(machine):
    machine(opencv=(True, "on the CPU"), cuda=(False, "no GPU: get one"))
    assert optical.choose("auto") == Choice("opencv", "dis", "opencv dis, chosen by auto: on the CPU", "cuda (no GPU)")


def test_auto_with_nothing_there_gives_every_reason(machine):
    machine(opencv=(False, "no contrib: pip install it"), cuda=(False, "no GPU"))
    with pytest.raises(UnavailableError, match=r"can run here; cuda: no GPU; opencv: no contrib: pip install it"):
        optical.choose("auto")


def test_a_named_backend_is_never_replaced(machine):
    machine(opencv=(True, "on the CPU"), cuda=(False, "no GPU: see docs"), vpi=(True, "a Jetson"))
    assert optical.choose("opencv") == Choice("opencv", "dis", "opencv dis, as asked: on the CPU")
    assert optical.choose("vpi", "hardware") == Choice("vpi", "hardware", "vpi hardware, as asked: a Jetson")
    with pytest.raises(UnavailableError, match="cuda cannot run here: no GPU: see docs"):
        optical.choose("cuda")


def test_auto_here_runs():
    choice = optical.choose("auto")
    module = optical.load(choice.backend)
    assert module.available().present
    assert choice.algorithm == module.ALGORITHMS[0]
    assert choice.why.startswith(f"{choice.backend} {choice.algorithm}, chosen by auto: {module.available().detail}")


@pytest.mark.parametrize(
    ("algorithm", "order"),
    [
        ("auto", ["nvof", "vpi", "cuda", "opencv", "numba", "torch"]),
        ("hardware", ["nvof", "vpi"]),
        ("tvl1", ["cuda", "numba", "opencv", "torch"]),
        ("farneback", ["cuda", "opencv"]),
    ],
)
def test_auto_looks_in_this_order(algorithm, order):
    able = [name for name in BACKENDS if algorithm in ("auto", *optical.load(name).ALGORITHMS)]
    assert [name for name in optical._in_order(algorithm) if name in able] == order


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_a_backend_states_is_whole(backend):
    module = optical.load(backend)
    assert set(module.PRESETS) <= set(module.ALGORITHMS)
    assert set(module.PRESETS.values()) <= {optical.PRESETS}
    assert set(module.PREFERENCE) <= {"auto", *module.ALGORITHMS}
    assert module.PREFERENCE["auto"] > 0
    assert optical.needs_device(backend) is module.ONE_DEVICE


PLANTED = '''
"""Motion by blocks: of the shifts by up to 4 pixels the one under which a block of 8x8 pixels changes least."""

import numpy as np

from araflow.optical import Availability
from araflow.optical.backends._checks import check_setting, checked

ALGORITHMS = ("hardware",)
PRESETS = {}
PREFERENCE = {"auto": 1000}
SHIFTS = [(right, down) for down in range(-4, 5) for right in range(-4, 5)]


def available():
    return Availability(True, "blocks on the CPU")


def software():
    return "blocks 1"


def parameters(algorithm, preset):
    check_setting("block", algorithm, preset, ALGORITHMS, PRESETS)
    return {"reach": 4}


def compute(frames, algorithm, preset):
    parameters(algorithm, preset)
    previous = None
    for frame in checked(frames, 16, algorithm):
        if previous is not None:
            changes = []
            for right, down in SHIFTS:
                change = np.abs(np.roll(frame.astype(int), (-down, -right), (0, 1)) - previous)
                change = change[: len(frame) // 8 * 8, : frame.shape[1] // 8 * 8]
                changes.append(change.reshape(len(change) // 8, 8, -1, 8).sum((1, 3)))
            best = np.asarray(SHIFTS, np.float32)[np.argmin(changes, axis=0)].repeat(8, 0).repeat(8, 1)
            missing = [(0, side - found) for side, found in zip(frame.shape, best.shape)]
            yield np.pad(best, (*missing, (0, 0)), mode="edge")
        previous = frame
'''
ASK = """
import json, sys
from araflow import optical
from araflow.cli import main
choice = optical.choose("auto")
print(json.dumps([choice.backend, choice.why, optical.choose("auto", "hardware").backend]))
for arguments in (["doctor", "--json"], ["flow", "--list", "--json"], ["flow", *sys.argv[1:], "--json"]):
    main(arguments, standalone_mode=False)
"""


def test_adding_a_backend_touches_one_file(tmp_path):
    source = Path(araflow.__file__).parent
    for name in ("araflow", "configs", "data_manifests"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source.parent / name, tmp_path / "here" / name, ignore=ignored)
    (tmp_path / "here" / "araflow" / "optical" / "backends" / "block.py").write_text(PLANTED)
    frames = tmp_path / "frames"
    frames.mkdir()
    for k in range(3):
        cv2.imwrite(str(frames / f"{k}.png"), window(2 * k, -k, height=64, width=96))
    arguments = [str(frames), "--out", str(tmp_path / "out"), "--backend", "block", "--workers", "1", "--bound", "20"]
    run = subprocess.run(
        [sys.executable, "-c", ASK, *arguments],
        capture_output=True,
        text=True,
        cwd=tmp_path / "here",
        env={**os.environ, "PYTHONPATH": str(tmp_path / "here")},
    )
    assert run.returncode == 0, run.stderr
    told, place, decoder = [], 0, json.JSONDecoder()
    while place < len(run.stdout.rstrip()):
        value, end = decoder.raw_decode(run.stdout[place:].lstrip())
        place += len(run.stdout[place:]) - len(run.stdout[place:].lstrip()) + end
        told.append(value)
    chosen, doctor, listed, _ = told
    assert chosen == ["block", "block hardware, chosen by auto: blocks on the CPU", "block"]
    assert {"kind": "backend", "name": "block", "present": True, "detail": "blocks on the CPU"} in doctor
    assert next(entry for entry in listed["backends"] if entry["name"] == "block")["algorithms"] == ["hardware"]
    manifest = Manifest.read(tmp_path / "out")
    row = manifest.row(0)
    assert (row["outcome"], row["backend"], row["algorithm"], row["preset"]) == ("done", "block", "hardware", None)
    assert row["software"].endswith(", blocks 1")
    u = cv2.imread(str(next((tmp_path / "out").rglob("u/*.jpg"))), cv2.IMREAD_GRAYSCALE)
    assert np.median(u) == pytest.approx(127.5 + 2 * 255 / 40, abs=1)


# --- what holds for OpenCV alone


@pytest.fixture
def opencv_pair():
    return window(), cv2.addWeighted(window(3, 1), 0.9, window(-2, 0), 0.1, 3)


@pytest.mark.parametrize(
    ("preset", "theirs"),
    [("fastest", cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST), ("fast", cv2.DISOPTICAL_FLOW_PRESET_FAST)],
)
def test_opencv_presets_are_its_own(opencv_pair, preset, theirs):
    expected = cv2.DISOpticalFlow.create(theirs).calc(*opencv_pair, None)
    np.testing.assert_array_equal(Engine("opencv", "dis", preset).one(*opencv_pair), expected)


@pytest.mark.parametrize(("preset", "finest"), [("balanced", 1), ("accurate", 0)])
def test_opencv_presets_that_are_ours_are_no_worse_than_its_medium(preset, finest):
    # A seed that the settings were not chosen on.
    pairs = generated(seed=77)
    medium = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    medium.setFinestScale(finest)
    theirs = [errors(medium.calc(pair.first, pair.second, None), pair.flow, pair.valid).epe for pair in pairs]
    ours = [
        errors(Engine("opencv", "dis", preset).one(pair.first, pair.second), pair.flow, pair.valid).epe
        for pair in pairs
    ]
    assert np.mean(ours) <= np.mean(theirs)


def test_opencv_accurate_is_more_accurate_than_balanced():
    # A half-pixel shift: coarse levels see it least.
    shift = np.float32([[1, 0, 2.5], [0, 1, -1.5]])
    scene = texture(120, 120, 1.5, seed=11)
    moved = cv2.warpAffine(scene, shift, (120, 120), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    pair = scene.astype(np.uint8), moved.clip(0, 255).astype(np.uint8)
    fastest, accurate = (
        np.abs(Engine("opencv", "dis", preset).one(*pair)[INNER] - (2.5, -1.5)).mean()
        for preset in ("fastest", "accurate")
    )
    assert accurate < 0.5 * fastest


def test_opencv_tvl1_is_its_default(opencv_pair):
    pair = [frame[:48, :48] for frame in map(np.ascontiguousarray, opencv_pair)]
    expected = cv2.optflow.DualTVL1OpticalFlow.create().calc(*map(np.ascontiguousarray, pair), None)
    np.testing.assert_array_equal(Engine("opencv", "tvl1", "balanced").one(*map(np.ascontiguousarray, pair)), expected)


def test_opencv_farneback_is_that_of_its_sample_program(opencv_pair):
    expected = cv2.calcOpticalFlowFarneback(*opencv_pair, None, 0.5, 3, 15, 3, 5, 1.2, 0)
    np.testing.assert_array_equal(Engine("opencv", "farneback", "fast").one(*opencv_pair), expected)


@pytest.mark.parametrize("algorithm", ["dis", "tvl1"])
def test_opencv_finds_exactly_no_motion_where_there_is_none(algorithm):
    frame = window(height=48, width=64)
    assert not Engine("opencv", algorithm, "balanced").one(frame, frame.copy()).any()


@pytest.mark.parametrize("setting", offered("opencv"), ids="-".join)
def test_opencv_threads_change_nothing(setting):
    pair, before, found = (window(height=56, width=64), window(3, -1, height=56, width=64)), cv2.getNumThreads(), set()
    try:
        for threads in (1, 2, 5):
            cv2.setNumThreads(threads)
            found.add(Engine("opencv", *setting).one(*pair).tobytes())
    finally:
        cv2.setNumThreads(before)
    assert len(found) == 1


def test_opencv_without_contrib_says_how_to_get_it(monkeypatch):
    monkeypatch.delattr(cv2, "optflow")
    with pytest.raises(UnavailableError, match="pip install opencv-contrib-python-headless"):
        optical.choose("opencv")
