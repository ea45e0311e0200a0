"""Architectures: each file here that does not begin with an underscore is one, named as the file is.

An architecture module offers what ``Architecture`` spells out; nothing elsewhere knows one by its name. One contract
suite, ``tests/contract/test_models.py``, holds for all of them. Networks take (batch, channel, time, height, width),
and name their parts as torchvision's 2D residual networks do: ``conv1 bn1 layer1.0.conv1 … fc``; the classifier is
always ``fc``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Protocol, cast

from araflow.core import resources
from araflow.core.errors import SpecError, did_you_mean
from araflow.recognition.streams import CHANNELS, Layout, StreamSpec

if TYPE_CHECKING:
    from torch import Tensor, nn

    State = dict[str, Tensor]
    """Tensors by name, as ``nn.Module.state_dict`` gives them."""
    Renamed = tuple[str, State]
    """Where tensors come from, in words, and the tensors under our names."""


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
        INPUT: The window of rgb that it was published with: the default of an experiment that names it.
        SHORT_SIDE: Short side in pixels, before the crop, that it was published with; likewise.
        LAYOUT: Order of the axes of its exported input.
    """

    PAPER: str
    DEPTHS: tuple[int, ...]
    INPUT: StreamSpec
    SHORT_SIDE: int
    LAYOUT: Layout

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

    def rename(self, state: State) -> Renamed | None:
        """Return its published weights under our names, and whose they are; ``None``: these are not its own.

        Args:
            state: Tensors by name, on the CPU.
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


def published(architecture: Architecture, stream: str) -> StreamSpec:
    """Return the window that an architecture was published with, for one stream.

    Means per rgb channel say nothing of u and v: flow then gets 0.5, which the middle level of its images is.

    Args:
        architecture: What ``load`` returned.
        stream: ``rgb`` or ``flow``.
    """
    window = architecture.INPUT
    if {len(window.mean), len(window.std)} <= {1, CHANNELS[stream]}:
        return window
    return window.model_copy(update={"mean": (0.5,), "std": (0.5,)})


def renamed(state: State) -> Renamed:
    """Return where tensors come from, in words, and the same tensors under our modules' names."""
    from araflow.recognition.models import _joint

    found = (load(name).rename(state) for name in names())
    known = _joint.rename(state, renamed) or next((one for one in found if one is not None), None)
    return known or ("named as here and in torchvision", dict(state))
