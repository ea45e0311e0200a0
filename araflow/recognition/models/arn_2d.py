"""NVIDIA TAO's 2D ActionRecognitionNet: a residual network on all frames of a window, stacked as channels.

Sizes, order of channels and normalisation are those of the published models, so that their weights fit:
https://catalog.ngc.nvidia.com/orgs/nvidia/teams/tao/models/actionrecognitionnet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from araflow.recognition.models import _names
from araflow.recognition.streams import Layout, StreamSpec

if TYPE_CHECKING:
    from torch import nn

    from araflow.recognition.models import Renamed, State

PAPER = (
    "K. He, X. Zhang, S. Ren, J. Sun: Deep Residual Learning for Image Recognition, CVPR 2016, "
    "https://arxiv.org/abs/1512.03385; stacked as in K. Simonyan, A. Zisserman: Two-Stream Convolutional Networks for "
    "Action Recognition in Videos, NIPS 2014, https://arxiv.org/abs/1406.2199"
)
DEPTHS: tuple[int, ...] = (18, 34, 50, 101, 152)
INPUT = StreamSpec(frames=32, width=224, height=224, mean=(0.5,), std=(0.5,))
SHORT_SIDE = 256
LAYOUT: Layout = "N(CT)HW"


def build(stream: StreamSpec, channels: int, classes: int, *, depth: int | None, dropout: float) -> nn.Module:
    """Return the network for windows of ``stream.frames`` frames. ``Architecture`` says what the arguments are."""
    from araflow.recognition.models._resnet import over_frames

    return over_frames(channels * stream.frames, classes, depth=depth or DEPTHS[0], dropout=dropout)


def rename(state: State) -> Renamed | None:
    """Rename NVIDIA TAO's tensors; of anything else say ``None``."""
    return _names.of_tao(state)
