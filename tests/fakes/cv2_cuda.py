"""A fake of OpenCV's CUDA classes for flow, with twins on the CPU for the numbers. Stricter than the real ones.

``install`` puts it into ``cv2``. It takes exactly the arguments of opencv2/cudaoptflow.hpp, by name; images must have
been uploaded (but for the flow engine's, which must not), in the class's own format; an object that was released, or a
buffer that was changed meanwhile, is an error.

- TV-L1, Farneback: OpenCV's own on the CPU, with the same parameters.
- Brox: OpenCV has none on the CPU; DIS stands in, so that only what goes in and comes out is tested.
- The flow engine: DIS, rounded to 1/32 pixel, one vector per block (``block_flow.py``).
"""

# ruff: noqa: N803 (OpenCV's names)
import inspect
import types

import cv2
import numpy as np
from block_flow import vectors

LEVELS = {5, 10, 20}
"""NV_OF_PERF_LEVEL SLOW, MEDIUM and FAST."""


ARGUMENTS = {
    "OpticalFlowDual_TVL1": {
        "tau": float,
        "lambda_": float,
        "theta": float,
        "nscales": int,
        "warps": int,
        "epsilon": float,
        "iterations": int,
        "scaleStep": float,
        "gamma": float,
        "useInitialFlow": bool,
    },
    "FarnebackOpticalFlow": {
        "numLevels": int,
        "pyrScale": float,
        "fastPyramids": bool,
        "winSize": int,
        "numIters": int,
        "polyN": int,
        "polySigma": float,
        "flags": int,
    },
    "BroxOpticalFlow": {
        "alpha": float,
        "gamma": float,
        "scale_factor": float,
        "inner_iterations": int,
        "outer_iterations": int,
        "solver_iterations": int,
    },
}
"""What each class's ``create`` takes: opencv2/cudaoptflow.hpp."""


def fail(text):
    raise cv2.error(f"OpenCV(fake) error: {text}")


class GpuMat:
    """An image on the "device", which is a copy on the host."""

    def __init__(self, content=None):
        self._content = content

    def upload(self, arr):
        if not isinstance(arr, np.ndarray) or not arr.flags.c_contiguous:
            fail("upload takes a contiguous array")
        self._content = arr.copy()

    def download(self):
        return self._content.copy()


class _Flow:
    """Common to the algorithms that run on CUDA cores."""

    dtype = np.uint8

    @classmethod
    def create(cls, **given):
        allowed = ARGUMENTS[cls.__name__]
        if unknown := set(given) - set(allowed):
            raise TypeError(f"create() got unexpected keyword arguments {sorted(unknown)}")
        for name, value in given.items():
            if type(value) is not allowed[name]:
                raise TypeError(f"{name} must be {allowed[name].__name__}, not {type(value).__name__}")
        made = cls()
        made.given = given
        return made

    def calc(self, first, second, flow):
        for image in (first, second):
            if not isinstance(image, GpuMat):
                fail("getGpuMat is available only for cuda::GpuMat and cuda::HostMem")
            if image._content.dtype != self.dtype or image._content.ndim != 2:
                fail(f"(-215:Assertion failed) frame0.type() for {image._content.dtype}")
        assert flow is None
        return GpuMat(self.twin(first._content, second._content))


class OpticalFlowDual_TVL1(_Flow):  # noqa: N801 (OpenCV's name)
    def twin(self, first, second):
        given = dict(self.given)
        given |= {"innnerIterations": 1, "outerIterations": given.pop("iterations"), "medianFiltering": 1}
        return cv2.optflow.DualTVL1OpticalFlow.create(**given).calc(first, second, None)


class FarnebackOpticalFlow(_Flow):
    def twin(self, first, second):
        return cv2.FarnebackOpticalFlow.create(**self.given).calc(first, second, None)


class BroxOpticalFlow(_Flow):
    dtype = np.float32

    def twin(self, first, second):
        if max(first.max(), second.max()) > 1 or min(first.min(), second.min()) < 0:
            fail("Brox takes 0 to 1")
        dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        dis.setFinestScale(0)
        return dis.calc(np.rint(first * 255).astype(np.uint8), np.rint(second * 255).astype(np.uint8), None)


class _Engine:
    """Common to both interfaces of the flow engine. ``coarsest`` is the finest grid that the "hardware" has."""

    finest = 1
    refuses = ""
    alive = 0

    def __init__(self, size, level, grid, switches):
        if _Engine.refuses:
            fail(_Engine.refuses)
        if level not in LEVELS or any(type(value) is not bool for value in switches):
            fail("(-5:Bad argument) perfPreset or switches")
        self.size, self.grid = size, max(grid, self.finest)
        self.open = True
        _Engine.alive += 1

    def calc(self, input_image, reference_image, flow):
        if not self.open:
            fail("calc after collectGarbage")
        for image in (input_image, reference_image):
            if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.shape != self.size[::-1]:
                fail(f"(-5:Bad argument) an image of {self.size} is taken, not {image.shape}")
        assert flow is None
        return vectors(input_image, reference_image, self.grid), None

    def getGridSize(self):  # noqa: N802 (OpenCV's name)
        return self.grid

    def collectGarbage(self):  # noqa: N802
        if self.open:
            _Engine.alive -= 1
        self.open = False


class NvidiaOpticalFlow_2_0(_Engine):  # noqa: N801
    @classmethod
    def create(cls, imageSize, perfPreset=5, outputGridSize=1, hintGridSize=1, enableTemporalHints=False,
               enableExternalHints=False, enableCostBuffer=False, gpuId=0):  # fmt: skip
        if outputGridSize not in (1, 2, 4) or hintGridSize not in (1, 2, 4, 8) or gpuId != 0:
            fail("(-5:Bad argument) grid")
        return cls(imageSize, perfPreset, outputGridSize, (enableTemporalHints, enableExternalHints, enableCostBuffer))


class NvidiaOpticalFlow_1_0(_Engine):  # noqa: N801
    @classmethod
    def create(cls, imageSize, perfPreset=5, enableTemporalHints=False, enableExternalHints=False,
               enableCostBuffer=False, gpuId=0):  # fmt: skip
        return cls(imageSize, perfPreset, 4, (enableTemporalHints, enableExternalHints, enableCostBuffer))


class Before2020(_Engine):
    """Version 1.0 as it was before it took a size."""

    @classmethod
    def create(cls, width, height, perfPreset=5, enableTemporalHints=False, enableExternalHints=False,
               enableCostBuffer=False, gpuId=0):  # fmt: skip
        return cls((width, height), perfPreset, 4, (enableTemporalHints, enableExternalHints, enableCostBuffer))


CLASSES = {
    kind.__name__: kind
    for kind in (
        OpticalFlowDual_TVL1, FarnebackOpticalFlow, BroxOpticalFlow, NvidiaOpticalFlow_2_0, NvidiaOpticalFlow_1_0
    )
}  # fmt: skip


def install(monkeypatch, classes=None, *, devices=1, spelling="cuda.X.create", finest=1, refuses=""):
    """Make ``cv2`` look like a build with CUDA.

    Args:
        monkeypatch: Undoes it.
        classes: Name to class; all of them by default.
        devices: What ``getCudaEnabledDeviceCount`` returns (-1 where the driver is unfit).
        spelling: ``cuda.X.create``, ``cuda_X.create`` or ``cuda.X_create``: where this OpenCV keeps the factories.
        finest: Finest grid of the engine.
        refuses: What creating the engine fails with.
    """
    module = types.SimpleNamespace(GpuMat=GpuMat, getCudaEnabledDeviceCount=lambda: devices)
    module.DeviceInfo = lambda: types.SimpleNamespace(majorVersion=lambda: 9, minorVersion=lambda: 0)
    monkeypatch.setattr(cv2, "cuda", module)
    monkeypatch.setattr(_Engine, "finest", finest)
    monkeypatch.setattr(_Engine, "refuses", refuses)
    for name, kind in (CLASSES if classes is None else classes).items():
        if spelling == "cuda.X.create":
            setattr(module, name, kind)
        elif spelling == "cuda.X_create":
            setattr(module, f"{name}_create", kind.create)
        else:
            monkeypatch.setattr(cv2, f"cuda_{name}", kind, raising=False)


def names_of(kind):
    """The arguments of a class's ``create``."""
    return set(ARGUMENTS[kind.__name__]) if issubclass(kind, _Flow) else set(inspect.signature(kind.create).parameters)
