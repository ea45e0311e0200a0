"""MC3-18, mixed convolutions: 3×3×3 in the first stage, 1×3×3 in the others, as torchvision has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from araflow.recognition.models import _names
from araflow.recognition.streams import Layout, StreamSpec

if TYPE_CHECKING:
    from torch import nn

    from araflow.recognition.models import Renamed, State

PAPER = (
    "D. Tran, H. Wang, L. Torresani, J. Ray, Y. LeCun, M. Paluri: A Closer Look at Spatiotemporal Convolutions for "
    "Action Recognition, CVPR 2018, https://arxiv.org/abs/1711.11248"
)
DEPTHS: tuple[int, ...] = ()
INPUT = StreamSpec(
    frames=16, width=112, height=112, mean=(0.43216, 0.394666, 0.37645), std=(0.22803, 0.22145, 0.216989)
)
SHORT_SIDE = 128
LAYOUT: Layout = "NCTHW"


def build(stream: StreamSpec, channels: int, classes: int, *, depth: int | None, dropout: float) -> nn.Module:
    """Return the network; its weights do not depend on the window. ``Architecture`` says what the arguments are."""
    from araflow.recognition.models._video_resnet import video_resnet

    return video_resnet("mc3", channels, classes, dropout=dropout)


def rename(state: State) -> Renamed | None:
    """Rename torchvision's tensors; of anything else say ``None``."""
    return _names.of_torchvision_video(state)
