"""A fake of OpenCV's CUDA classes for flow, with twins on the CPU for the numbers. Stricter than the real ones.

``install`` puts it into ``cv2``. It takes exactly the arguments of opencv2/cudaoptflow.hpp, by name; images must have
been uploaded, in the class's own format.

- TV-L1, Farneback: OpenCV's own on the CPU, with the same parameters.
- Brox: OpenCV has none on the CPU; DIS stands in, so that only what goes in and comes out is tested.
"""

import types

import cv2
import numpy as np

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
    refuses = ""

    @classmethod
    def create(cls, **given):
        if cls.__name__ == _Flow.refuses:
            fail("(-217:Gpu API call) no kernel image is available for execution on the device")
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


CLASSES = {kind.__name__: kind for kind in (OpticalFlowDual_TVL1, FarnebackOpticalFlow, BroxOpticalFlow)}


def install(monkeypatch, classes=None, *, devices=1, spelling="cuda.X.create", refuses=""):
    """Make ``cv2`` look like a build with CUDA.

    Args:
        monkeypatch: Undoes it.
        classes: Name to class; all of them by default.
        devices: What ``getCudaEnabledDeviceCount`` returns (-1 where the driver is unfit).
        spelling: ``cuda.X.create``, ``cuda_X.create`` or ``cuda.X_create``: where this OpenCV keeps the factories.
        refuses: The class that the GPU cannot make, such as one that this build has no code for.
    """
    module = types.SimpleNamespace(GpuMat=GpuMat, getCudaEnabledDeviceCount=lambda: devices)
    module.DeviceInfo = lambda: types.SimpleNamespace(majorVersion=lambda: 9, minorVersion=lambda: 0)
    monkeypatch.setattr(cv2, "cuda", module)
    monkeypatch.setattr(_Flow, "refuses", refuses)
    for name, kind in (CLASSES if classes is None else classes).items():
        if spelling == "cuda.X.create":
            setattr(module, name, kind)
        elif spelling == "cuda.X_create":
            setattr(module, f"{name}_create", kind.create)
        else:
            monkeypatch.setattr(cv2, f"cuda_{name}", kind, raising=False)


def names_of(kind):
    """The arguments of a class's ``create``."""
    return set(ARGUMENTS[kind.__name__])
