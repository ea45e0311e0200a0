"""TV-L1 optical flow in plain PyTorch: in batches on a GPU, or on the CPU. On a GPU: never run on hardware.

The only flow on a GPU that takes no more than ``pip install torch``, and on any NVIDIA GPU that PyTorch runs on. The
scheme is that of OpenCV's TV-L1 (``_tvl1`` cites the papers), and so is the result, to thousandths of a pixel.

The kind of device decides the last bits of a result and is one of the parameters. The size of a batch decides nothing:
a pair gives the same bytes alone, in any batch and with any number of threads.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Iterable, Iterator

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
PREFERENCE = {"auto": 10}
ONE_DEVICE = False

_CPU_PAIRS = 1
"""Pairs at a time on the CPU: one stays in its caches, and more take longer each."""
_MOST_PAIRS = 64
"""Pairs at a time at the most: enough to keep a GPU busy, and few enough for fields to come soon."""
_BYTES = 800
"""Memory that a pair takes per pixel of the frame, at the most (a test measures it)."""
_SHARE = 0.5
"""Part of the GPU's free memory that is used: other workers may be about to use it as well."""


@functools.cache
def _look() -> tuple[str, str]:
    """Return the kind of device (``cuda``, ``cpu``, or nothing) and a sentence about it."""
    try:
        import torch
    except ModuleNotFoundError as error:
        if error.name == "torch":
            return "", "PyTorch is not installed: pip install torch"
        return "", f"PyTorch lacks a module that it needs: pip install {error.name}"
    except Exception as error:  # what a broken installation raises is anything
        return "", f"PyTorch cannot be imported, install it again: {type(error).__name__}: {error}"
    cpu = f"PyTorch {torch.__version__} on the CPU, where numba is faster for tvl1"
    try:
        if not torch.cuda.is_available():
            return "cpu", f"{cpu}; it sees no NVIDIA GPU"
        _solve([np.zeros((SMALLEST, SMALLEST), np.float32)] * 2, SETTINGS["fastest"], "cuda")
    except Exception as error:  # a driver that is too old, a GPU that this build has no code for, no memory left ...
        return "cpu", f"{cpu}; the GPU cannot be used: {str(error).strip().splitlines()[0]}"
    return "cuda", f"{_versions('cuda')}; this backend was never run on hardware"


def _versions(device: str) -> str:
    import torch

    if device == "cuda":
        return f"PyTorch {torch.__version__}, CUDA {torch.version.cuda} on {torch.cuda.get_device_name()}"
    return f"PyTorch {torch.__version__} on the CPU ({torch.backends.cpu.get_cpu_capability()})"


def available() -> Availability:
    """Say on which device PyTorch would run, or why it cannot. Tries a GPU once, after which a CUDA context stays."""
    device, detail = _look()
    return Availability(bool(device), detail)


def glance() -> Availability:
    """Say whether PyTorch is installed, without importing it."""
    version = version_of("torch")
    if version is None:
        return Availability(False, "PyTorch is not installed: pip install torch")
    return Availability(
        True,
        f"PyTorch {version} is installed; whether it imports, and sees a GPU, was not tried (araflow doctor --deep)",
    )


def software() -> str:
    """Return the versions of PyTorch and CUDA and the GPU's name, or the vector instructions of the CPU."""
    device, detail = _look()
    return _versions(device) if device else detail


def parameters(algorithm: str, preset: str) -> dict[str, float | int | str]:
    """Return the settings of TV-L1, and the kind of device (``cpu`` where PyTorch is absent), which decides last bits.

    ``balanced`` is OpenCV's default; ``fastest`` and ``fast`` halve the size from level to level, ``accurate`` has more
    levels. These three find fast motion, which ``balanced`` does not.

    Raises:
        SpecError: Unknown algorithm or preset.
    """
    settings = _settings(algorithm, preset)
    return {**dataclasses.asdict(settings), "median": MEDIAN, "device": _look()[0] or "cpu"}


def _settings(algorithm: str, preset: str) -> SolverSettings:
    check_setting("torch", algorithm, preset, ALGORITHMS, PRESETS)
    return SETTINGS[preset]


def compute(frames: Iterable[GrayFrame], algorithm: str, preset: str) -> Iterator[FlowField]:
    """Yield the flow field of each pair of neighbouring frames; see ``araflow.optical.Backend``.

    Reads as many frames ahead as a batch has pairs: 64 on a GPU, or fewer where its memory is short; one on the CPU,
    so that there each field comes before the next frame is asked for.

    Raises:
        SpecError: Unknown algorithm or preset.
        UnavailableError: PyTorch is not installed, or broken; or the GPU fails, or has no memory for even one pair.
        ClipError: ``frame-size``: below 16 pixels on a side; ``size-change``: not all frames are of one size.
    """
    settings = _settings(algorithm, preset)
    device, detail = _look()
    if not device:
        raise UnavailableError(f"optical.backend: torch cannot run here: {detail}")
    waiting: list[NDArray[np.float32]] = []
    pairs = 0
    for frame in checked(frames, SMALLEST, algorithm):
        if not waiting:
            pairs = _batch_size(device, *frame.shape)
        waiting.append(frame.astype(np.float32))
        if len(waiting) > pairs:
            yield from _solve(waiting, settings, device)
            del waiting[:-1]
    if len(waiting) > 1:
        yield from _solve(waiting, settings, device)


@contextlib.contextmanager
def _named(device: str) -> Iterator[None]:
    """Turn a failure of the GPU, but for its memory's end, into one of the device, so that the clip is tried again."""
    import torch

    try:
        yield
    except RuntimeError as error:
        if device == "cpu" or isinstance(error, torch.cuda.OutOfMemoryError):
            raise
        raise UnavailableError(f"torch {ALGORITHMS[0]}: {str(error).strip().splitlines()[0]}") from error


def _batch_size(device: str, height: int, width: int) -> int:
    if device == "cpu":
        return _CPU_PAIRS
    import torch

    with _named(device):
        free, _ = torch.cuda.mem_get_info()
    return max(1, min(_MOST_PAIRS, int(_SHARE * free / (_BYTES * height * width))))


def _solve(frames: list[NDArray[np.float32]], settings: SolverSettings, device: str) -> NDArray[np.float32]:
    """Return the fields (pairs, height, width, 2) of two or more frames; in halves where memory runs out."""
    import torch

    from araflow.optical.backends._tvl1 import torch_solver

    try:
        with _named(device), _settled():
            flow = torch_solver.solve(torch.from_numpy(np.stack(frames)).to(device), settings)
            fields: NDArray[np.float32] = flow.permute(0, 2, 3, 1).contiguous().cpu().numpy()
            return fields
    except torch.cuda.OutOfMemoryError as error:
        if len(frames) == 2:
            height, width = frames[0].shape
            message = f"torch tvl1: the GPU has no memory for a pair of {width}x{height} frames; run fewer workers"
            raise UnavailableError(message) from error
    torch.cuda.empty_cache()  # out of the handler, which holds on to the tensors of the failed attempt
    middle = len(frames) // 2
    halves = frames[: middle + 1], frames[middle:]
    return np.concatenate([_solve(half, settings, device) for half in halves])


@contextlib.contextmanager
def _settled() -> Iterator[None]:
    """Within: deterministic, without autograd, on one thread. After: as it was.

    Workers run on every core; and with two threads a pair takes no less time, but for much more work.
    """
    import torch

    threads = torch.get_num_threads()
    strict, warns = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    try:
        torch.use_deterministic_algorithms(True)
        torch.set_num_threads(1)
        with torch.inference_mode():
            yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(strict, warn_only=warns)
