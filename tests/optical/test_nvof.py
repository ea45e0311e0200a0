"""The nvof backend against a FAKE driver (tests/fakes): how it calls, and what it makes of the answers.

That the real driver behaves as the fake does is not shown here: the backend was never run on hardware. What every
backend must do is in test_nvof_contract.py.
"""

import ctypes
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fakes.nvof_machine import INNER, flow, installed, texture, window

import araflow
from araflow.core.errors import ClipError, SpecError
from araflow.optical.backends import nvof
from araflow.optical.backends.nvof import api, fields
from araflow.optical.backends.nvof.hardware import Engine
from araflow.optical.backends.nvof.session import Session, SessionSettings, legal_sizes

PRESETS = ("fastest", "fast", "balanced", "accurate")
ROOT = Path(araflow.__file__).parents[1]


@pytest.fixture
def fake():
    with installed() as machine:
        yield machine


# --- the interface


def test_every_structure_lies_as_the_headers_say():
    for structure, (size, offsets) in api.LAYOUT.items():
        assert ctypes.sizeof(structure) == size
        assert {name: getattr(structure, name).offset for name in offsets} == offsets


def test_numbers_are_those_of_the_headers():
    assert api.VERSION == 0x20
    assert [perf.value for perf in api.Perf] == [5, 10, 20]
    assert (api.Format.GRAY8, api.Format.NV12, api.Format.ABGR8, api.Format.SHORT2, api.Format.UINT8) == (1, 2, 3, 5, 7)
    assert len(api.FunctionTable._fields_) == 12
    assert len(api.Status) == 12


def test_importing_it_opens_no_library():
    code = (
        "import ctypes\n"
        "def no(name): raise SystemExit(f'opened {name}')\n"
        "import numpy, cv2\n"  # which open theirs
        "ctypes.CDLL = no\n"
        "import sys, araflow.optical.backends.nvof\n"
        "print([name for name in ('torch', 'cupy') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert run.stdout.strip() == "[]"


# --- what a field means


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("shift", [(3, 0), (-2, 0), (0, 3), (0, -2)], ids=["right", "left", "down", "up"])
def test_a_shift_is_found_with_its_axis_and_sign_in_pixels_at_every_grid(fake, preset, shift):
    (field,) = flow(window(), window(*shift), preset=preset)
    assert np.abs(field[INNER] - shift).max() == 0


def test_vectors_are_thirty_seconds_of_a_pixel_with_their_sign():
    raw = np.random.default_rng(0).integers(-32768, 32768, (72, 80, 2)).astype(np.int16)
    raw[0, :5, 0] = 1, -1, 32, -32768, 32767
    with installed(answer=lambda first, second: raw):
        (field,) = flow(window(), window())
    assert field[0, :5, 0].tolist() == [1 / 32, -1 / 32, 1, -1024, 1024 - 1 / 32]
    np.testing.assert_array_equal(field, raw / 32)


def test_a_coarse_grid_is_repeated_over_its_pixels_and_cut():
    raw = np.arange(50 * 61 * 2).reshape(50, 61, 2).astype(np.int16)
    with installed(answer=lambda first, second: raw) as fake:
        (field,) = flow(window(height=50, width=61), window(height=50, width=61), preset="fastest")
        assert fake.inits[-1] == (61, 50, 4, api.Perf.FAST)
    y = np.minimum(np.arange(50) // 4 * 4 + 2, 49)  # the fake samples each cell in its middle
    x = np.minimum(np.arange(61) // 4 * 4 + 2, 60)
    np.testing.assert_array_equal(field, raw[np.ix_(y, x)] / 32)


# --- how they come


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_n_frames_give_n_minus_one_fields_and_each_is_uploaded_once(fake, count):
    found = flow(*(window(k, height=48, width=48) for k in range(count)))
    assert len(found) == max(count - 1, 0)
    assert fake.uploads == count
    assert fake.calls.count("execute") == len(found)


def test_two_buffers_take_turns_in_order(fake):
    flow(*(window(k, height=48, width=48) for k in range(4)))
    pairs = [pair[:2] for pair in fake.executions]
    assert pairs == [pairs[0], pairs[0][::-1], pairs[0]]


def test_frames_are_only_read_and_may_lie_apart_in_memory(fake):
    frames = [window(k, height=96, width=96)[::2, 1::2] for k in range(0, 4, 2)]
    before = [frame.copy() for frame in frames]
    for frame in frames:
        frame.flags.writeable = False
    (field,) = flow(*frames)
    np.testing.assert_array_equal(frames, before)
    np.testing.assert_array_equal(field, flow(*before)[0])


def test_one_session_per_clip_ends_with_it_also_when_nobody_reads_on(fake):
    stream = nvof.compute((window(k) for k in range(5)), "hardware", "fast")
    next(stream)
    assert len(fake.handles) == 1
    assert len(fake.buffers) == 3
    stream.close()
    assert not fake.handles
    list(flow(window(), window(1)))
    assert fake.calls.count("init") == 2
    assert fake.retained == 1, "one context for the process"


def test_a_failing_source_of_frames_ends_the_session(fake):
    def frames():
        yield window()
        yield window(1)
        raise ClipError("truncated", "the file ends")

    with pytest.raises(ClipError, match="truncated"):
        list(nvof.compute(frames(), "hardware", "fast"))
    assert not fake.handles


def test_two_sessions_side_by_side_keep_apart(fake):
    pair = (
        nvof.compute([window(), window(3)], "hardware", "fast"),
        nvof.compute([window(), window(0, 2)], "hardware", "fast"),
    )
    first, second = (next(stream) for stream in pair)
    assert (first[INNER] == (3, 0)).all()
    assert (second[INNER] == (0, 2)).all()
    for stream in pair:
        stream.close()


# --- sizes


def test_frames_below_the_smallest_picture_are_padded_with_their_edges():
    seen = []

    def answer(first, second):
        seen.append(first)
        return np.zeros((*first.shape, 2), np.int16)

    with installed(smallest=(64, 48), answer=answer) as fake:
        (field,) = flow(window(height=20, width=30), window(1, height=20, width=30))
        assert fake.inits == [(64, 48, 1, api.Perf.FAST)]
    assert field.shape == (20, 30, 2)
    np.testing.assert_array_equal(seen[0], np.pad(window(height=20, width=30), ((0, 28), (0, 34)), mode="edge"))


def test_a_refused_size_is_tried_again_rounded_up_with_a_fresh_handle():
    with installed(legal=lambda width, height: width % 16 == 0 and height % 16 == 0) as fake:
        (field,) = flow(window(height=49, width=65), window(2, height=49, width=65))
        assert [size[:2] for size in fake.inits] == [(65, 49), (80, 64)]
        opened = fake.calls[fake.calls.index("init") - 2 :]
        assert opened[:5] == ["create", "set_streams", "init", "last_error", "cuCtxPopCurrent_v2"]
        assert "destroy" in opened[5 : opened.index("create", 1)], "the refused handle goes before the next is made"
    assert field.shape == (49, 65, 2)
    assert (field[8:-8, 8:-8] == (2, 0)).all()


def test_a_size_that_is_refused_for_good_says_so_in_the_drivers_words():
    with installed(legal=lambda width, height: False) as fake:
        with pytest.raises(
            api.NvofError, match=r"session of 80x72, grid 1, fast: INVALID_PARAM \(5\), \"unsupported re"
        ):
            flow(window(), window())
        assert not fake.handles


def test_legal_sizes_stay_below_the_largest():
    with installed(largest=(100, 100)), Engine(nvof.open_library) as engine:
        assert list(legal_sizes(97, 97, engine.caps)) == [(97, 97)]
        assert list(legal_sizes(80, 81, engine.caps)) == [(80, 81), (80, 96)]
        assert list(legal_sizes(96, 96, engine.caps)) == [(96, 96)]


@pytest.mark.parametrize("size", [(1, 1), (90, 2), (300, 4), (15, 64), (64, 15)])
def test_frames_too_small_are_refused_before_the_gpu_is_touched(fake, size):
    width, height = size
    frames = [np.zeros((height, width), np.uint8)] * 2
    with pytest.raises(ClipError) as caught:
        flow(*frames)
    assert caught.value.code == "frame-size"
    assert caught.value.detail.startswith(f"{width}x{height} frames; hardware ")
    assert fake.calls == []


def test_frames_too_large_are_refused_with_the_limit():
    with installed(largest=(64, 64)), pytest.raises(ClipError, match="80x72 frames; hardware takes at most 64x64"):
        flow(window(), window())


def test_a_change_of_size_is_the_clips_fault(fake):
    with pytest.raises(ClipError, match="size-change: 80x72, then 48x40 at frame 2"):
        flow(window(), window(1), window(height=40, width=48))


# --- settings


def test_presets_are_the_engines_levels_and_recorded(fake):
    for preset in PRESETS:
        flow(window(), window(), preset=preset)
    assert [size[2:] for size in fake.inits] == [(4, 20), (1, 20), (1, 10), (1, 5)]
    assert nvof.parameters("hardware", "fast") == {
        "perf": "fast",
        "grid": 1,
        "temporal_hints": 1,
        "input_format": "gray8",
        "smallest": 16,
    }
    assert len({json.dumps(nvof.parameters("hardware", preset)) for preset in PRESETS}) == 4


@pytest.mark.parametrize(("grids", "asked", "taken"), [((4,), 1, 4), ((1, 2, 4), 2, 2), ((1, 4), 2, 4), ((1, 2), 4, 2)])
def test_the_smallest_grid_not_below_the_one_asked_for_is_taken(grids, asked, taken):
    with installed(grids=grids) as fake:
        (field,) = fields.stream(nvof._engine, [window(), window(3)], SessionSettings(api.Perf.FAST, asked))
        assert fake.inits[-1][2] == taken
        assert (field[INNER] == (3, 0)).all()


def test_temporal_hints_are_on_and_can_be_switched_off(fake):
    flow(window(), window(1))
    settings = SessionSettings(api.Perf.FAST, 1, temporal_hints=False)
    list(fields.stream(nvof._engine, [window(), window(1)], settings))
    assert [disabled for *_, disabled in fake.executions] == [False, True]


def test_unknown_settings_name_the_allowed_ones():
    for ask in (nvof.parameters, lambda *setting: list(nvof.compute([], *setting))):
        with pytest.raises(SpecError, match=r"optical.algorithm: nvof has no 'horn'; allowed: hardware"):
            ask("horn", "fast")
        with pytest.raises(SpecError, match=r"optical.preset: 'best'.*fastest, fast, balanced, accurate"):
            ask("hardware", "best")


def test_other_input_formats_have_their_own_planes(fake):
    gray = window(), window(3)
    with Engine(nvof.open_library) as engine:
        for form in (api.Format.NV12, api.Format.ABGR8):
            with Session(engine, 80, 72, SessionSettings(api.Perf.SLOW, 1, input_format=form)) as session:
                for slot, frame in enumerate(gray):
                    planes = [frame, np.full((36, 80), 128, np.uint8)]
                    if form is api.Format.ABGR8:
                        planes = [np.repeat(frame, 4, axis=1)]
                    session.upload(slot, *planes)
                session.execute(0)
                assert (session.vectors()[INNER] == (96, 0)).all()


@pytest.mark.gpu
def test_the_real_engine_finds_a_shift():
    found = nvof.available()
    if not found.present:
        pytest.skip(found.detail)
    frames = [np.ascontiguousarray(texture(260, 340).astype(np.uint8)[10:250, 10 - dx : 330 - dx]) for dx in (0, 3)]
    (field,) = flow(*frames, preset="accurate")
    nvof.close()
    assert np.abs(np.median(field[32:-32, 32:-32], axis=(0, 1)) - (3, 0)).max() <= 0.25
