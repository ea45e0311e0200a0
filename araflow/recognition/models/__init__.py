"""Architectures: each file here that does not begin with an underscore is one, named as the file is.

An architecture module offers what ``Architecture`` spells out. One contract suite, ``tests/contract/test_models.py``,
holds for all of them. Networks take (batch, channel, time, height, width), and name their parts as torchvision's 2D
residual networks do: ``conv1 bn1 layer1.0.conv1 … fc``; the classifier is always ``fc``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Protocol, cast

from araflow.core import resources
from araflow.core.errors import SpecError, did_you_mean
from araflow.recognition import require
from araflow.recognition.spec import ModelSpec
from araflow.recognition.streams import CHANNELS, STREAMS, StreamSpec

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


class Network(Protocol):
    """What every network is: an ``nn.Module`` that also gives its features."""

    fc: nn.Linear

    def __call__(self, *streams: Tensor) -> Tensor:
        """Return logits, float32 (batch, classes)."""
        ...

    def features(self, *streams: Tensor) -> Tensor:
        """Return what the classifier sees, before dropout: float32 (batch, features)."""
        ...


class Architecture(Protocol):
    """What an architecture module offers; importing it must not import torch.

    Attributes:
        PAPER: Authors, title, venue, and where to read it.
        DEPTHS: Allowed depths, the default first; empty for an architecture without a choice.
        INPUT: The window that it was published with.
    """

    PAPER: str
    DEPTHS: tuple[int, ...]
    INPUT: StreamSpec

    def build(self, stream: StreamSpec, channels: int, classes: int, *, depth: int | None, dropout: float) -> nn.Module:
        """Return the network for one stream, with random weights.

        Args:
            stream: Its window.
            channels: Channels per frame: 3 for rgb, 2 for flow.
            classes: Number of classes.
            depth: One of ``DEPTHS``, or ``None`` for the first.
            dropout: Probability of dropping a feature before the classifier.

        Raises:
            SpecError: The window is too small for it.
        """
        ...


def names() -> tuple[str, ...]:
    """Return the architectures' names."""
    return resources.plugins("recognition/models")


def load(name: str) -> Architecture:
    """Import an architecture.

    Raises:
        SpecError: There is no such one.
    """
    if name not in names():
        raise SpecError(
            f"network.architecture: {name!r} is not an architecture; allowed: {', '.join(names())}"
            f"{did_you_mean(name, names())}"
        )
    return cast(Architecture, importlib.import_module(f"araflow.recognition.models.{name}"))


def create(spec: ModelSpec) -> torch.nn.Module:
    """Return a network with random weights, for one stream or for both with a learned fusion of their logits.

    Raises:
        SpecError: The depth is not one of the architecture's, or the window is too small.
    """
    require.torch()
    from araflow.recognition.models._joint import Joint

    network, classes = spec.network, len(spec.labels)
    architecture = load(network.architecture)
    if network.depth is not None and network.depth not in architecture.DEPTHS:
        allowed = ", ".join(map(str, architecture.DEPTHS)) or "null only"
        raise SpecError(f"network.depth: {network.depth} is not allowed for {network.architecture}; allowed: {allowed}")
    built = [
        architecture.build(spec.stream(stream), CHANNELS[stream], classes, depth=network.depth, dropout=network.dropout)
        for stream in STREAMS[network.modality]
    ]
    return built[0] if len(built) == 1 else Joint(*built, classes=classes, hidden=network.hidden)


def parameters(spec: ModelSpec) -> int:
    """Return how many weights a network learns, without making them.

    Raises:
        SpecError: See ``create``.
    """
    import torch

    with torch.device("meta"):
        return sum(parameter.numel() for parameter in create(spec).parameters())
