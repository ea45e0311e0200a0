"""OpenCV's CUDA classes, against fakes that take what the real ones take. No GPU was ever asked."""

import subprocess
import sys
from pathlib import Path

import contract_suite
import cv2
import numpy as np
import pytest
from contract_suite import Engine, texture, window

sys.path.insert(0, str(Path(__file__).parents[1] / "fakes"))
import cv2_cuda

from araflow import optical
from araflow.core.errors import ClipError, SpecError, UnavailableError
from araflow.optical.backends import cuda

OLD = {"NvidiaOpticalFlow_1_0": cv2_cuda.NvidiaOpticalFlow_1_0}


@pytest.fixture
def gpu(monkeypatch):
    """An OpenCV with CUDA and one device; call it for another one."""

    def install(classes=None, **settings):
        cv2_cuda.install(monkeypatch, classes, **settings)

    install()
    return install


@pytest.fixture(
    params=["tvl1", "farneback", "brox", "hardware-accurate", "hardware-fastest", "hardware-1.0"],
)
def engine(request, gpu):
    algorithm, _, preset = request.param.partition("-")
    if preset == "1.0":
        gpu(OLD)
    yield Engine("cuda", algorithm, preset if preset in cuda._PRESETS else "fast")
    assert cv2_cuda._Engine.alive == 0, "every engine was released"


globals().update(contract_suite.take())


# --- what is there


def test_the_registrys_opencv_has_no_cuda_and_the_reason_says_so():
    command = [sys.executable, "-c", "from araflow.optical.backends import cuda; print(cuda.available())"]
    run = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    if cv2.cuda.getCudaEnabledDeviceCount() < 1:
        assert "present=False" in run.stdout
        assert "built without CUDA" in run.stdout
        assert "WITH_CUDA=ON" in run.stdout


def test_all_that_runs_is_offered(gpu):
    found = cuda.available()
    assert found.present
    assert found.detail == f"OpenCV {cv2.__version__} on a CUDA 9.0 device: tvl1, farneback, brox, hardware"
    assert cuda.software() == f"OpenCV {cv2.__version__} on a CUDA 9.0 device"


@pytest.mark.parametrize("spelling", ["cuda.X.create", "cuda.X_create", "cuda_X.create"])
def test_every_spelling_of_the_factories_is_found(gpu, monkeypatch, spelling):
    gpu({}, devices=1)
    assert "built without CUDA" in cuda.available().detail
    gpu(spelling=spelling)
    assert cuda.available().detail.endswith("tvl1, farneback, brox, hardware")
    assert Engine("cuda", "farneback", "fast").one(window(), window(2)).any()


def test_only_classes_that_exist_are_offered(gpu):
    gpu({"FarnebackOpticalFlow": cv2_cuda.FarnebackOpticalFlow})
    assert cuda.available().detail.endswith("device: farneback")
    with pytest.raises(UnavailableError, match=r"cuda cannot run tvl1: .*: farneback"):
        Engine("cuda", "tvl1", "fast").one(window(), window())


@pytest.mark.parametrize(("devices", "why"), [(0, "no NVIDIA GPU is visible"), (-1, "driver is missing or too old")])
def test_cuda_without_a_device_is_a_reason_of_its_own(gpu, devices, why):
    gpu(devices=devices)
    found = cuda.available()
    assert not found.present
    assert why in found.detail
    with pytest.raises(UnavailableError, match=why):
        optical.choose("cuda")
    assert cuda.software() == f"OpenCV {cv2.__version__}, no CUDA device"


def test_an_engine_that_opencv_refuses_is_named_and_the_others_stay(gpu):
    gpu(refuses="(-3:Internal error) NvOF API is not supported on this GPU")
    found = cuda.available()
    assert found.present
    assert "device: tvl1, farneback, brox; not hardware (cuda hardware: OpenCV(fake)" in found.detail
    gpu(OLD, refuses="StsNullPtr")
    assert not cuda.available().present
    assert "nothing runs; not hardware" in cuda.available().detail


def test_looking_never_raises(gpu, monkeypatch):
    def lost():
        raise cv2.error("(-217:Gpu API call) unknown error in function 'getCudaEnabledDeviceCount'")

    monkeypatch.setattr(cv2.cuda, "getCudaEnabledDeviceCount", lost)
    assert "looking for CUDA failed: (-217:Gpu API call)" in cuda.available().detail
    monkeypatch.delattr(cv2, "cuda")
    assert "built without CUDA" in cuda.available().detail
    assert cuda.software().endswith("no CUDA device")


# --- parameters


def test_the_names_are_those_of_opencvs_header():
    # gpu-facing names, from opencv2/cudaoptflow.hpp as Python has them; the fake and our tables must agree with them.
    header = {
        "tvl1": "tau lambda_ theta nscales warps epsilon iterations scaleStep gamma useInitialFlow",
        "farneback": "numLevels pyrScale fastPyramids winSize numIters polyN polySigma flags",
        "brox": "alpha gamma scale_factor inner_iterations outer_iterations solver_iterations",
    }
    for algorithm, names in header.items():
        kind = cv2_cuda.CLASSES[cuda._CLASSES[algorithm][0]]
        assert cv2_cuda.names_of(kind) == set(names.split())
        assert set(cuda.parameters(algorithm, "fast")) == set(names.split()), "every one is pinned"
    assert cv2_cuda.names_of(cv2_cuda.NvidiaOpticalFlow_2_0) - cv2_cuda.names_of(cv2_cuda.NvidiaOpticalFlow_1_0) == {
        "outputGridSize",
        "hintGridSize",
    }


def test_presets_are_the_engines_levels_and_grids(gpu):
    found = {preset: cuda.parameters("hardware", preset) for preset in ("fastest", "fast", "balanced", "accurate")}
    assert found["accurate"] == {"interface": "2.0", "perfPreset": 5, "grid": 1}
    assert [(each["perfPreset"], each["grid"]) for each in found.values()] == [(20, 4), (20, 1), (10, 1), (5, 1)]
    gpu(OLD)
    assert cuda.parameters("hardware", "accurate") == {"interface": "1.0", "perfPreset": 5, "grid": 4}
    for algorithm in ("tvl1", "farneback", "brox"):
        assert cuda.parameters(algorithm, "fast") == cuda.parameters(algorithm, "accurate")


def test_unknown_settings_name_the_allowed_ones():
    with pytest.raises(SpecError, match="'dis'; allowed: tvl1, farneback, brox, hardware"):
        cuda.parameters("dis", "fast")
    with pytest.raises(SpecError, match=r"'best'.*fastest, fast, balanced, accurate"):
        cuda.parameters("hardware", "best")
    with pytest.raises(SpecError):
        next(cuda.compute([], "dis", "fast"))


def test_parameters_are_those_of_the_opencv_backend_under_other_names():
    theirs, mine = (optical.load(name).parameters("tvl1", "fast") for name in ("opencv", "cuda"))
    assert mine.pop("iterations") == theirs["innnerIterations"] * theirs["outerIterations"]
    assert mine.pop("useInitialFlow") == 0
    assert mine == {name: theirs[name] for name in mine}
    theirs, mine = (optical.load(name).parameters("farneback", "fast") for name in ("opencv", "cuda"))
    names = {
        "numLevels": "levels",
        "pyrScale": "pyr_scale",
        "winSize": "winsize",
        "numIters": "iterations",
        "polyN": "poly_n",
        "polySigma": "poly_sigma",
        "flags": "flags",
    }
    assert {names[name]: value for name, value in mine.items() if name != "fastPyramids"} == theirs
    assert mine["fastPyramids"] == 0


# --- results


@pytest.mark.parametrize("algorithm", ["farneback", "tvl1"])
def test_cuda_cores_get_what_the_cpus_backend_gets(gpu, algorithm):
    # The twins compute on the CPU: what is shown is that frames and parameters arrive.
    pair = window(height=48, width=56), window(2, 1, height=48, width=56)
    mine, theirs = (Engine(backend, algorithm, "fast").one(*pair) for backend in ("cuda", "opencv"))
    assert np.abs(mine - theirs).mean() < (1e-6 if algorithm == "farneback" else 0.05)


def test_brox_gets_pictures_from_0_to_1(gpu, monkeypatch):
    seen = []
    monkeypatch.setattr(
        cv2_cuda.BroxOpticalFlow, "twin", lambda self, a, b: seen.extend((a, b)) or np.zeros((16, 16, 2))
    )
    frame = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Engine("cuda", "brox", "fast").one(frame, frame)
    assert (seen[0].dtype, seen[0].min(), seen[0].max()) == (np.float32, 0, 1)


def test_a_coarser_grid_than_was_asked_for_is_seen(gpu):
    # Turing's engine has 4x4 blocks alone; OpenCV then takes those.
    gpu(finest=4)
    field = Engine("cuda", "hardware", "accurate").one(window(), window(3))
    assert field.shape == (72, 80, 2)
    assert np.abs(field[12:-12, 12:-12] - (3, 0)).max() < 0.3
    assert (field[:4, :4] == field[0, 0]).all()


def test_block_vectors_are_thirty_seconds_of_a_pixel_and_keep_their_place(gpu, monkeypatch):
    rows, columns = np.mgrid[0:16, 0:20]
    known = np.stack([columns * 32 + 1, -rows * 32], axis=-1).astype(np.int16)
    monkeypatch.setattr(cv2_cuda, "vectors", lambda first, second, grid: known)
    field = Engine("cuda", "hardware", "fastest").one(np.zeros((61, 77), np.uint8), np.zeros((61, 77), np.uint8))
    assert field.shape == (61, 77, 2)
    y, x = np.mgrid[0:61, 0:77]
    np.testing.assert_array_equal(field[..., 0], x // 4 + np.float32(1 / 32))
    np.testing.assert_array_equal(field[..., 1], -(y // 4))


def test_interface_1_0_of_before_2020_takes_width_and_height(gpu):
    gpu({"NvidiaOpticalFlow_1_0": cv2_cuda.Before2020})
    assert Engine("cuda", "hardware", "fast").one(window(), window(3)).any()
    assert cv2_cuda._Engine.alive == 0


def test_small_frames_are_refused_alike_each_time(engine):
    scene = texture(80, 340, 3).astype(np.uint8)
    answers = {}
    for width, height in ((1, 1), (90, 2), (15, 40), (16, 16), (17, 16), (32, 32), (300, 33), (33, 80)):
        frames = [np.ascontiguousarray(scene[:height, k : k + width]) for k in range(2)]
        try:
            answers[width, height] = engine.one(*frames).shape == (height, width, 2)
        except ClipError as error:
            answers[width, height] = error.code
    assert answers[1, 1] == answers[90, 2] == answers[15, 40] == "frame-size"
    assert answers[32, 32] is answers[300, 33] is answers[33, 80] is True


def test_a_failing_gpu_is_the_devices_fault(gpu, monkeypatch):
    def broken(self, first, second):
        raise cv2.error("OpenCV(4.11.0) error: (-217:Gpu API call) out of memory in function 'allocate'")

    monkeypatch.setattr(cv2_cuda.FarnebackOpticalFlow, "twin", broken)
    with pytest.raises(UnavailableError, match=r"cuda farneback: .*out of memory"):
        Engine("cuda", "farneback", "fast").one(window(), window())


def test_a_change_of_size_is_the_clips_fault(engine):
    with pytest.raises(ClipError, match="size-change: 80x72, then 64x72"):
        engine.all(window(), window(), window(width=64))


def test_an_abandoned_clip_releases_the_engine(gpu):
    stream = Engine("cuda", "hardware", "fast").stream([window(), window(1), window(2)])
    next(stream)
    assert cv2_cuda._Engine.alive == 1
    stream.close()
    assert cv2_cuda._Engine.alive == 0
