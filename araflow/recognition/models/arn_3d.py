"""NVIDIA TAO's 3D ActionRecognitionNet: a residual network whose convolutions look at time as well.

Sizes and normalisation are those of the published models, so that their weights fit:
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
    "https://arxiv.org/abs/1512.03385; over time as in K. Hara, H. Kataoka, Y. Satoh: Can Spatiotemporal 3D CNNs "
    "Retrace the History of 2D CNNs and ImageNet?, CVPR 2018, https://arxiv.org/abs/1711.09577"
)
DEPTHS: tuple[int, ...] = (18, 34, 50, 101, 152)
INPUT = StreamSpec(frames=32, width=224, height=224, mean=(0.5,), std=(0.5,))
SHORT_SIDE = 256
LAYOUT: Layout = "NCTHW"


def build(stream: StreamSpec, channels: int, classes: int, *, depth: int | None, dropout: float) -> nn.Module:
    """Return the network; its weights do not depend on the window. ``Architecture`` says what the arguments are."""
    from araflow.recognition.models._resnet import over_clips

    return over_clips(channels, classes, depth=depth or DEPTHS[0], dropout=dropout)


def rename(state: State) -> Renamed | None:
    """Rename NVIDIA TAO's tensors; of anything else say ``None``."""
    return _names.of_tao(state)
