"""What networks are made of: layers with their outputs, parameters and kernels, without any weights in memory."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from araflow.core.errors import SpecError
from araflow.recognition import networks
from araflow.recognition.spec import ModelSpec, NetworkSpec
from araflow.recognition.streams import CHANNELS, Modality

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclasses.dataclass(frozen=True, slots=True)
class Layer:
    """One module of a network.

    Attributes:
        name: Its name within the network, such as ``layer1.0.conv1``.
        level: How deep it lies: 0 for a direct part of the network.
        type: Its class's name.
        output: Shape of what comes out, without the batch, the first tensor of several; ``None`` where it is not run as
            a module, or nothing that is a tensor comes out.
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
    network = NetworkSpec(architecture=name, modality=modality, depth=depth)
    return ModelSpec(network=network, labels=tuple(map(str, range(classes))))


def layers(spec: ModelSpec) -> list[Layer]:
    """Return every module of a recogniser's network in order, with its parts after it.

    Raises:
        SpecError: See ``networks.create``.
    """
    import torch

    windows = (
        torch.empty(1, CHANNELS[name], own.frames, own.height, own.width, device="meta")
        for name, own in ((stream, spec.stream(stream)) for stream in spec.streams)
    )
    return layers_of(networks.outline(spec), *windows)


def layers_of(network: nn.Module, *inputs: Tensor) -> list[Layer]:
    """Return every module of a network in order, with its parts after it.

    Args:
        network: Whose modules may return anything: a tensor, several, or none.
        inputs: What it takes, on its device.
    """
    import torch

    shapes: dict[str, tuple[int, ...]] = {}

    def note(name: str) -> Any:  # noqa: ANN401 - a hook
        def hook(_module: nn.Module, _inputs: object, output: object) -> None:
            if (shape := _shape(output)) is not None:
                shapes[name] = shape

        return hook

    hooks = [module.register_forward_hook(note(name)) for name, module in network.named_modules() if name]
    with torch.inference_mode():
        network(*inputs)
    for hook in hooks:
        hook.remove()
    return [
        Layer(
            name=name,
            level=name.count("."),
            type=type(module).__name__,
            output=shapes.get(name),
            parameters=networks.count(module),
            kernel=_kernel(module, shapes.get(name)),
            leaf=not any(True for _ in module.children()),
        )
        for name, module in network.named_modules()
        if name
    ]


def _shape(output: object) -> tuple[int, ...] | None:
    """Return the shape of a module's output without the batch; of several tensors, that of the first."""
    import torch

    if isinstance(output, torch.Tensor):
        return tuple(output.shape[1:])
    parts = output.values() if isinstance(output, Mapping) else output
    if not isinstance(parts, Iterable) or isinstance(parts, str | bytes):
        return None
    return next((shape for shape in map(_shape, parts) if shape is not None), None)


def _kernel(module: nn.Module, output: tuple[int, ...] | None) -> tuple[int, ...]:
    """Return the size of a module's kernel; a pool, which has no weights, has as many axes as its output's pictures."""
    size, weight = getattr(module, "kernel_size", None), getattr(module, "weight", None)
    if size is None:
        return ()
    if weight is not None and weight.dim() > 2:
        return tuple(weight.shape[2:])
    if isinstance(size, int):  # torch keeps a pool's as it was given
        return (size,) * max(1, len(output or ()) - 1)
    return tuple(size)


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
    """Return the weights of the first convolution over pictures that each stream meets.

    Args:
        network: A network with weights.
        spec: What it knows of itself.

    Returns:
        Per stream float32 (filters, channels, frames, height, width); where frames are stacked as channels, or time is
        convolved, ``frames`` are these.

    Raises:
        SpecError: There is no convolution.
    """
    found = {}
    for stream in spec.streams:
        branch = getattr(network, stream) if len(spec.streams) > 1 else network
        first = next((own for own in branch.parameters() if own.dim() >= 4), None)
        if first is None:
            raise SpecError(f"{spec.network.architecture}: no layer of {stream} is a convolution that could be drawn")
        weight = first.detach().float().cpu().numpy()
        found[str(stream)] = weight.reshape(weight.shape[0], CHANNELS[stream], -1, *weight.shape[-2:])
    return found
