"""The ``numba`` backend: its kernels against the papers' formulas, its fields against OpenCV's, and how it starts."""

import hashlib
import os
import subprocess
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

import araflow
from araflow import optical
from araflow.core.errors import ClipError, SpecError, UnavailableError
from araflow.optical.backends import numba as backend
from araflow.optical.quality.pairs import generated

FOUND = backend.available()
needs_numba = pytest.mark.skipif(not FOUND.present, reason=FOUND.detail)
ROOT = Path(araflow.__file__).parents[1]


def frame(dx=0, dy=0, *, height=65, width=97):
    noise = np.random.default_rng(5).integers(0, 256, (160, 160)).astype(np.float32)
    scene = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2.5), None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    return np.ascontiguousarray(scene[30 - dy : 30 - dy + height, 30 - dx : 30 - dx + width])


def flows(*frames, preset="fast"):
    return list(backend.compute(iter(frames), "tvl1", preset))


# --- the kernels


def state(height, width, seed=0):
    """Flow, linear form and dual variables such as a warp might find, padded; zero beyond the frame."""
    kernels, dice = backend._kernels(), np.random.default_rng(seed)
    rows, columns = kernels.padded(height, width)
    flow, linear, dual = (np.zeros((count, rows, columns), np.float32) for count in (2, 4, 4))
    flow[:, :height, :width] = dice.normal(0, 1, (2, height, width))
    slopes = dice.normal(0, 8, (2, height, width)).astype(np.float32)
    slopes[:, : height // 8] = 0  # flat
    linear[:2, :height, :width] = slopes
    linear[2, :height, :width] = 1 / np.maximum((slopes**2).sum(axis=0), np.finfo(np.float32).eps)
    linear[3, :height, :width] = dice.normal(0, 5, (height, width))
    return flow, linear, dual


def sweep(flow, linear, dual, height, width, *, most=7, enough=0.0):
    columns = flow.shape[2]
    numbers = map(np.float32, (0.045, 0.3, 0.25 / 0.3))
    room = np.empty(columns, np.float32)
    return backend._kernels().iterate(*flow, *linear, *dual, room, height, width, *numbers, most, enough)


def papers(flow, linear, dual, most):
    """The same in double precision, step after step over whole arrays, with the three cases of the thresholding."""
    u, p = flow.astype(np.float64), dual.astype(np.float64).reshape(2, 2, *flow.shape[1:])
    slope, rest = linear[:2].astype(np.float64), linear[3].astype(np.float64)
    squared = (slope**2).sum(axis=0)
    for _ in range(most):
        rho = rest + (slope * u).sum(axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            between = np.where(squared > np.finfo(np.float32).eps, -rho / squared, 0.0)
        move = np.where(rho < -0.045 * squared, 0.045, np.where(rho > 0.045 * squared, -0.045, between))
        before = u.copy()
        padded = np.pad(p, ((0, 0), (0, 0), (1, 0), (1, 0)))
        spread = np.diff(padded[:, 0], axis=2)[:, 1:] + np.diff(padded[:, 1], axis=1)[:, :, 1:]
        u = u + move * slope + 0.3 * spread
        right, down = np.zeros_like(u), np.zeros_like(u)
        right[:, :, :-1], down[:, :-1] = np.diff(u, axis=2), np.diff(u, axis=1)
        ahead = np.stack((right, down), axis=1)
        step = 0.25 / 0.3
        p = (p + step * ahead) / (1 + step * np.sqrt((ahead**2).sum(axis=1, keepdims=True)))
    return u, p, ((u - before) ** 2).sum()


@needs_numba
@pytest.mark.parametrize(("height", "width"), [(37, 29), (16, 32), (1, 1), (2, 9)])
def test_the_fused_sweep_is_the_papers_iteration(height, width):
    flow, linear, dual = state(height, width)
    inside = (slice(None), slice(height), slice(width))
    expected, duals, change = papers(flow[inside], linear[inside], dual[:, 1 : height + 1, 1 : width + 1], 7)
    done, changed = sweep(flow, linear, dual, height, width, enough=-1.0)
    assert done == 7
    assert changed == pytest.approx(change, rel=1e-3, abs=1e-9)
    np.testing.assert_allclose(flow[inside], expected, atol=2e-4)
    found = dual[:, 1 : height + 1, 1 : width + 1].reshape(duals.shape)
    np.testing.assert_allclose(found, duals, atol=2e-4)
    assert not dual[:, 0].any(), "beyond the frame there is nothing"
    assert not dual[:, :, 0].any(), "beyond the frame there is nothing"


@needs_numba
def test_the_sweep_ends_when_the_flow_rests():
    flow, linear, dual = state(20, 20)
    done, changed = sweep(flow, linear, dual, 20, 20, most=500, enough=0.01)
    assert 1 < done < 500
    assert changed <= 0.01
    before = flow.copy()
    assert sweep(flow, linear, dual, 20, 20, most=500, enough=np.inf)[0] == 0
    np.testing.assert_array_equal(flow, before)


@needs_numba
def test_what_lies_beyond_the_frame_changes_nothing():
    clean, dirty = state(21, 27), state(21, 27)
    for arrays in dirty[:2]:
        arrays[:, :, 27:] = 3.5
        arrays[:, 21:] = -1.5
    sweep(*clean, 21, 27)
    sweep(*dirty, 21, 27)
    np.testing.assert_array_equal(clean[0][:, :21, :27], dirty[0][:, :21, :27])
    np.testing.assert_array_equal(clean[2][:, 1:22, 1:28], dirty[2][:, 1:22, 1:28])


@needs_numba
def test_slopes_are_central_differences_halved_at_the_edge():
    image = np.float32([[0, 2, 8], [4, 10, 0]])
    out = np.empty((2, 3, 3), np.float32)
    backend._kernels().slopes(image, out)
    np.testing.assert_array_equal(out[..., 0], image)
    np.testing.assert_array_equal(out[..., 1], [[1, 4, 3], [3, -2, -5]])
    np.testing.assert_array_equal(out[..., 2], [[2, 4, -4], [2, 4, -4]])


@needs_numba
def test_the_linear_form_is_the_difference_in_brightness_at_the_present_flow():
    height, width = 12, 19
    kernels, dice = backend._kernels(), np.random.default_rng(2)
    (u, v), linear, _ = state(height, width)
    first, warped = (dice.normal(100, 30, shape).astype(np.float32) for shape in ((height, width), (height, width, 3)))
    warped[0, :, 1:] = 0
    kernels.linearise(first, warped, u, v, *linear)
    across, down, inverse, rest = linear[:, :height, :width]
    there = rest + across * u[:height, :width] + down * v[:height, :width]
    np.testing.assert_allclose(there, warped[..., 0] - first, atol=1e-3)
    np.testing.assert_allclose(inverse[1:] * (across**2 + down**2)[1:], 1, rtol=1e-5)
    assert np.isfinite(inverse).all()


# --- the fields


@needs_numba
@pytest.mark.parametrize("size", [(65, 97), (72, 80), (33, 41)])
def test_balanced_is_opencvs_default(size):
    height, width = size
    pair = frame(height=height, width=width), frame(2, -1, height=height, width=width)
    (field,) = flows(*pair, preset="balanced")
    theirs = cv2.optflow.DualTVL1OpticalFlow.create().calc(*pair, None)
    assert np.abs(field).mean() > 0.5, "there is something to compare"
    assert np.abs(field - theirs).mean() <= 0.01
    assert np.median(np.abs(field - theirs)) <= 0.001


@needs_numba
def test_balanced_names_opencvs_defaults():
    theirs = cv2.optflow.DualTVL1OpticalFlow.create()
    ours = backend.parameters("tvl1", "balanced")
    assert ours == {
        "tau": theirs.getTau(),
        "lambda_": theirs.getLambda(),
        "theta": theirs.getTheta(),
        "scales": theirs.getScalesNumber(),
        "scale_step": theirs.getScaleStep(),
        "warps": theirs.getWarpingsNumber(),
        "outer": theirs.getOuterIterations(),
        "inner": theirs.getInnerIterations(),
        "epsilon": theirs.getEpsilon(),
        "median": theirs.getMedianFiltering(),
    }


@needs_numba
def test_fast_motion_is_found_with_half_steps_and_lost_with_opencvs():
    pair = next(pair for pair in generated() if pair.kind == "large")
    errors = {}
    for preset in ("fastest", "fast", "balanced", "accurate"):
        (field,) = flows(pair.first, pair.second, preset=preset)
        errors[preset] = np.linalg.norm(field - pair.flow, axis=2)[pair.valid].mean()
    assert errors["balanced"] > 1
    assert max(error for preset, error in errors.items() if preset != "balanced") < 0.15
    assert errors["accurate"] < errors["fastest"]


@needs_numba
def test_threads_of_opencv_and_of_others_change_nothing():
    clips = [[frame(k * step, step) for k in range(3)] for step in (1, 2)]
    alone = [[field.tobytes() for field in flows(*clip)] for clip in clips]
    before = cv2.getNumThreads()
    try:
        for threads in (1, 3):
            cv2.setNumThreads(threads)
            with ThreadPoolExecutor(2) as pool:
                together = list(pool.map(lambda clip: [field.tobytes() for field in flows(*clip)], clips))
            assert together == alone
    finally:
        cv2.setNumThreads(before)


@needs_numba
def test_fields_stay_as_they_were_when_the_next_is_computed():
    frames = [frame(k, height=48, width=48) for k in (0, 2, 1)]
    stream = backend.compute(iter(frames), "tvl1", "fast")
    first = next(stream)
    kept = first.copy()
    next(stream)
    np.testing.assert_array_equal(first, kept)


@needs_numba
def test_memory_does_not_grow_with_the_clip():
    def peak(count):
        tracemalloc.start()
        for _ in backend.compute((frame(k % 3, height=48, width=64) for k in range(count)), "tvl1", "fast"):
            pass
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(2)
    assert peak(12) < peak(3) + 64 * 48 * 8


# --- refusals


@needs_numba
def test_a_change_of_size_is_the_clips_fault():
    with pytest.raises(ClipError, match="97x65, then 64x48") as caught:
        flows(frame(), frame(height=48, width=64))
    assert caught.value.code == "size-change"


@needs_numba
def test_the_smallest_frame_has_sixteen_pixels_a_side():
    assert flows(frame(height=16, width=40), frame(1, height=16, width=40))[0].shape == (16, 40, 2)
    with pytest.raises(ClipError, match="40x15 frames; tvl1 needs at least 16 on each side"):
        flows(frame(height=15, width=40))


def test_unknown_settings_name_the_allowed_ones_whether_numba_is_there_or_not():
    with pytest.raises(SpecError, match="numba has no 'dis'; allowed: tvl1"):
        backend.parameters("dis", "fast")
    with pytest.raises(SpecError, match="'best' is not allowed for tvl1; allowed: fastest, fast, balanced, accurate"):
        backend.parameters("tvl1", "best")


# --- a machine without numba


def test_without_numba_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    assert backend.available() == optical.Availability(False, "numba is not installed: pip install 'araflow[fast]'")
    assert backend.software() == "numba is not installed: pip install 'araflow[fast]'"
    with pytest.raises(UnavailableError, match=r"numba cannot run here: .*araflow\[fast\]"):
        list(backend.compute([], "tvl1", "fast"))


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("raise ImportError('Numba needs NumPy 2.3 or less. Got NumPy 2.4.')", "Numba needs NumPy 2.3 or less"),
        ("import llvmlite_that_is_not_there", "pip install llvmlite_that_is_not_there"),
        ("raise OSError", "numba cannot be imported: OSError; pip install --upgrade"),
    ],
)
def test_a_broken_numba_is_absent_with_its_reason(tmp_path, monkeypatch, code, expected):
    (tmp_path / "numba.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "numba"]:
        monkeypatch.delitem(sys.modules, name)
    found = backend.available()
    assert not found.present
    assert expected in found.detail


def test_importing_the_backend_does_not_import_numba():
    code = "import sys, araflow.optical.backends.numba; assert not {'numba', 'llvmlite'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)


# --- what numba compiles and keeps


ONE_PAIR = """
import hashlib, sys
import numpy as np
from araflow.optical.backends import numba as backend
frames = [np.random.default_rng(k).integers(0, 256, (40, 40)).astype(np.uint8) for k in range(2)]
(field,) = backend.compute(frames, "tvl1", "fastest")
kernels = backend._kernels()
stats = [getattr(kernels, name).stats for name in ("slopes", "targets", "linearise", "iterate")]
how = "loaded" if all(sum(found.cache_hits.values()) for found in stats) else "compiled"
print(hashlib.sha256(field.tobytes()).hexdigest(), how, stats[0].cache_path)
"""


def start(folder, **environment):
    return subprocess.Popen(
        [sys.executable, "-c", ONE_PAIR],
        cwd=folder,
        env={**os.environ, **{key: str(value) for key, value in environment.items()}},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def answer(process):
    out, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    return out.split()


@needs_numba
def test_processes_that_start_at_once_compile_once_and_agree(tmp_path):
    (tmp_path / "tmp").mkdir()
    setting = {"NUMBA_CACHE_DIR": tmp_path / "cache", "TMPDIR": tmp_path / "tmp"}
    answers = [answer(process) for process in [start(ROOT, **setting) for _ in range(3)]]
    assert len({digest for digest, *_ in answers}) == 1
    assert sorted(how for _, how, _ in answers) == ["compiled", "loaded", "loaded"]


@needs_numba
def test_where_nothing_can_be_written_beside_the_package_a_temporary_folder_serves(tmp_path):
    # A file where the folder __pycache__ would be stops every user, root included; HOME and XDG_CACHE_HOME likewise.
    package, scratch = tmp_path / "site", tmp_path / "tmp"
    scratch.mkdir()
    for source in (ROOT / "araflow").rglob("*.py"):
        place = package / source.relative_to(ROOT)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(source.read_bytes())
    (package / "araflow" / "optical" / "backends" / "_tvl1" / "__pycache__").write_text("")
    setting = {"HOME": os.devnull, "XDG_CACHE_HOME": os.devnull, "TMPDIR": scratch, "NUMBA_CACHE_DIR": ""}
    first, second = (answer(start(package, **setting)) for _ in range(2))
    assert (first[1], second[1]) == ("compiled", "loaded")
    assert first[0] == second[0]
    assert first[2].startswith(str(scratch / f"araflow-{os.getuid()}" / "numba"))
    assert (scratch / f"araflow-{os.getuid()}").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("trap", ["writable", "link", "file"])
def test_a_temporary_folder_that_others_could_write_to_is_not_used(tmp_path, monkeypatch, trap):
    monkeypatch.setattr(backend.tempfile, "tempdir", str(tmp_path))
    expected = tmp_path / f"araflow-{os.getuid()}"
    if trap == "writable":
        expected.mkdir()
        expected.chmod(0o777)
    elif trap == "link":
        (tmp_path / "elsewhere").mkdir()
        expected.symlink_to(tmp_path / "elsewhere")
    else:
        expected.write_text("")
    found = backend._own_folder()
    assert found != expected
    assert found.is_dir()
    assert found.stat().st_mode & 0o777 == 0o700


@needs_numba
def test_two_runs_of_the_interpreter_give_the_same_bytes():
    frames = [np.random.default_rng(k).integers(0, 256, (40, 40)).astype(np.uint8) for k in range(2)]
    (field,) = backend.compute(frames, "tvl1", "fastest")
    assert answer(start(ROOT))[0] == hashlib.sha256(field.tobytes()).hexdigest()
