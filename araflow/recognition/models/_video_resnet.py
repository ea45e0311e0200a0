"""The three 18-layer networks that torchvision publishes with weights of Kinetics-400: R3D, MC3 and R(2+1)D.

D. Tran, H. Wang, L. Torresani, J. Ray, Y. LeCun, M. Paluri: A Closer Look at Spatiotemporal Convolutions for Action
Recognition, CVPR 2018, https://arxiv.org/abs/1711.11248. Structure and first weights are torchvision's: no pooling
after the stem, 45 channels within the stem of R(2+1)D, and one number of inner channels for both convolutions of a
block. They have no dropout of their own; ours sits before the classifier as everywhere here.
"""

from __future__ import annotations

from typing import Literal

from torch import nn

from araflow.recognition.models import _resnet
from araflow.recognition.models._resnet import CLIPS, Kit, ResNet

STEM_MIDDLE = 45
"""Channels between the spatial and the temporal half of R(2+1)D's stem (torchvision)."""
CLASSIFIER_STD = 0.01
"""Standard deviation of the classifier's first weights (torchvision)."""


def _halves(inputs: int, middle: int, outputs: int, size: int, strides: tuple[int, int]) -> nn.Sequential:
    """Return a 1 × size × size convolution, batch normalisation, ReLU, and a 3 × 1 × 1 convolution.

    ``strides`` are those over time and over space.
    """
    time, space = strides
    return nn.Sequential(
        nn.Conv3d(inputs, middle, (1, size, size), (1, space, space), (0, size // 2, size // 2), bias=False),
        nn.BatchNorm3d(middle),
        nn.ReLU(inplace=True),
        nn.Conv3d(middle, outputs, (3, 1, 1), (time, 1, 1), (1, 0, 0), bias=False),
    )


def _factorised(inputs: int, outputs: int, stride: int, block_inputs: int) -> nn.Module:
    # section 3.5 of the paper: as many weights as the 3×3×3 convolution of block_inputs → outputs has
    middle = 27 * block_inputs * outputs // (9 * block_inputs + 3 * outputs)
    return _halves(inputs, middle, outputs, 3, (stride, stride))


def _solid_point(inputs: int, outputs: int, stride: int) -> nn.Module:
    return nn.Conv3d(inputs, outputs, 1, stride, bias=False)


SOLID = Kit(
    wide=lambda inputs, outputs, stride, _: nn.Conv3d(inputs, outputs, 3, stride, 1, bias=False),
    point=_solid_point,
    norm=nn.BatchNorm3d,
)
"""3×3×3 convolutions that step over time and space alike."""

FLAT = Kit(
    wide=lambda inputs, outputs, stride, _: nn.Conv3d(
        inputs, outputs, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=False
    ),
    point=CLIPS.point,
    norm=nn.BatchNorm3d,
)
"""1×3×3 convolutions: time is left alone."""

FACTORISED = Kit(wide=_factorised, point=_solid_point, norm=nn.BatchNorm3d)
"""1×3×3 and then 3×1×1 convolutions."""

_STAGES = {"r3d": [SOLID] * 4, "mc3": [SOLID, FLAT, FLAT, FLAT], "r2plus1d": [FACTORISED] * 4}


def video_resnet(kind: Literal["r3d", "mc3", "r2plus1d"], channels: int, classes: int, *, dropout: float) -> ResNet:
    """Return the 18-layer network of this kind for clips with ``channels`` channels per frame."""
    conv1: nn.Module
    if kind == "r2plus1d":
        conv1 = _halves(channels, STEM_MIDDLE, _resnet.WIDTH, 7, (1, 2))
    else:
        conv1 = nn.Conv3d(channels, _resnet.WIDTH, (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False)
    return ResNet(
        conv1,
        nn.Identity(),
        _STAGES[kind],
        depth=18,
        classes=classes,
        dropout=dropout,
        classifier_std=CLASSIFIER_STD,
    )
