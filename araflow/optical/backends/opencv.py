"""Optical flow on any CPU, by OpenCV: DIS, Farneback, TV-L1 and DeepFlow.

- ``dis``: Kroeger et al., "Fast optical flow using dense inverse search", ECCV 2016.
- ``farneback``: Farnebäck, "Two-frame motion estimation based on polynomial expansion", SCIA 2003.
- ``tvl1``: Zach, Pock, Bischof, "A duality based approach for realtime TV-L1 optical flow", DAGM 2007.
- ``deepflow``: Weinzaepfel et al., "DeepFlow: large displacement optical flow with deep matching", ICCV 2013; OpenCV's
  has the variational part alone, without the matching.

Results do not depend on the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import cv2

from araflow.media.fields import FlowField, GrayFrame
from araflow.optical import Availability
from araflow.optical.backends._checks import check_setting, checked

ALGORITHMS = ("dis", "farneback", "tvl1", "deepflow")
PREFERENCE = {"auto": 30}
ONE_DEVICE = False
_PATCH = 8
"""DIS patch side in pixels."""
_WEIGHTS = {"delta": 10.0, "gamma": 5.0}
"""Of brightness and of its gradient in DIS's variational refinement; OpenCV's own are 5 and 10."""

# fastest and fast are OpenCV's ULTRAFAST and FAST presets, written out so that the result does not change with OpenCV's
# idea of them. balanced is the fastest setting found whose error is about that of OpenCV's MEDIUM (patches 3
# apart, 25 descent steps; docs/optical_flow.md): other weights in the refinement make up for fewer patches and steps.
# accurate is the same at full resolution.
_DIS: dict[str, dict[str, float]] = {
    "fastest": {"finest_scale": 2, "patch_stride": 4, "gradient_descent": 12, "variational_refinement": 0},
    "fast": {"finest_scale": 2, "patch_stride": 4, "gradient_descent": 16, "variational_refinement": 5},
    "balanced": {"finest_scale": 1, "patch_stride": 4, "gradient_descent": 4, "variational_refinement": 5, **_WEIGHTS},
    "accurate": {"finest_scale": 0, "patch_stride": 4, "gradient_descent": 4, "variational_refinement": 5, **_WEIGHTS},
}
PRESETS = {"dis": tuple(_DIS)}
# The parameters of OpenCV's own sample program (samples/cpp/fback.cpp).
_FARNEBACK: dict[str, float] = {
    "pyr_scale": 0.5,
    "levels": 3,
    "winsize": 15,
    "iterations": 3,
    "poly_n": 5,
    "poly_sigma": 1.2,
    "flags": 0,
}
# OpenCV's constants (optflow/src/deepflow.cpp); they cannot be set through its Python binding.
_DEEPFLOW: dict[str, float] = {
    "sigma": 0.6,
    "min_size": 25,
    "downscale_factor": 0.95,
    "fixed_point_iterations": 5,
    "sor_iterations": 25,
    "alpha": 1.0,
    "delta": 0.5,
    "gamma": 5.0,
    "omega": 1.6,
    "max_layers": 200,
}
# OpenCV's defaults (optflow/src/tvl1flow.cpp).
_TVL1: dict[str, float] = {
    "tau": 0.25,
    "lambda_": 0.15,
    "theta": 0.3,
    "nscales": 5,
    "warps": 5,
    "epsilon": 0.01,
    "innnerIterations": 30,  # three n: OpenCV's own spelling
    "outerIterations": 10,
    "scaleStep": 0.8,
    "gamma": 0.0,
    "medianFiltering": 5,
}


def available() -> Availability:
    """Report OpenCV's version, or that the optflow module (contrib) is missing."""
    if not hasattr(cv2, "optflow"):
        return Availability(
            False, f"OpenCV {cv2.__version__} lacks its contrib modules: pip install opencv-contrib-python-headless"
        )
    return Availability(True, f"OpenCV {cv2.__version__} on the CPU")


def software() -> str:
    """Return OpenCV's version."""
    return f"OpenCV {cv2.__version__}"


def parameters(algorithm: str, preset: str) -> Mapping[str, float | int | str]:
    """Return the parameters that ``algorithm`` runs with; presets are for ``dis``, the others have one setting.

    Raises:
        SpecError: Unknown algorithm or preset.
    """
    check_setting("opencv", algorithm, preset, ALGORITHMS, PRESETS)
    if algorithm == "dis":
        return {"patch_size": _PATCH, **_DIS[preset]}
    return {"farneback": _FARNEBACK, "tvl1": _TVL1, "deepflow": _DEEPFLOW}[algorithm]


def compute(frames: Iterable[GrayFrame], algorithm: str, preset: str) -> Iterator[FlowField]:
    """Yield the flow field of each pair of neighbouring frames; see ``araflow.optical.Backend``.

    Raises:
        SpecError: Unknown algorithm or preset.
        ClipError: ``frame-size``: below 8 to 32 pixels on a side, as the algorithm needs; ``size-change``.
    """
    run, smallest = _engine(algorithm, parameters(algorithm, preset))
    what = f"{algorithm} {preset}" if algorithm == "dis" else algorithm  # whose presets need different sizes
    previous: GrayFrame | None = None
    for frame in checked(frames, smallest, what):
        if previous is not None:
            yield run(previous, frame)
        previous = frame


def _engine(algorithm: str, values: Mapping[str, Any]) -> tuple[Callable[[GrayFrame, GrayFrame], Any], int]:
    """Return the function that computes one pair, and the smallest frame side that it can take."""
    if algorithm == "dis":
        dis = cv2.DISOpticalFlow.create()
        dis.setPatchSize(values["patch_size"])
        dis.setFinestScale(values["finest_scale"])
        dis.setPatchStride(values["patch_stride"])
        dis.setGradientDescentIterations(values["gradient_descent"])
        dis.setVariationalRefinementIterations(values["variational_refinement"])
        if "delta" in values:
            dis.setVariationalRefinementDelta(values["delta"])
            dis.setVariationalRefinementGamma(values["gamma"])
        # OpenCV 5.0 reads out of bounds, and often crashes, where the finest level is less than a patch high;
        # it refuses images below 12x12.
        smallest = max(12, _PATCH << values["finest_scale"])
        # The output array is left to OpenCV: given one, DIS would start from what stands in it.
        return lambda a, b: dis.calc(a, b, None), smallest  # type: ignore[call-overload]
    if algorithm == "farneback":
        return lambda a, b: cv2.calcOpticalFlowFarneback(a, b, None, **values), 16  # type: ignore[call-overload]
    if algorithm == "deepflow":
        deep = cv2.optflow.createOptFlow_DeepFlow()
        return lambda a, b: deep.calc(a, b, None), 16  # type: ignore[call-overload]
    tvl1 = cv2.optflow.DualTVL1OpticalFlow.create(**values)
    return lambda a, b: tvl1.calc(a, b, None), 16  # type: ignore[call-overload]
