"""What networks are made of: layers with their outputs, parameters and kernels, without any weights in memory."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from araflow.recognition import models
from araflow.recognition.spec import ModelSpec, NetworkSpec
from araflow.recognition.streams import CHANNELS, Modality, StreamSpec

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclasses.dataclass(frozen=True, slots=True)
class Layer:
    """One module of a network.

    Attributes:
        name: Its name within the network, such as ``layer1.0.conv1``.
        level: How deep it lies: 0 for a direct part of the network.
        type: Its class's name.
        output: Shape of what comes out, without the batch; ``None`` where it is not run as a module.
        parameters: Number of trainable values in it and in its parts.
        kernel: Size of the kernel over (time,) height, width; empty for what has none.
        leaf: It has no parts.
    """

    name: str
    level: int
    type: str
    output: tuple[int, ...] | None
    parameters: int
    kernel: tuple[int, ...]
    leaf: bool

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return dataclasses.asdict(self)


def published(name: str, modality: Modality = "rgb", *, classes: int = 400, depth: int | None = None) -> ModelSpec:
    """Return the description of an architecture with the window that it was published with, and nameless classes.

    Raises:
        SpecError: There is no such architecture or modality, or it has no such depth.
    """
    window = models.load(name).INPUT
    network = NetworkSpec(architecture=name, modality=modality, depth=depth, rgb=window, flow=_for_flow(window))
    return ModelSpec(network=network, labels=tuple(map(str, range(classes))))


def _for_flow(window: StreamSpec) -> StreamSpec:
    """The same window for flow: means per rgb channel say nothing of u and v."""
    if len(window.mean) == len(window.std) == 1:
        return window
    return window.model_copy(update={"mean": (0.5,), "std": (0.5,)})


def network_of(spec: ModelSpec) -> nn.Module:
    """Return a network that has shapes, but no memory (torch's meta device), in evaluation mode.

    Raises:
        SpecError: See ``models.create``.
    """
    import torch

    with torch.device("meta"):
        return models.create(spec).eval()


def count(network: nn.Module) -> int:
    """Return the number of trainable values."""
    return sum(parameter.numel() for parameter in network.parameters())


def layers(spec: ModelSpec) -> list[Layer]:
    """Return every module of a network in order, with its parts after it.

    Raises:
        SpecError: See ``models.create``.
    """
    import torch

    network = network_of(spec)
    shapes: dict[str, tuple[int, ...]] = {}

    def note(name: str) -> Any:  # noqa: ANN401 - a hook
        def hook(_module: nn.Module, _inputs: object, output: torch.Tensor) -> None:
            shapes[name] = tuple(output.shape[1:])

        return hook

    for name, module in network.named_modules():
        if name:
            module.register_forward_hook(note(name))
    windows = (
        torch.empty(1, CHANNELS[name], own.frames, own.height, own.width, device="meta")
        for name, own in ((stream, spec.stream(stream)) for stream in spec.streams)
    )
    with torch.inference_mode():
        network(*windows)
    return [
        Layer(
            name=name,
            level=name.count("."),
            type=type(module).__name__,
            output=shapes.get(name),
            parameters=count(module),
            kernel=_kernel(module),
            leaf=not any(True for _ in module.children()),
        )
        for name, module in network.named_modules()
        if name
    ]


def _kernel(module: nn.Module) -> tuple[int, ...]:
    size = getattr(module, "kernel_size", None)
    if isinstance(size, int):  # torch keeps a pool's as it was given
        return (size,) * int(type(module).__name__[-2])
    return tuple(size) if size is not None else ()


def totals(found: Sequence[Layer]) -> list[dict[str, Any]]:
    """Return per type of layer how many there are and their parameters; the most frequent type first.

    Args:
        found: What ``layers`` returned.
    """
    leaves = [layer for layer in found if layer.leaf]
    numbers = Counter(layer.type for layer in leaves)
    return [
        {"type": kind, "layers": number, "parameters": sum(one.parameters for one in leaves if one.type == kind)}
        for kind, number in numbers.most_common()
    ]


def first_weights(network: nn.Module, spec: ModelSpec) -> dict[str, NDArray[np.float32]]:
    """Return the weights of the first convolution that each stream meets.

    Args:
        network: A network with weights.
        spec: What it knows of itself.

    Returns:
        Per stream float32 (filters, channels, frames, height, width); where frames are stacked as channels, or time is
        convolved, ``frames`` are these.
    """
    from torch import nn

    found = {}
    for stream in spec.streams:
        branch = getattr(network, stream) if len(spec.streams) > 1 else network
        first = next(module for module in branch.modules() if isinstance(module, nn.Conv2d | nn.Conv3d))
        weight = first.weight.detach().float().cpu().numpy()
        found[str(stream)] = weight.reshape(weight.shape[0], CHANNELS[stream], -1, *weight.shape[-2:])
    return found
