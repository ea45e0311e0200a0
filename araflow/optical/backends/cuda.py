"""Optical flow by OpenCV's CUDA classes, where OpenCV was built with CUDA. Never run on hardware; tested on fakes.

OpenCV from the package registry has ``cv2.cuda`` but none of these classes; a build of one's own, with the contrib
modules, has them. What each is:

- ``tvl1``, ``farneback``: as in ``araflow.optical.backends.opencv``, with its parameters.
- ``brox``: Brox, Bruhn, Papenberg, Weickert, "High accuracy optical flow estimation based on a theory for warping",
  ECCV 2004.

OpenCV's classes for the GPU's flow engine are left out: ``nvof`` uses the same engine and takes no build.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import ModuleType
from typing import Any

import cv2
import numpy as np

from araflow.core.errors import UnavailableError
from araflow.media.fields import FlowField, GrayFrame
from araflow.optical import Availability
from araflow.optical.backends._checks import check_setting, checked

ALGORITHMS = ("tvl1", "farneback", "brox")
"""What this backend knows, the default first; which of them OpenCV has here is for ``available`` to say."""
PRESETS: Mapping[str, tuple[str, ...]] = {}
PREFERENCE = {"auto": 40}
ONE_DEVICE = True
_CLASSES = {"tvl1": "OpticalFlowDual_TVL1", "farneback": "FarnebackOpticalFlow", "brox": "BroxOpticalFlow"}
# Names as in opencv2/cudaoptflow.hpp. OpenCV's defaults; a pass has 300 iterations where the CPU's has 10 x 30, and no
# median filter. Its early stop compares a sum whose order CUDA does not fix, in double precision.
_TVL1: dict[str, float | int] = {
    "tau": 0.25,
    "lambda_": 0.15,
    "theta": 0.3,
    "nscales": 5,
    "warps": 5,
    "epsilon": 0.01,
    "iterations": 300,
    "scaleStep": 0.8,
    "gamma": 0.0,
    "useInitialFlow": 0,
}
# The parameters of the opencv backend.
_FARNEBACK: dict[str, float | int] = {
    "numLevels": 3,
    "pyrScale": 0.5,
    "fastPyramids": 0,
    "winSize": 15,
    "numIters": 3,
    "polyN": 5,
    "polySigma": 1.2,
    "flags": 0,
}
# Those of OpenCV's own test (modules/cudaoptflow/test/test_optflow.cpp) and of the denseflow tool.
_BROX: dict[str, float | int] = {
    "alpha": 0.197,
    "gamma": 50.0,
    "scale_factor": 0.8,
    "inner_iterations": 10,
    "outer_iterations": 77,
    "solver_iterations": 10,
}
_PARAMETERS = {"tvl1": _TVL1, "farneback": _FARNEBACK, "brox": _BROX}
_SMALLEST = 16
"""Smallest frame side in pixels that is taken, as on the CPU."""
_SWITCHES = ("useInitialFlow", "fastPyramids")


def available() -> Availability:
    """Report which algorithms ran on a 64x64 pair on this machine's GPU, or what is missing. Never raises."""
    try:
        return _available()
    except Exception as error:  # a library of another CUDA, a GPU that is lost: whatever it is, it is not available
        return Availability(False, f"OpenCV {cv2.__version__}: looking for CUDA failed: {error}")


def _available() -> Availability:
    built = [name for name in ALGORITHMS if _creator(name)]
    if not built:
        return Availability(
            False,
            f"OpenCV {cv2.__version__} was built without CUDA, as all packages of the registry are: build OpenCV with "
            "its contrib modules and WITH_CUDA=ON (on a PC with an NVIDIA GPU, nvof takes no build)",
        )
    devices = cv2.cuda.getCudaEnabledDeviceCount()
    if devices < 1:
        why = "no NVIDIA GPU is visible" if devices == 0 else "the NVIDIA driver is missing or too old for it"
        return Availability(False, f"OpenCV {cv2.__version__} has CUDA, but {why}: see nvidia-smi")
    runs, refused = [], []
    for name in built:
        try:
            frame = np.zeros((64, 64), np.uint8)
            next(compute([frame, frame], name, "fastest"))
        except UnavailableError as error:
            refused.append(f"{name} ({str(error).strip().splitlines()[0]})")
        else:
            runs.append(name)
    missing = f"; not {', '.join(refused)}" if refused else ""
    if not runs:
        return Availability(False, f"OpenCV {cv2.__version__} has CUDA and a GPU, but nothing runs{missing}")
    return Availability(True, f"{software()}: {', '.join(runs)}{missing}", tuple(runs))


def software() -> str:
    """Return OpenCV's version, and the compute capability of the GPU that it uses."""
    if not hasattr(cv2, "cuda") or cv2.cuda.getCudaEnabledDeviceCount() < 1:
        return f"OpenCV {cv2.__version__}, no CUDA device"
    device = cv2.cuda.DeviceInfo()
    return f"OpenCV {cv2.__version__} on a CUDA {device.majorVersion()}.{device.minorVersion()} device"


def parameters(algorithm: str, preset: str) -> dict[str, float | int | str]:
    """Return the parameters that ``algorithm`` runs with, at every preset.

    Raises:
        SpecError: Unknown algorithm.
    """
    check_setting("cuda", algorithm, preset, ALGORITHMS, PRESETS)
    return dict(_PARAMETERS[algorithm])


def compute(frames: Iterable[GrayFrame], algorithm: str, preset: str) -> Iterator[FlowField]:
    """Yield the flow field of each pair of neighbouring frames; see ``araflow.optical.Backend``.

    Raises:
        SpecError: Unknown algorithm.
        UnavailableError: This OpenCV lacks the class, or OpenCV refused or the GPU failed, in OpenCV's words.
        ClipError: ``frame-size``: below 16 pixels on a side; ``size-change``: not all frames are of one size.
    """
    settings = parameters(algorithm, preset)
    engine: _Engine | None = None
    previous: object = None
    for frame in checked(frames, _SMALLEST, algorithm):
        with _named(algorithm):
            engine = engine or _Engine(algorithm, settings)
            current = engine.load(frame)
            field = None if previous is None else engine.flow(previous, current)
        if field is not None:
            yield field
        previous = current


@contextlib.contextmanager
def _named(algorithm: str) -> Iterator[None]:
    """Turn a failure of OpenCV's into one of the device, so that the clip is tried again."""
    try:
        yield
    except cv2.error as error:
        raise UnavailableError(f"cuda {algorithm}: {' '.join(str(error).split())}") from error


class _Engine:
    """One algorithm on the GPU's cores."""

    def __init__(self, algorithm: str, settings: Mapping[str, Any]) -> None:
        create = _creator(algorithm)
        if create is None:
            raise UnavailableError(f"optical.algorithm: cuda cannot run {algorithm} here: {available().detail}")
        self._scale = algorithm == "brox"
        self._calc = create(**{key: bool(value) if key in _SWITCHES else value for key, value in settings.items()})

    def load(self, frame: GrayFrame) -> object:
        """Return the frame on the GPU, as the algorithm takes it."""
        image = cv2.cuda.GpuMat()
        image.upload(frame.astype(np.float32) / 255 if self._scale else np.ascontiguousarray(frame))
        return image

    def flow(self, first: object, second: object) -> FlowField:
        """Return the field from the first to the second."""
        field: FlowField = self._calc.calc(first, second, None).download()
        return field


def _creator(algorithm: str) -> Callable[..., Any] | None:
    """Return the factory of OpenCV's class, whose spelling differs between versions of OpenCV."""
    name = _CLASSES[algorithm]
    inside: ModuleType | None = getattr(cv2, "cuda", None)
    places = (getattr(cv2, f"cuda_{name}", None), getattr(inside, name, None))
    found = [create for place in places if (create := getattr(place, "create", None))]
    return next(iter(found), None) or getattr(inside, f"{name}_create", None)
