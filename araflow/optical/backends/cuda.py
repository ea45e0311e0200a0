"""Optical flow by OpenCV's CUDA classes, where OpenCV was built with CUDA. Never run on hardware; tested on fakes.

OpenCV from the package registry has ``cv2.cuda`` but none of these classes; a build of one's own, with the contrib
modules, has them. What each is:

- ``tvl1``, ``farneback``: as in ``araflow.optical.backends.opencv``, with its parameters.
- ``brox``: Brox, Bruhn, Papenberg, Weickert, "High accuracy optical flow estimation based on a theory for warping",
  ECCV 2004.
- ``hardware``: the flow engine of NVIDIA GPUs (Turing and newer), through version 2.0 of its interface where OpenCV has
  it, else 1.0, which gives one vector per 4x4 pixels. No hints from the pair before: each pair stands for itself.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import ModuleType
from typing import Any

import cv2
import numpy as np

from araflow.core.errors import SpecError, UnavailableError
from araflow.media.fields import FlowField, GrayFrame
from araflow.optical import Availability
from araflow.optical.backends import _blocks
from araflow.optical.backends._checks import checked

ALGORITHMS = ("tvl1", "farneback", "brox", "hardware")
"""What this backend knows, the default first; which of them OpenCV has here is for ``available`` to say."""
ONE_DEVICE = True
_CLASSES = {
    "tvl1": ("OpticalFlowDual_TVL1",),
    "farneback": ("FarnebackOpticalFlow",),
    "brox": ("BroxOpticalFlow",),
    "hardware": ("NvidiaOpticalFlow_2_0", "NvidiaOpticalFlow_1_0"),
}
_PRESETS = {"fastest": (20, 4), "fast": (20, 1), "balanced": (10, 1), "accurate": (5, 1)}
"""The engine's performance level (SLOW 5, MEDIUM 10, FAST 20: opencv2/cudaoptflow.hpp) and grid in pixels."""
_OLD_GRID = 4
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
_PLAIN = {"tvl1": _TVL1, "farneback": _FARNEBACK, "brox": _BROX}
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
    """Return the parameters that ``algorithm`` runs with; presets are for ``hardware``, the others have one setting.

    Interface 1.0 of the engine has one grid, so that ``fastest`` and ``fast`` are the same there.

    Raises:
        SpecError: Unknown algorithm or preset.
    """
    if algorithm in _PLAIN:
        return dict(_PLAIN[algorithm])
    if algorithm != "hardware":
        raise SpecError(f"optical.algorithm: cuda has no {algorithm!r}; allowed: {', '.join(ALGORITHMS)}")
    if preset not in _PRESETS:
        raise SpecError(f"optical.preset: {preset!r} is not allowed for {algorithm}; allowed: {', '.join(_PRESETS)}")
    level, grid = _PRESETS[preset]
    found = _creator("hardware")
    old = found is not None and found[0].endswith("1_0")
    return {"interface": "1.0" if old else "2.0", "perfPreset": level, "grid": _OLD_GRID if old else grid}


def compute(frames: Iterable[GrayFrame], algorithm: str, preset: str) -> Iterator[FlowField]:
    """Yield the flow field of each pair of neighbouring frames; see ``araflow.optical.Backend``.

    Raises:
        SpecError: Unknown algorithm or preset.
        UnavailableError: This OpenCV lacks the class, or OpenCV refused or the GPU failed, in OpenCV's words.
        ClipError: ``frame-size``: below 16 pixels on a side; ``size-change``: not all frames are of one size.
    """
    settings = parameters(algorithm, preset)
    engine: _Engine | None = None
    previous: object = None
    try:
        for frame in checked(frames, _blocks.SMALLEST, algorithm):
            if engine is None:
                with _named(algorithm):
                    engine = _Engine(algorithm, settings, frame.shape)
            with _named(algorithm):
                current = engine.load(frame)
                field = None if previous is None else engine.flow(previous, current)
            if field is not None:
                yield field
            previous = current
    finally:
        if engine is not None:
            engine.close()


@contextlib.contextmanager
def _named(algorithm: str) -> Iterator[None]:
    """Turn a failure of OpenCV's into one of the device, so that the clip is tried again."""
    try:
        yield
    except cv2.error as error:
        raise UnavailableError(f"cuda {algorithm}: {' '.join(str(error).split())}") from error


class _Engine:
    """One algorithm, for frames of one size (height, width)."""

    def __init__(self, algorithm: str, settings: Mapping[str, Any], shape: tuple[int, int]) -> None:
        found = _creator(algorithm)
        if found is None:
            raise UnavailableError(f"optical.algorithm: cuda cannot run {algorithm}: {available().detail}")
        name, create = found
        self.shape, self.algorithm = shape, algorithm
        if algorithm != "hardware":
            self._calc = create(**{key: bool(value) if key in _SWITCHES else value for key, value in settings.items()})
            return
        height, width = _blocks.pad(np.zeros(shape, np.uint8)).shape
        self._width = width
        common = {
            "perfPreset": settings["perfPreset"],
            "enableTemporalHints": False,
            "enableExternalHints": False,
            "enableCostBuffer": False,
            "gpuId": 0,
        }
        if name.endswith("2_0"):
            grid = settings["grid"]
            common |= {"outputGridSize": grid, "hintGridSize": grid}
        try:
            self._calc = create(imageSize=(width, height), **common)
        except (cv2.error, TypeError) as error:
            if name.endswith("2_0"):
                raise
            try:
                self._calc = create(width=width, height=height, **common)  # OpenCV of before 2020
            except TypeError:
                raise error from None  # not that old: the first answer was about the engine

    def load(self, frame: GrayFrame) -> object:
        """Return the frame as ``flow`` takes it: on the GPU, or padded for the engine, which uploads by itself."""
        if self.algorithm == "hardware":
            return _blocks.pad(frame)
        image = cv2.cuda.GpuMat()
        image.upload(frame.astype(np.float32) / 255 if self.algorithm == "brox" else np.ascontiguousarray(frame))
        return image

    def flow(self, first: object, second: object) -> FlowField:
        """Return the field from the first to the second."""
        if self.algorithm != "hardware":
            field: FlowField = self._calc.calc(first, second, None).download()
            return field
        vectors = self._calc.calc(first, second, None)[0]
        # An engine may have a coarser grid than was asked for; what came tells.
        grid = self._width // vectors.shape[1]
        return _blocks.pixels(vectors, grid, *self.shape)

    def close(self) -> None:
        if self.algorithm == "hardware":
            self._calc.collectGarbage()  # OpenCV asks for it before the object goes


def _creator(algorithm: str) -> tuple[str, Callable[..., Any]] | None:
    """Return the name of OpenCV's class and its factory, whose spelling differs between versions of OpenCV."""
    for name in _CLASSES[algorithm]:
        inside: ModuleType | None = getattr(cv2, "cuda", None)
        places = (getattr(cv2, f"cuda_{name}", None), getattr(inside, name, None))
        found = [create for place in places if (create := getattr(place, "create", None))]
        found += [create for create in (getattr(inside, f"{name}_create", None),) if create]
        if found:
            return name, found[0]
    return None
