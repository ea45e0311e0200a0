"""Both streams, and a learned late fusion of their logits."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Joint(nn.Module):
    """An rgb network and a flow network, whose logits two linear layers turn into one set (NVIDIA TAO's joint model).

    The logits of both, side by side → ``fusion``, linear → ReLU → ``fc``, linear. All of it is trained. It differs from
    the usual sum of both streams' scores (K. Simonyan, A. Zisserman: Two-Stream Convolutional Networks for Action
    Recognition in Videos, NIPS 2014, https://arxiv.org/abs/1406.2199) in that the weights are learned, per class.

    Args:
        rgb: Network for rgb; its parameters are named ``rgb.…`` here.
        flow: Network for flow; its parameters are named ``flow.…`` here.
        classes: Number of classes, of each network and of the result.
        hidden: Units between the two linear layers; TAO: 64.
    """

    def __init__(self, rgb: nn.Module, flow: nn.Module, *, classes: int, hidden: int) -> None:
        super().__init__()
        self.rgb = rgb
        self.flow = flow
        self.fusion = nn.Linear(2 * classes, hidden)
        self.relu = nn.ReLU()
        self.fc = nn.Linear(hidden, classes)

    def features(self, rgb: Tensor, flow: Tensor) -> Tensor:
        """Return what the last layer sees: float32 (batch, hidden).

        Args:
            rgb: float32 (batch, 3, frames, height, width).
            flow: float32 (batch, 2, frames, height, width); frames and size may differ from those of ``rgb``.
        """
        hidden: Tensor = self.relu(self.fusion(torch.cat([self.rgb(rgb), self.flow(flow)], dim=1)))
        return hidden

    def forward(self, rgb: Tensor, flow: Tensor) -> Tensor:
        """Return logits, float32 (batch, classes), of windows as ``features`` takes them."""
        logits: Tensor = self.fc(self.features(rgb, flow))
        return logits
