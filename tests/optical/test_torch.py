"""The torch backend on the CPU: parity with OpenCV, batches, memory, settings. On a GPU it was never run."""

import builtins
import itertools
import subprocess
import sys
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest

import araflow
from araflow.core.errors import ClipError, SpecError, UnavailableError
from araflow.optical.backends import torch as backend
from araflow.optical.quality import pairs as flow_pairs

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")

from araflow.optical.backends._tvl1 import median_torch, torch_solver  # noqa: E402
from araflow.optical.backends._tvl1.settings import SETTINGS, SolverSettings  # noqa: E402

ROOT = Path(araflow.__file__).parents[1]
INNER = (slice(8, -8), slice(8, -8))
QUICK = SolverSettings(scale_step=0.5, scales=2, warps=2, outer=3, inner=10)


def scene(dx=0.0, dy=0.0, *, height=48, width=56, mirrored=False):
    """A formula sampled exactly: what stands in it has moved (dx, dy) pixels to the right and down."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    x, y = (width - 1 - x if mirrored else x) - dx, y - dy
    rng = np.random.default_rng(4)
    waves = zip(rng.uniform(-0.6, 0.6, (12, 2)), rng.uniform(0, 6.3, 12), strict=True)
    value = sum(np.sin(a * x + b * y + phase) for (a, b), phase in waves)
    return (127.5 + 25 * value).clip(0, 255).astype(np.uint8)


def fields(*frames, preset="fast"):
    return [field.copy() for field in backend.compute(iter(frames), "tvl1", preset)]


def stack(*frames):
    return torch.from_numpy(np.stack(frames).astype(np.float32))


@pytest.fixture(autouse=True)
def _one_thread():
    """As in the backend: on a busy machine, threads that wait for each other take long."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def in_batches(monkeypatch):
    """Call with a number of pairs: batches of that many, as on a GPU."""
    return lambda pairs: monkeypatch.setattr(backend, "_CPU_PAIRS", pairs)


@pytest.fixture
def forgetful():
    """What was found of PyTorch is looked for anew, in the test and after it."""
    backend._look.cache_clear()
    yield
    backend._look.cache_clear()


# --- what a field means


@pytest.mark.parametrize("preset", SETTINGS)
def test_no_motion_is_exactly_zero(preset):
    assert not fields(scene(), scene(), preset=preset)[0].any()


@pytest.mark.parametrize(("dx", "dy"), [(3, 0), (-2, 0), (0, 3), (0, -2), (0.5, 0), (0, -0.25), (1.25, -0.75)], ids=str)
def test_whole_and_fractional_shifts_are_found_with_axis_and_sign(dx, dy):
    (field,) = fields(scene(), scene(dx, dy))
    assert (field.dtype, field.shape) == (np.float32, (48, 56, 2))
    assert np.abs(field[INNER] - (dx, dy)).mean() < 0.05
    assert np.abs(field[INNER] - (dx, dy)).max() < 0.2


def test_a_mirrored_scene_moves_the_other_way():
    (field,) = fields(scene(), scene(2, 1))
    (mirrored,) = fields(scene(mirrored=True), scene(2, 1, mirrored=True))
    assert np.abs(mirrored[:, ::-1] * (-1, 1) - field)[INNER].max() < 0.05


def test_a_transposed_scene_has_u_and_v_swapped():
    (field,) = fields(scene(), scene(2, 1))
    (turned,) = fields(*(np.ascontiguousarray(frame.T) for frame in (scene(), scene(2, 1))))
    assert np.abs(turned.transpose(1, 0, 2)[..., ::-1] - field)[INNER].max() < 0.05


def test_fields_are_anchored_at_the_first_frame():
    # A picture enlarged by s about its centre c moves by (s - 1)(x - c) with x in the first frame, and by
    # (1 - 1/s)(x - c) with x in the second: 0.25 against 0.20 per pixel.
    size, scale = 96, 1.25
    centre = (size - 1) / 2
    zoom = np.float32([[scale, 0, centre * (1 - scale)], [0, scale, centre * (1 - scale)]])
    first = cv2.GaussianBlur(scene(height=size, width=size), (0, 0), 1.5)
    second = cv2.warpAffine(first, zoom, (size, size), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    (field,) = fields(first, second)
    part = slice(size // 4, -size // 4)
    offset = np.arange(size)[part] - centre
    slope = (field[part, part, 0] * offset).sum() / (len(offset) * (offset**2).sum())
    assert slope == pytest.approx(scale - 1, abs=0.02)


# --- parity with OpenCV


@pytest.mark.parametrize("name", ["small-1", pytest.param("boundary-1", marks=pytest.mark.proof)])
def test_balanced_is_opencvs_default(name):
    pair = next(pair for pair in flow_pairs.generated() if pair.name == name)
    first, second = pair.first[40:200, 60:260], pair.second[40:200, 60:260]
    theirs = cv2.optflow.DualTVL1OpticalFlow.create().calc(first, second, None)
    (ours,) = fields(first, second, preset="balanced")
    difference = np.linalg.norm(ours - theirs, axis=-1)
    # OpenCV 5 computes it otherwise than 4 did: on the smaller pair their fields are 0.0065 apart, by the median.
    limit = 0.002 if int(cv2.__version__.partition(".")[0]) >= 5 else 0.02
    assert np.median(difference) < limit, "what is asked of it is 0.02"
    assert difference.mean() < 5 * limit
    assert np.linalg.norm(theirs, axis=-1).mean() > 0.5, "there is something to compare"


@pytest.mark.realdata
@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["Venus", *(pytest.param(name, marks=pytest.mark.proof) for name in ("Grove2", "RubberWhale", "Urban2"))]
)
def test_balanced_is_opencvs_default_on_real_pictures(real_data, name):
    (pair,) = flow_pairs.middlebury(real_data / "middlebury" / name)
    first, second = (cv2.resize(f, (320, 240), interpolation=cv2.INTER_AREA) for f in (pair.first, pair.second))
    theirs = cv2.optflow.DualTVL1OpticalFlow.create().calc(first, second, None)
    (ours,) = fields(first, second, preset="balanced")
    assert np.median(np.linalg.norm(ours - theirs, axis=-1)) < 0.02


def test_the_defaults_are_those_that_opencv_tells():
    theirs, ours = cv2.optflow.DualTVL1OpticalFlow.create(), SolverSettings()
    names = {
        "scales": "ScalesNumber",
        "warps": "WarpingsNumber",
        "outer": "OuterIterations",
        "inner": "InnerIterations",
    }
    names |= {"tau": "Tau", "lambda_": "Lambda", "theta": "Theta", "scale_step": "ScaleStep", "epsilon": "Epsilon"}
    for mine, name in names.items():
        assert getattr(ours, mine) == pytest.approx(getattr(theirs, f"get{name}")()), mine
    assert theirs.getMedianFiltering() == backend.parameters("tvl1", "balanced")["median"]


def test_the_median_is_right_in_all_cases():
    # A list of comparisons that is right for all zeros and ones is right for all numbers (Knuth's 0-1 principle), and
    # sorted columns of five have six cases each.
    cases = np.array(list(itertools.product(range(6), repeat=5)))
    window = [torch.from_numpy(cases[:, column] > 4 - row).float() for row in range(5) for column in range(5)]
    found = median_torch.select(window)
    np.testing.assert_array_equal(found.numpy(), cases.sum(1) >= 13)


@pytest.mark.parametrize("size", [(16, 16), (33, 47)])
def test_the_median_filter_is_opencvs(size):
    images = np.random.default_rng(0).normal(size=(2, 2, *size)).astype(np.float32)
    found = median_torch.median(torch.from_numpy(images)).numpy()
    for image, ours in zip(images.reshape(4, *size), found.reshape(4, *size), strict=True):
        np.testing.assert_array_equal(ours, cv2.medianBlur(image, 5))


@pytest.mark.parametrize("step", [0.8, 0.5])
def test_the_pyramid_is_opencvs(step):
    frame = scene(height=75, width=101).astype(np.float32)
    theirs = cv2.resize(frame, None, fx=step, fy=step, interpolation=cv2.INTER_LINEAR)
    ours = torch_solver._resize(stack(frame), *theirs.shape, (1 / step, 1 / step))[0].numpy()
    assert np.abs(ours - theirs).max() < 1e-3
    back = torch_solver._resize(stack(theirs), 75, 101, (theirs.shape[0] / 75, theirs.shape[1] / 101))[0].numpy()
    assert np.abs(back - cv2.resize(theirs, (101, 75), interpolation=cv2.INTER_LINEAR)).max() < 1e-3


def test_warping_is_bicubic_and_black_beyond_the_frame():
    frame = scene(height=21, width=30).astype(np.float32)
    flow = np.random.default_rng(1).uniform(-9, 9, (2, 21, 30)).astype(np.float32)
    flow[:, 3, 3], flow[:, 4, 4], flow[:, 5, 5] = 1e30, -1e30, 0
    layers = torch_solver._padded(stack(frame, frame, frame)[None])
    ours = torch_solver._warp(layers, torch.from_numpy(flow)[None])[0, 0].numpy()
    y, x = np.mgrid[:21, :30].astype(np.float32)
    to_x, to_y = (x + flow[0]).clip(-50, 80), (y + flow[1]).clip(-50, 80)
    theirs = cv2.remap(frame, to_x, to_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_CONSTANT)
    # OpenCV before 5 rounds positions to 1/32 pixel.
    assert np.abs(ours - theirs).mean() < 1
    assert (ours[3, 3], ours[4, 4], ours[5, 5]) == (0, 0, frame[5, 5])


# --- batches


@pytest.mark.parametrize("size", [(16, 16), (33, 47), (48, 65)])
def test_a_batch_equals_its_pairs_one_by_one_to_the_bit(size):
    shifts = (0, 0.2, 3.7, 3.7, 1, -4)  # some converge at once, some late
    frames = [scene(dx, dx / 2, height=size[0], width=size[1]) for dx in shifts]
    together = torch_solver.solve(stack(*frames), QUICK)
    assert torch.isfinite(together).all()
    for k, (first, second) in enumerate(itertools.pairwise(frames)):
        assert torch.equal(torch_solver.solve(stack(first, second), QUICK)[0], together[k]), f"pair {k}"
    assert len(torch.unique(together.reshape(5, -1), dim=0)) == 5, "the pairs differ"


def test_pairs_that_do_not_converge_keep_what_they_have():
    settings = SolverSettings(scales=1, warps=1, outer=1, inner=2, epsilon=1e-9)
    frames = stack(scene(), scene(1), scene(1))
    flow = torch_solver.solve(frames, settings)
    assert flow[0].abs().max() > 0.05, "two steps are better than none"
    assert not flow[1].any(), "no motion has converged at the first"


@pytest.mark.parametrize("pairs", [2, 3, 64])
def test_the_stream_is_the_same_in_batches_of_any_size(in_batches, pairs):
    frames = [scene(0.7 * k, -0.3 * k, height=32, width=40) for k in range(6)]
    alone = fields(*frames)
    in_batches(pairs)
    batched = fields(*frames)
    assert [field.tobytes() for field in batched] == [field.tobytes() for field in alone]
    assert all(field.flags.c_contiguous for field in backend.compute(frames, "tvl1", "fast"))


@pytest.mark.parametrize("pairs", [1, 3])
def test_no_more_than_one_batch_is_read_ahead(in_batches, pairs):
    in_batches(pairs)
    asked = []

    def frames():
        for k in range(8):
            asked.append(k)
            yield scene(k, height=16, width=16)

    for k, _ in enumerate(backend.compute(frames(), "tvl1", "fastest")):
        assert len(asked) == min(8, (k // pairs + 1) * pairs + 1)
    assert k == 6


def test_a_producer_may_reuse_its_frame(in_batches):
    in_batches(3)
    moving = [scene(k, height=24, width=24) for k in range(4)]
    room = np.empty_like(moving[0])

    def reused():
        for frame in moving:
            room[:] = frame
            yield room

    found = [field.tobytes() for field in backend.compute(reused(), "tvl1", "fastest")]
    assert found == [field.tobytes() for field in fields(*moving, preset="fastest")]


def test_memory_does_not_grow_with_the_clip(in_batches, monkeypatch):
    in_batches(2)
    nothing = lambda frames, *_: np.zeros((len(frames) - 1, *frames[0].shape, 2), np.float32)  # noqa: E731
    monkeypatch.setattr(backend, "_solve", nothing)

    def peak(count):
        tracemalloc.start()
        try:
            for _ in backend.compute((np.zeros((120, 160), np.uint8) for _ in range(count)), "tvl1", "fast"):
                pass
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(60) < 1.2 * peak(6)


MEASURE = """
from pathlib import Path
import numpy as np, torch
from araflow.optical.backends._tvl1 import torch_solver
from araflow.optical.backends._tvl1.settings import SolverSettings
torch.set_num_threads(1)
def run(pairs, height=200, width=264):
    frames = torch.from_numpy(np.random.default_rng(0).uniform(0, 255, (pairs + 1, height, width)).astype(np.float32))
    with torch.inference_mode():
        torch_solver.solve(frames, SolverSettings(warps=1, outer=1, inner=3))
    # Not ru_maxrss, which in a child begins at its parent's value.
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024
few, many = run(1), run(17)
print((many - few) / 16 / 200 / 264)
"""


def test_a_pair_takes_no_more_memory_than_batches_are_planned_with():
    run = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True, cwd=ROOT)
    assert 0.4 * backend._BYTES < float(run.stdout) < backend._BYTES, "bytes per pixel"


def test_the_batch_follows_the_free_memory(monkeypatch):
    free = iter([1 << 20, 4 << 30, 80 << 30])
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (next(free), 80 << 30))
    few, some, many = (backend._batch_size("cuda", 480, 640) for _ in range(3))
    assert few == 1
    assert 1 < some < many == backend._MOST_PAIRS
    assert some * 480 * 640 * backend._BYTES <= 2 << 30


def test_where_memory_runs_out_the_batch_is_halved(monkeypatch):
    frames = [scene(k, height=24, width=24).astype(np.float32) for k in range(6)]
    whole, solve, sizes = backend._solve(frames, QUICK, "cpu"), torch_solver.solve, []

    def short(batch, settings):
        sizes.append(len(batch) - 1)
        if len(batch) > limit:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return solve(batch, settings)

    limit = 3
    monkeypatch.setattr(torch_solver, "solve", short)
    assert backend._solve(frames, QUICK, "cpu").tobytes() == whole.tobytes()
    assert sizes == [5, 3, 2, 1, 2]
    limit = 0
    with pytest.raises(UnavailableError, match="no memory for a pair of 24x24 frames; run fewer workers"):
        backend._solve(frames, QUICK, "cpu")


# --- determinism, and what others set


def test_threads_and_repetition_change_nothing():
    frames, found = stack(scene(height=64, width=300), scene(2, -1, height=64, width=300)), set()
    for threads in (1, 2, 1):
        torch.set_num_threads(threads)
        found.add(torch_solver.solve(frames, QUICK).numpy().tobytes())
    assert len(found) == 1


def test_what_the_caller_had_set_of_torch_is_as_it_was(monkeypatch):
    seen, solve = [], torch_solver.solve

    def watched(*arguments):
        seen.append((torch.are_deterministic_algorithms_enabled(), torch.get_num_threads(), torch.is_grad_enabled()))
        return solve(*arguments)

    monkeypatch.setattr(torch_solver, "solve", watched)
    torch.set_num_threads(2)
    stream = backend.compute([scene(height=16, width=16)] * 2, "tvl1", "fastest")
    next(stream)
    assert seen == [(True, 1, False)]
    assert not torch.are_deterministic_algorithms_enabled(), "while the stream is still open"
    assert (torch.get_num_threads(), torch.is_grad_enabled()) == (2, True)


# --- settings and absence


def test_unknown_settings_name_the_allowed_ones():
    for ask in (backend.parameters, lambda *names: list(backend.compute([], *names))):
        with pytest.raises(SpecError, match=r"optical.algorithm: torch has no 'dis'; allowed: tvl1"):
            ask("dis", "fast")
        with pytest.raises(SpecError, match=r"optical.preset: 'best'.*fastest, fast, balanced, accurate"):
            ask("tvl1", "best")


def test_parameters_are_all_that_decides_the_result_and_differ_by_preset():
    found = [backend.parameters("tvl1", preset) for preset in SETTINGS]
    assert len({tuple(parameters.items()) for parameters in found}) == 4
    assert {type(value) for parameters in found for value in parameters.values()} == {int, float, str}
    assert found[0]["device"] == backend._look()[0]


@pytest.mark.parametrize(("height", "width"), [(15, 40), (40, 15), (1, 1)])
def test_small_frames_are_refused(height, width):
    frame = np.zeros((height, width), np.uint8)
    with pytest.raises(ClipError) as caught:
        fields(frame, frame)
    assert caught.value.code == "frame-size"
    assert caught.value.detail == f"{width}x{height} frames; tvl1 needs at least 16 on each side"


def test_a_frame_of_another_size_is_refused():
    with pytest.raises(ClipError, match="size-change: 40x32, then 48x32"):
        fields(scene(height=32, width=40), scene(height=32, width=48))


def test_it_says_what_it_runs_on():
    found = backend.available()
    assert found.present
    assert found.detail.startswith(f"PyTorch {torch.__version__}")
    assert torch.__version__ in backend.software()


def test_without_a_gpu_it_says_what_is_faster(forgetful, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "on the CPU, where numba is faster" in backend.available().detail


def test_a_gpu_that_does_not_work_is_not_used_and_the_reason_is_given(forgetful, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)  # this build has no CUDA: trying it fails
    if torch.version.cuda is not None:
        pytest.skip("this PyTorch has CUDA")
    found = backend.available()
    assert found.present
    assert "on the CPU" in found.detail
    assert "the GPU cannot be used: " in found.detail
    assert backend.parameters("tvl1", "fast")["device"] == "cpu"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ModuleNotFoundError("No module named 'torch'", name="torch"), "not installed: pip install torch"),
        (ModuleNotFoundError("No module named 'sympy'", name="sympy"), "lacks a module.*pip install sympy"),
        (OSError("libtorch_cpu.so: cannot open"), "install it again: OSError: libtorch_cpu.so"),
    ],
)
def test_an_absent_or_broken_torch_is_a_reason(forgetful, monkeypatch, error, reason):
    real = builtins.__import__

    def refuse(name, *arguments):
        if name == "torch":
            raise error
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", refuse)
    found = backend.available()
    assert not found.present
    with pytest.raises(UnavailableError, match=reason):
        list(backend.compute([], "tvl1", "fast"))
    assert backend.software() == found.detail
    assert backend.parameters("tvl1", "fast")["device"] == "cpu"


def test_importing_the_backend_does_not_import_torch():
    code = "import sys, araflow.optical.backends.torch as t; t.PRESETS; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
