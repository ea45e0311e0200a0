"""Networks of what a recogniser knows of itself: with random weights, or as mere shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from araflow.core.errors import SpecError
from araflow.recognition import models
from araflow.recognition.spec import ModelSpec
from araflow.recognition.streams import CHANNELS

if TYPE_CHECKING:
    from torch import nn


def create(spec: ModelSpec) -> nn.Module:
    """Return a network with random weights, for one stream or for both with a learned fusion of their logits.

    Raises:
        SpecError: The depth is not one of the architecture's, or the window is too small.
    """
    from araflow.recognition.models._joint import Joint

    network, classes = spec.network, len(spec.labels)
    architecture = models.load(network.architecture)
    if network.depth is not None and network.depth not in architecture.DEPTHS:
        allowed = ", ".join(map(str, architecture.DEPTHS)) or "null only"
        raise SpecError(f"network.depth: {network.depth} is not allowed for {network.architecture}; allowed: {allowed}")
    built = [
        architecture.build(window, CHANNELS[stream], classes, depth=network.depth, dropout=network.dropout)
        for stream, window in spec.windows.items()
    ]
    return built[0] if len(built) == 1 else Joint(*built, classes=classes, hidden=network.hidden)


def outline(spec: ModelSpec) -> nn.Module:
    """Return a network that has shapes, but no memory (torch's meta device), in evaluation mode.

    Raises:
        SpecError: See ``create``.
    """
    import torch

    with torch.device("meta"):
        return create(spec).eval()


def count(network: nn.Module) -> int:
    """Return how many values a network learns."""
    return sum(parameter.numel() for parameter in network.parameters())
