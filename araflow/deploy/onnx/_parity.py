"""Proof that an ONNX file is the network it was made from: the same logits on the same windows."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from araflow.core.errors import ExportError, SpecError, TrainingError
from araflow.deploy import windows as making
from araflow.deploy.onnx.contract import Precision
from araflow.recognition.prediction.runners import Tensors, TorchRunner
from araflow.recognition.spec import ModelSpec

if TYPE_CHECKING:
    from torch import nn

Window = Mapping[str, Any]
"""For each stream, by its name, a tensor or array float32 (channels, frames, height, width); other keys are ignored."""
ALLOWED: dict[Precision, float] = {"fp32": 1e-5, "fp16": 5e-2}
"""Largest allowed max |a - b| / max |a| over all windows and classes, a being PyTorch's logits in float32."""
AGREEMENT: dict[Precision, float] = {"fp32": 0.0, "fp16": 0.99}
"""Least share of windows with the same first class; float32's error leaves nothing more to ask."""
DRAWN = 12
"""Windows that are drawn where none are given."""
_GROUP = 4
"""Windows at once while comparing."""


@dataclass(frozen=True)
class Parity:
    """How near a file's logits are to PyTorch's.

    Attributes:
        windows: Number of windows.
        source: Where they are from: ``drawn``, or as was said.
        relative_error: max |a - b| / max |a| over all windows and classes.
        top1: Share of windows with the same first class.
    """

    windows: int
    source: str
    relative_error: float
    top1: float


def compare(network: nn.Module, spec: ModelSpec, file: Path, windows: Iterable[Window], source: str) -> Parity:
    """Compare a file's logits, by ONNX Runtime on a CPU, with PyTorch's.

    Args:
        network: In evaluation mode, on the CPU.
        spec: What it knows of itself.
        file: The ONNX file.
        windows: One or more.
        source: What they are.

    Raises:
        SpecError: There is no window, or one is not of the shape that the network takes.
        TrainingError: PyTorch's logits are no numbers.
        ExportError: The file's are not.
    """
    from araflow.deploy.onnx.runtime import onnx_runner

    reference, runner = TorchRunner(network, spec, "cpu"), onnx_runner(file, "cpu")
    count, same, error, scale = 0, 0, 0.0, 0.0
    for streams in _groups(windows, spec):
        right = reference(**streams)
        try:
            found = runner(**streams)
        except TrainingError as failure:
            raise ExportError(f"{failure}; nothing was written") from failure
        count += len(right)
        same += int((right.argmax(1) == found.argmax(1)).sum())
        error = max(error, float(np.abs(right - found).max()))
        scale = max(scale, float(np.abs(right).max()))
    if not count:
        raise SpecError("windows: there is none to compare on")
    return Parity(count, source, error / max(scale, float(np.finfo(np.float32).tiny)), same / count)


def drawn(spec: ModelSpec, count: int = DRAWN) -> Iterator[dict[str, Tensors]]:
    """Draw windows of moving blotches, normalised as the recogniser's own; the same every time.

    Args:
        spec: What the recogniser knows of itself.
        count: How many.

    Yields:
        float32 (channels, frames, height, width) for each stream, by its name.
    """
    for seed in range(count):
        yield {name: tensor[0] for name, tensor in making.drawn(spec, 1, seed).items()}


def insist(parity: Parity, precision: Precision) -> None:
    """Refuse a file that is too far away.

    Raises:
        ExportError: It is; the message has the figures.
    """
    allowed, agreement = ALLOWED[precision], AGREEMENT[precision]
    if parity.relative_error <= allowed and parity.top1 >= agreement:
        return
    remedy = "use --precision fp32" if precision == "fp16" else "report it with the versions of torch and onnxruntime"
    raise ExportError(
        f"the ONNX graph gives other logits than the checkpoint on {parity.windows} windows ({parity.source}): "
        f"relative error {parity.relative_error:.2g} (allowed for {precision}: {allowed:g}), same first class on "
        f"{parity.top1:.1%} (least: {agreement:.0%}); nothing was written; {remedy}"
    )


@contextlib.contextmanager
def within_half(network: nn.Module) -> Iterator[None]:
    """Insist that what a network computes meanwhile would fit into float16.

    ONNX Runtime does not show it: on a CPU it computes in float32 between float16's weights.

    Raises:
        ExportError: A layer's output would not fit.
    """
    from torch import Tensor, nn

    largest: dict[str, float] = {}

    def watch(name: str, output: Tensor) -> None:
        largest[name] = max(largest.get(name, 0.0), float(output.abs().max()))

    handles = [
        module.register_forward_hook(lambda _module, _inputs, output, name=name: watch(name, output))
        for name, module in network.named_modules()
        # In the file a convolution's output is already normalised.
        if not list(module.children()) and not isinstance(module, nn.Conv2d | nn.Conv3d)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
    for name, value in largest.items():
        if value > float(np.finfo(np.float16).max):
            raise ExportError(
                f"float16 cannot hold what {name} gives (up to {value:g}, allowed: {np.finfo(np.float16).max:g}); "
                "nothing was written; use --precision fp32"
            )


def _groups(windows: Iterable[Window], spec: ModelSpec) -> Iterator[dict[str, Tensors]]:
    """Put windows together, a few at a time; the last group may be smaller, which tries another batch size."""
    rest = iter(windows)
    while group := list(itertools.islice(rest, _GROUP)):
        yield making.stacked(group, spec)
