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
from araflow.optical.quality import measure


@pytest.fixture
def gpu(monkeypatch):
    """An OpenCV with CUDA and one device; call it for another one."""

    def install(classes=None, **settings):
        cv2_cuda.install(monkeypatch, classes, **settings)

    install()
    return install


@pytest.fixture(params=cuda.ALGORITHMS)
def engine(request, gpu):
    return Engine("cuda", request.param, "fast")


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
    assert found.detail == f"OpenCV {cv2.__version__} on a CUDA 9.0 device: tvl1, farneback, brox"
    assert cuda.software() == f"OpenCV {cv2.__version__} on a CUDA 9.0 device"


@pytest.mark.parametrize("spelling", ["cuda.X.create", "cuda.X_create", "cuda_X.create"])
def test_every_spelling_of_the_factories_is_found(gpu, monkeypatch, spelling):
    gpu({}, devices=1)
    assert "built without CUDA" in cuda.available().detail
    gpu(spelling=spelling)
    assert cuda.available().detail.endswith("tvl1, farneback, brox")
    assert Engine("cuda", "farneback", "fast").one(window(), window(2)).any()


def test_only_classes_that_exist_are_offered(gpu):
    gpu({"FarnebackOpticalFlow": cv2_cuda.FarnebackOpticalFlow})
    assert cuda.available().detail.endswith("device: farneback")
    with pytest.raises(UnavailableError, match=r"cuda cannot run tvl1 here: .*: farneback"):
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


def test_an_algorithm_that_the_gpu_refuses_is_named_and_the_others_stay(gpu):
    gpu(refuses="BroxOpticalFlow")
    found = cuda.available()
    assert found.present
    assert found.algorithms == ("tvl1", "farneback")
    assert "device: tvl1, farneback; not brox (cuda brox: OpenCV(fake) error: (-217:Gpu API call)" in found.detail
    gpu({"BroxOpticalFlow": cv2_cuda.BroxOpticalFlow}, refuses="BroxOpticalFlow")
    assert not cuda.available().present
    assert "nothing runs; not brox" in cuda.available().detail


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
        kind = cv2_cuda.CLASSES[cuda._CLASSES[algorithm]]
        assert cv2_cuda.names_of(kind) == set(names.split())
        assert set(cuda.parameters(algorithm, "fast")) == set(names.split()), "every one is pinned"


def test_unknown_settings_name_the_allowed_ones():
    with pytest.raises(SpecError, match=r"'dis'; allowed: tvl1, farneback, brox$"):
        cuda.parameters("dis", "fast")
    with pytest.raises(SpecError):
        next(cuda.compute([], "dis", "fast"))


def test_what_is_left_to_nvof_is_refused_by_its_name(gpu):
    for ask in (lambda: optical.choose("cuda", "hardware"), lambda: measure.settings(["cuda"], ["hardware"])):
        with pytest.raises(SpecError, match=r"cuda has no 'hardware'; allowed: .*; nvof and vpi have it$"):
            ask()
    for preset in optical.PRESETS:
        assert cuda.parameters("tvl1", preset) == cuda.parameters("tvl1", "fast")


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
