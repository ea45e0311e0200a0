"""Which backend and algorithm run where. Devices are fakes; no GPU and no Jetson was ever asked."""

import sys
import types
from pathlib import Path

import cv2
import pytest
from fakes.nvof_machine import installed

sys.path.insert(0, str(Path(__file__).parents[1] / "fakes"))
import cv2_cuda

from araflow import optical
from araflow.core import resources
from araflow.core.errors import SpecError, UnavailableError
from araflow.optical import Availability, Choice
from araflow.optical.backends import cuda, nvof, vpi

CPU = f"OpenCV {cv2.__version__} on the CPU"
REAL = resources.plugins("optical/backends")


@pytest.fixture
def machine(monkeypatch, jetson):
    """Call with the devices that a machine has; of the backends, those of this repository but for ``numba``, ``torch``.

    ``numba`` or ``torch``: True or False puts a module there that is present, or is not.
    """
    opened = []

    def prepare(*devices, **libraries):
        opened.append(installed(**({} if "nvof" in devices else {"missing": ["libcuda.so.1"]})))
        opened[-1].__enter__()
        jetson(**({} if "vpi" in devices else {"kind": "absent"}))
        cv2_cuda.install(monkeypatch, None if "cuda" in devices else {})
        for name, present in libraries.items():
            found = Availability(present, f"{name}: pip install it" if not present else f"{name} 1.0")
            module = types.SimpleNamespace(ALGORITHMS=("tvl1",), available=lambda found=found: found)
            module.PREFERENCE = optical.load(name).PREFERENCE
            monkeypatch.setitem(sys.modules, f"araflow.optical.backends.{name}", module)
        names = {"cuda", "nvof", "opencv", "vpi", *libraries}
        monkeypatch.setattr(resources, "plugins", lambda package: tuple(sorted(names)))

    yield prepare
    for each in reversed(opened):
        each.__exit__(None, None, None)


def without(monkeypatch, *names):
    """Take backends away, as if their libraries were not there."""
    for name in names:
        gone = Availability(False, f"no {name} (a test took it): put it back")
        monkeypatch.setattr(optical.load(name), "available", lambda gone=gone: gone)


# --- a backend by name


@pytest.mark.parametrize(
    ("name", "reason", "remedy"),
    [
        ("nvof", "no CUDA driver: libcuda.so.1 cannot be opened", "install NVIDIA's driver"),
        ("vpi", "no NVIDIA vpi module under ", "sudo apt install python3.10-vpi3"),
        ("cuda", "was built without CUDA", "build OpenCV with its contrib modules and WITH_CUDA=ON"),
    ],
)
def test_an_absent_device_is_refused_by_name_with_its_remedy(machine, name, reason, remedy):
    machine()
    with pytest.raises(UnavailableError) as caught:
        optical.choose(name)
    text = str(caught.value)
    assert text.startswith(f"optical.backend: {name} cannot run here: ")
    assert reason in text
    assert remedy in text
    assert "\n" not in text


def test_opencv_without_contrib_is_refused_with_its_remedy(machine, monkeypatch):
    machine()
    monkeypatch.delattr(cv2, "optflow")
    with pytest.raises(UnavailableError, match=r"opencv cannot run here: .*pip install opencv-contrib-python-headless"):
        optical.choose("opencv", "dis")


@pytest.mark.parametrize("name", REAL)
def test_a_backend_that_cannot_run_here_says_how_to_get_it(name):
    found = optical.load(name).available()
    if found.present:
        pytest.skip(f"{name} is here: {found.detail}")
    with pytest.raises(UnavailableError) as caught:
        optical.choose(name)
    assert str(caught.value) == f"optical.backend: {name} cannot run here: {found.detail}"


@pytest.mark.parametrize("name", ["nvidia", "", "OpenCV", "_blocks", "../opencv", "opencv.py"])
def test_what_is_no_backend_is_a_wrong_setting_that_names_them_all(name):
    with pytest.raises(SpecError) as caught:
        optical.choose(name)
    assert str(caught.value) == f"optical.backend: {name!r} is not a backend; allowed: auto, {', '.join(REAL)}"


@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("algorithm", ["horn", "", "TVL1"])
def test_an_algorithm_that_a_backend_lacks_is_a_wrong_setting_before_anything_is_looked_for(
    monkeypatch, name, algorithm
):
    monkeypatch.setattr(optical.load(name), "available", lambda: pytest.fail("a wrong setting needs no device"))
    with pytest.raises(SpecError) as caught:
        optical.choose(name, algorithm)
    allowed = ", ".join(optical.load(name).ALGORITHMS)
    assert str(caught.value) == f"optical.algorithm: {name} has no {algorithm!r}; allowed: auto, {allowed}"


def test_who_has_the_algorithm_that_a_backend_lacks_is_said():
    for name, algorithm, others in (("opencv", "brox", "cuda has it"), ("cuda", "hardware", "nvof and vpi have it")):
        with pytest.raises(SpecError, match=rf"{name} has no '{algorithm}'; allowed: auto, .*; {others}$"):
            optical.choose(name, algorithm)


@pytest.mark.parametrize(
    ("devices", "algorithm", "choice"),
    [
        ("nvof", "auto", ("nvof", "hardware")),
        ("vpi", "hardware", ("vpi", "hardware")),
        ("cuda", "auto", ("cuda", "tvl1")),
        ("cuda", "brox", ("cuda", "brox")),
        ("opencv", "auto", ("opencv", "dis")),
        ("opencv", "farneback", ("opencv", "farneback")),
    ],
)
def test_a_named_backend_is_taken_with_its_first_algorithm_or_the_one_asked_for(machine, devices, algorithm, choice):
    machine(devices)
    found = optical.choose(choice[0], algorithm)
    detail = optical.load(choice[0]).available().detail
    assert found == Choice(*choice, f"{choice[0]} {choice[1]}, as asked: {detail}")


# --- auto


@pytest.mark.parametrize(
    ("devices", "choice", "absent"),
    [
        (["nvof", "vpi", "cuda"], ("nvof", "hardware"), []),
        (["vpi", "cuda"], ("vpi", "hardware"), ["nvof"]),
        (["nvof", "cuda"], ("nvof", "hardware"), []),
        (["cuda"], ("cuda", "tvl1"), ["nvof", "vpi"]),
        ([], ("opencv", "dis"), ["nvof", "vpi", "cuda"]),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, list) else None,
)
def test_auto_takes_engines_first_and_says_what_was_absent(machine, devices, choice, absent):
    machine(*devices, numba=True, torch=True)  # on any CPU dis comes before what these have
    found = optical.choose("auto")
    assert (found.backend, found.algorithm) == choice
    assert found.why == f"{choice[0]} {choice[1]}, chosen by auto: {optical.load(choice[0]).available().detail}"
    short = {
        "nvof": "nvof (no CUDA driver)",
        "vpi": f"vpi ({vpi.available().detail.split(';')[0]})",
        "cuda": f"cuda (OpenCV {cv2.__version__} was built without CUDA)",
    }
    assert found.absent == ", ".join(short[name] for name in absent)
    assert "\n" not in found.why


@pytest.mark.parametrize(
    ("devices", "libraries", "taken"),
    [
        (["nvof", "vpi", "cuda"], {"numba": True, "torch": True}, "cuda"),
        (["nvof", "vpi"], {"numba": True, "torch": True}, "numba"),
        ([], {"numba": False, "torch": True}, "opencv"),
        ([], {}, "opencv"),
    ],
)
def test_auto_with_tvl1_prefers_cuda_then_numba_then_opencv(machine, devices, libraries, taken):
    machine(*devices, **libraries)
    found = optical.choose("auto", "tvl1")
    assert (found.backend, found.algorithm) == (taken, "tvl1")
    assert found.why.startswith(f"{taken} tvl1, chosen by auto: ")
    assert ("cuda (" in found.absent) is ("cuda" not in devices)
    assert ("numba (numba)" in found.absent) is (libraries.get("numba") is False)
    for lacking in ("nvof", "vpi"):
        assert lacking not in found.absent, "it has no TV-L1, so that its absence explains nothing"


def test_torch_is_what_is_left_for_tvl1(machine, monkeypatch):
    machine(numba=False, torch=True)
    without(monkeypatch, "opencv")
    assert optical.choose("auto", "tvl1").backend == "torch"


@pytest.mark.parametrize(
    ("devices", "algorithm", "taken"),
    [
        (["nvof", "vpi", "cuda"], "hardware", "nvof"),
        (["vpi", "cuda"], "hardware", "vpi"),
        (["nvof", "cuda"], "brox", "cuda"),
        (["nvof", "cuda"], "farneback", "cuda"),
        (["nvof", "vpi"], "farneback", "opencv"),
        (["nvof", "vpi", "cuda"], "dis", "opencv"),
    ],
)
def test_auto_takes_only_what_has_the_algorithm(machine, devices, algorithm, taken):
    machine(*devices)
    assert (optical.choose("auto", algorithm).backend, optical.choose("auto", algorithm).algorithm) == (
        taken,
        algorithm,
    )


def test_auto_with_an_engine_asked_for_where_there_is_none_gives_every_reason(machine):
    machine()
    with pytest.raises(UnavailableError) as caught:
        optical.choose("auto", "hardware")
    text = str(caught.value)
    assert text.startswith("optical.backend: auto found no backend with the algorithm hardware that can run here; ")
    for module in (nvof, vpi):
        assert module.available().detail in text, "whole reasons, each with its remedy"
    assert "opencv: " not in text
    assert "cuda: " not in text


def test_auto_where_nothing_runs_gives_every_reason(machine, monkeypatch):
    machine()
    monkeypatch.delattr(cv2, "optflow")
    with pytest.raises(UnavailableError, match=r"auto found no backend that can run here; nvof: .*; vpi: .*; cuda: "):
        optical.choose("auto")


def test_an_algorithm_that_the_gpu_refuses_is_not_chosen(machine, monkeypatch):
    # A GPU that this build has no code for: OpenCV has the class, and the GPU answers no.
    machine("cuda")
    cv2_cuda.install(monkeypatch, refuses="BroxOpticalFlow")
    assert "; not brox (" in cuda.available().detail
    with pytest.raises(UnavailableError, match=r"cuda cannot run .*brox.*no kernel image is available"):
        optical.choose("cuda", "brox")
    with pytest.raises(UnavailableError, match="no backend with the algorithm brox"):
        optical.choose("auto", "brox")
    assert optical.choose("cuda").algorithm == "tvl1"


def test_a_build_of_opencv_with_one_class_offers_that_one(machine, monkeypatch):
    machine()
    cv2_cuda.install(monkeypatch, {"FarnebackOpticalFlow": cv2_cuda.FarnebackOpticalFlow})
    assert optical.choose("cuda").algorithm == "farneback"
    assert optical.choose("auto", "tvl1").backend == "opencv"
    with pytest.raises(UnavailableError, match="tvl1"):
        optical.choose("cuda", "tvl1")
