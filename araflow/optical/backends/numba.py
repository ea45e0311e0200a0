"""TV-L1 optical flow on any CPU, by kernels of our own that numba compiles: OpenCV's field in a tenth of its time.

The method is that of Zach, Pock, Bischof, "A duality based approach for realtime TV-L1 optical flow", DAGM 2007, in the
form of Sánchez, Meinhardt-Llopis, Facciolo, "TV-L1 optical flow estimation", Image Processing On Line 3, 2013, with the
median filter and the order of steps of OpenCV's ``DualTVL1OpticalFlow``. What is new is that an iteration is one sweep
over the frame (``_tvl1.kernels.iterate``). Resizing, warping and the median filter are OpenCV's.

The same frames give the same bytes, on one thread, whatever else runs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from araflow.core.errors import UnavailableError
from araflow.core.installed import version_of
from araflow.media.fields import FlowField, GrayFrame
from araflow.optical import Availability
from araflow.optical.backends._checks import check_setting, checked
from araflow.optical.backends._tvl1.settings import MEDIAN, SETTINGS, SMALLEST, SolverSettings

ALGORITHMS = ("tvl1",)
PRESETS = {"tvl1": tuple(SETTINGS)}
PREFERENCE = {"auto": 20, "tvl1": 35}
"""On any CPU OpenCV's dis comes first; but this TV-L1 is ten times as fast as OpenCV's."""
ONE_DEVICE = False
_Plane = NDArray[np.float32]

_COMPILING_S = 60.0
"""How long to wait for another process that compiles (it takes about 3 s); then it is done here too."""


def available() -> Availability:
    """Say whether numba can be imported, which takes about a third of a second once, or why not. Never raises."""
    try:
        import numba
    except ModuleNotFoundError as error:
        if error.name == "numba":
            return Availability(False, "numba is not installed: pip install 'araflow[fast]'")
        return Availability(False, f"numba lacks a module that it needs: pip install {error.name}")
    except Exception as error:  # numba refuses a NumPy that is too new for it; what a broken one raises is anything
        why = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return Availability(False, f"numba cannot be imported: {why}; pip install --upgrade 'araflow[fast]'")
    return Availability(True, f"numba {numba.__version__} on the CPU")


def glance() -> Availability:
    """Say whether numba is installed, without importing it."""
    version = version_of("numba")
    if version is None:
        return Availability(False, "numba is not installed: pip install 'araflow[fast]'")
    return Availability(True, f"numba {version} is installed; whether it imports was not tried (araflow doctor --deep)")


def software() -> str:
    """Return the versions of numba, its compiler and OpenCV, or why there are none."""
    found = available()
    if not found.present:
        return found.detail
    libraries = (f"{name} {version_of(name)}" for name in ("numba", "llvmlite"))
    return ", ".join((*libraries, f"OpenCV {cv2.__version__}"))


def parameters(algorithm: str, preset: str) -> dict[str, float | int | str]:
    """Return the settings of TV-L1; what they mean: ``araflow.optical.backends._tvl1.settings``.

    Raises:
        SpecError: Unknown algorithm or preset.
    """
    return {**dataclasses.asdict(_settings(algorithm, preset)), "median": MEDIAN}


def _settings(algorithm: str, preset: str) -> SolverSettings:
    check_setting("numba", algorithm, preset, ALGORITHMS, PRESETS)
    return SETTINGS[preset]


def compute(frames: Iterable[GrayFrame], algorithm: str, preset: str) -> Iterator[FlowField]:
    """Yield the flow field of each pair of neighbouring frames; see ``araflow.optical.Backend``.

    Raises:
        SpecError: Unknown algorithm or preset.
        UnavailableError: numba is not installed, or broken.
        ClipError: ``frame-size``: below 16 pixels on a side; ``size-change``: not all frames are of one size.
    """
    settings = _settings(algorithm, preset)
    found = available()
    if not found.present:
        raise UnavailableError(f"optical.backend: numba cannot run here: {found.detail}")
    solver: _Solver | None = None
    for frame in checked(frames, SMALLEST, algorithm):
        if solver is None:
            height, width = frame.shape
            solver = _Solver(height, width, settings)
            solver.load(frame)
        else:
            solver.load(frame)
            yield solver.flow()


class _Level:
    """The arrays of one level of the pyramid, whose names are those of ``_tvl1.kernels``."""

    def __init__(self, height: int, width: int) -> None:
        rows, columns = _kernels().padded(height, width)
        self.height, self.width = height, width
        self.first, self.second, self.to_x, self.to_y = np.empty((4, height, width), np.float32)
        self.slopes, self.warped = np.empty((2, height, width, 3), np.float32)
        self.flow = np.zeros((2, rows, columns), np.float32)
        self.linear = np.zeros((4, rows, columns), np.float32)
        self.dual = np.zeros((4, rows, columns), np.float32)
        self.change = np.empty(columns, np.float32)

    @property
    def field(self) -> _Plane:
        """Flow to the right and down, within the frame: float32, (2, height, width), a view."""
        return self.flow[:, : self.height, : self.width]

    def refine(self, settings: SolverSettings) -> None:
        """Improve ``flow`` by what the two frames show at this level."""
        kernels = _kernels()
        u, v = self.flow
        kernels.slopes(self.second, self.slopes)
        self.dual[:] = 0
        enough = settings.epsilon**2 * self.height * self.width
        step = settings.tau / settings.theta
        numbers = map(np.float32, (settings.lambda_ * settings.theta, settings.theta, step))
        rest = (self.change, self.height, self.width, *numbers, settings.inner, enough)
        for _ in range(settings.warps):
            kernels.targets(u, v, self.to_x, self.to_y)
            cv2.remap(self.slopes, self.to_x, self.to_y, cv2.INTER_CUBIC, self.warped)  # beyond the frame: zero
            kernels.linearise(self.first, self.warped, u, v, *self.linear)
            for _ in range(settings.outer):
                for plane in self.field:
                    cv2.medianBlur(plane, MEDIAN, plane)
                if kernels.iterate(u, v, *self.linear, *self.dual, *rest)[1] <= enough:
                    break


class _Solver:
    """Computes fields of frames of one size, in arrays that it keeps."""

    def __init__(self, height: int, width: int, settings: SolverSettings) -> None:
        self._settings = settings
        self._levels = [_Level(height, width)]
        while len(self._levels) < settings.scales:
            smaller = self._shrink(self._levels[-1].first)
            if min(smaller.shape) < SMALLEST:
                break
            self._levels.append(_Level(*smaller.shape))

    def load(self, frame: GrayFrame) -> None:
        """Take the next frame: uint8, (height, width)."""
        for level in self._levels:
            level.first, level.second = level.second, level.first
        self._levels[0].second[:] = frame
        for finer, level in zip(self._levels, self._levels[1:], strict=False):
            self._shrink(finer.second, level.second)

    def _shrink(self, image: _Plane, out: _Plane | None = None) -> _Plane:
        step = self._settings.scale_step
        return cast(_Plane, cv2.resize(image, None, out, fx=step, fy=step, interpolation=cv2.INTER_LINEAR))

    def flow(self) -> FlowField:
        """Return the field between the last two frames."""
        coarser: _Level | None = None
        for level in reversed(self._levels):
            level.flow[:] = 0
            if coarser is not None:
                for small, large in zip(coarser.field, level.field, strict=True):
                    cv2.resize(small, (level.width, level.height), large, interpolation=cv2.INTER_LINEAR)
                    large *= np.float32(1 / self._settings.scale_step)
            level.refine(self._settings)
            coarser = level
        return np.stack(list(self._levels[0].field), axis=-1)


@functools.cache
def _kernels() -> ModuleType:
    """Import the kernels; compiled on the first use on a machine, by one process, while others wait for its result.

    numba keeps what it compiled where ``NUMBA_CACHE_DIR`` says, else beside the package, else in the user's cache
    folder, else nowhere, which is an error; then it is kept in a temporary folder.
    """
    config: Any = importlib.import_module("numba.core.config")
    filelock = importlib.import_module("filelock")
    own = _own_folder()
    with contextlib.ExitStack() as stack:
        # A lock that is not to be had costs time, nothing else.
        with contextlib.suppress(OSError, filelock.Timeout):
            stack.enter_context(filelock.FileLock(own / "numba.lock", timeout=_COMPILING_S))
        name = "araflow.optical.backends._tvl1.kernels"
        try:
            return importlib.import_module(name)
        except RuntimeError:  # numba: "no locator available"
            before, config.CACHE_DIR = config.CACHE_DIR, str(own / "numba")
            try:
                return importlib.import_module(name)
            finally:
                config.CACHE_DIR = before


def _own_folder() -> Path:
    """Return a temporary folder that nobody else can write to: what lies in a cache is run."""
    own = Path(tempfile.gettempdir()) / f"araflow-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        own.mkdir(mode=0o700)
    found = own.lstat()
    if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022:
        return own
    return Path(tempfile.mkdtemp(prefix="araflow-"))
