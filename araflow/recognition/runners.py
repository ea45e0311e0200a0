"""Recognisers that can be run, whatever they run on: one opener per kind of file, chosen by its suffix."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from araflow.errors import SourceError, SpecError, TrainingError, UnavailableError, did_you_mean
from araflow.recognition import checkpoint, require
from araflow.recognition.spec import ModelSpec

if TYPE_CHECKING:
    from torch import nn

Tensors = NDArray[np.float32]
"""float32 (batch, channels, frames, height, width) in, (batch, classes or features) out."""
Device = Literal["auto", "cpu", "cuda"]
DEVICES: tuple[Device, ...] = ("auto", "cpu", "cuda")


class Runner(Protocol):
    """A recogniser that is ready to run."""

    @property
    def spec(self) -> ModelSpec:
        """What it knows of itself."""
        ...

    def __call__(self, **streams: Tensors) -> Tensors:
        """Return logits.

        Args:
            streams: float32 (batch, channels, frames, height, width) for each of ``spec.streams``, by its name.

        Returns:
            float32 (batch, classes).

        Raises:
            SpecError: A stream is missing, too much, or not of the shape that it takes.
            TrainingError: A logit is not a number.
        """
        ...

    def features(self, **streams: Tensors) -> Tensors:
        """Return what the classifier sees: float32 (batch, features), of streams as ``__call__`` takes them.

        Raises:
            UnavailableError: This kind of file does not give them.
        """
        ...


class TorchRunner:
    """A checkpoint, run by PyTorch.

    Args:
        network: In evaluation mode.
        spec: What it knows of itself.
        device: ``cpu`` or ``cuda``.
    """

    def __init__(self, network: nn.Module, spec: ModelSpec, device: str) -> None:
        self._network = network.to(device)
        self._device = device
        self._spec = spec

    @property
    def spec(self) -> ModelSpec:
        """What it knows of itself."""
        return self._spec

    def __call__(self, **streams: Tensors) -> Tensors:
        """Return logits; see ``Runner``."""
        return self._run(self._network, streams)

    def features(self, **streams: Tensors) -> Tensors:
        """Return what the classifier sees; see ``Runner``."""
        return self._run(self._network.features, streams)  # type: ignore[arg-type]  # every Network has it

    def _run(self, function: Callable[..., object], streams: dict[str, Tensors]) -> Tensors:
        import torch

        check_streams(self._spec, streams)
        with torch.inference_mode():
            given = (torch.from_numpy(streams[name]).to(self._device) for name in self._spec.streams)
            found: Tensors = function(*given).float().cpu().numpy()  # type: ignore[attr-defined]
        if not np.isfinite(found).all():
            raise TrainingError("the network answers with what is no number: its training diverged; train it again")
        return found


def open_runner(path: Path, device: Device = "auto") -> Runner:
    """Open a recogniser.

    Args:
        path: A file of one of the ``KINDS``.
        device: ``auto`` (a CUDA device where there is one), ``cpu`` or ``cuda``.

    Raises:
        SourceError: There is no such file, it is of another kind, or it cannot be read.
        SpecError: There is no such device.
        UnavailableError: What runs this kind of file, or the device, is not here.
    """
    if device not in DEVICES:
        raise SpecError(f"device: {device!r}; allowed: {', '.join(DEVICES)}{did_you_mean(device, DEVICES)}")
    suffix = path.suffix.lower()
    if path.is_dir():
        found = sorted(file.name for file in path.iterdir() if file.suffix.lower() in KINDS)
        raise SourceError(f"{path}: a folder, not a recogniser" + (f"; it holds {', '.join(found)}" if found else ""))
    if suffix not in KINDS:
        raise SourceError(f"{path}: not a recogniser; files may end in {', '.join(KINDS)}")
    return KINDS[suffix](path, device)


def check_streams(spec: ModelSpec, streams: dict[str, Tensors]) -> None:
    """Hold tensors against what a recogniser takes.

    Raises:
        SpecError: A stream is missing, too much, or not of the shape that it takes.
    """
    from araflow.recognition.spec import CHANNELS

    if set(streams) != set(spec.streams):
        raise SpecError(f"streams: this recogniser takes {' and '.join(spec.streams)}; given: {', '.join(streams)}")
    for name, tensor in streams.items():
        own = spec.stream(name)
        expected = (CHANNELS[name], own.frames, own.height, own.width)
        if tensor.shape[1:] != expected or tensor.dtype != np.float32:
            raise SpecError(
                f"streams: {name} must be float32 (batch, {', '.join(map(str, expected))}); given: {tensor.dtype} "
                f"{tensor.shape}"
            )


def _torch(path: Path, device: Device) -> Runner:
    require.torch()
    import torch

    there = torch.cuda.is_available()
    if device == "cuda" and not there:
        raise UnavailableError("device: cuda: torch sees no CUDA device here; use auto or cpu")
    network, spec = checkpoint.load(path)
    return TorchRunner(network, spec, "cuda" if there and device != "cpu" else "cpu")


def _onnx(path: Path, device: Device) -> Runner:
    from araflow.deploy.onnx_runtime import onnx_runner

    return onnx_runner(path, device)


def _engine(path: Path, device: Device) -> Runner:
    from araflow.deploy.engine_runtime import engine_runner

    return engine_runner(path, device)


KINDS: dict[str, Callable[[Path, Device], Runner]] = {checkpoint.SUFFIX: _torch, ".onnx": _onnx, ".engine": _engine}
"""What opens each kind of file, by suffix."""
