"""Recognisers that can be run, whatever they run on: one opener per kind of file, chosen by its suffix."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from araflow.core.errors import SpecError, TrainingError
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


def check_streams(spec: ModelSpec, streams: dict[str, Tensors]) -> None:
    """Hold tensors against what a recogniser takes.

    Raises:
        SpecError: A stream is missing, too much, or not of the shape that it takes.
    """
    from araflow.recognition.streams import CHANNELS

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
