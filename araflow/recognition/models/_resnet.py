"""Residual networks over stacked frames or over clips, with the module names of torchvision's 2D ones.

K. He, X. Zhang, S. Ren, J. Sun: Deep Residual Learning for Image Recognition, CVPR 2016, https://arxiv.org/abs/1512.03385.
The stride of a bottleneck sits on its 3×3 convolution, as in the weights that torchvision and NVIDIA TAO publish.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class Kit:
    """What the blocks of one stage are made of.

    Attributes:
        wide: ``wide(inputs, outputs, stride, block_inputs)`` makes the convolution that looks at neighbours.
            ``block_inputs`` are the channels that enter the block; only factorised convolutions need them.
        point: ``point(inputs, outputs, stride)`` makes the convolution that does not: bottlenecks' ends, shortcuts.
        norm: ``norm(channels)`` makes the batch normalisation.
    """

    wide: Callable[[int, int, int, int], nn.Module]
    point: Callable[[int, int, int], nn.Module]
    norm: Callable[[int], nn.Module]


FRAMES = Kit(
    wide=lambda inputs, outputs, stride, _: nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
    point=lambda inputs, outputs, stride: nn.Conv2d(inputs, outputs, 1, stride, bias=False),
    norm=nn.BatchNorm2d,
)
"""3×3 convolutions over (height, width)."""

CLIPS = Kit(
    wide=lambda inputs, outputs, stride, _: nn.Conv3d(inputs, outputs, 3, (1, stride, stride), 1, bias=False),
    point=lambda inputs, outputs, stride: nn.Conv3d(inputs, outputs, 1, (1, stride, stride), bias=False),
    norm=nn.BatchNorm3d,
)
"""3×3×3 convolutions over (time, height, width) that never step over time, as in NVIDIA TAO's 3D networks."""


def _shortcut(kit: Kit, inputs: int, outputs: int, stride: int) -> nn.Module:
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    return nn.Sequential(kit.point(inputs, outputs, stride), kit.norm(outputs))


class Basic(nn.Module):
    """Two wide convolutions around a shortcut."""

    expansion = 1

    def __init__(self, kit: Kit, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = kit.wide(inputs, width, stride, inputs)
        self.bn1 = kit.norm(width)
        self.conv2 = kit.wide(width, width, 1, inputs)
        self.bn2 = kit.norm(width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(kit, inputs, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        added: Tensor = self.relu(out + self.downsample(x))
        return added


class Bottleneck(nn.Module):
    """Narrow, wide convolution, widen by four, around a shortcut."""

    expansion = 4

    def __init__(self, kit: Kit, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = width * self.expansion
        self.conv1 = kit.point(inputs, width, 1)
        self.bn1 = kit.norm(width)
        self.conv2 = kit.wide(width, width, stride, inputs)
        self.bn2 = kit.norm(width)
        self.conv3 = kit.point(width, outputs, 1)
        self.bn3 = kit.norm(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(kit, inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        added: Tensor = self.relu(out + self.downsample(x))
        return added


STAGES: dict[int, tuple[type[Basic] | type[Bottleneck], tuple[int, int, int, int]]] = {
    18: (Basic, (2, 2, 2, 2)),
    34: (Basic, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
    152: (Bottleneck, (3, 8, 36, 3)),
}
"""Kind of block, and blocks per stage, by depth (table 1 of the paper)."""
WIDTH = 64
"""Channels of the stem and of the first stage; each stage after it doubles them."""


class ResNet(nn.Module):
    """Stem, four stages of residual blocks, mean over time and space, dropout, classifier.

    Args:
        conv1: The stem's convolution, to ``WIDTH`` channels.
        pool: What follows the stem's normalisation.
        kits: What each of the four stages is made of.
        depth: A key of ``STAGES``.
        classes: Number of classes.
        dropout: Probability of dropping a feature before the classifier.
        stacked: Take a clip as one image with channels × frames channels: all frames of the first channel, then all of
            the next (R0 R1 … G0 G1 … B0 B1 …), the order of NVIDIA TAO's 2D networks and of DeepStream's sequences.
        classifier_std: Standard deviation of the classifier's first weights, with zero bias; null: PyTorch's own.
    """

    def __init__(
        self,
        conv1: nn.Module,
        pool: nn.Module,
        kits: Sequence[Kit],
        *,
        depth: int,
        classes: int,
        dropout: float,
        stacked: bool = False,
        classifier_std: float | None = None,
    ) -> None:
        super().__init__()
        block, counts = STAGES[depth]
        self.stacked = stacked
        self.conv1 = conv1
        self.bn1 = kits[0].norm(WIDTH)
        self.relu = nn.ReLU(inplace=True)
        self.pool = pool
        inputs, stages = WIDTH, []
        for stage, (kit, count) in enumerate(zip(kits, counts, strict=True)):
            width = WIDTH << stage
            blocks = []
            for index in range(count):
                blocks.append(block(kit, inputs, width, 2 if stage and not index else 1))
                inputs = width * block.expansion
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(inputs, classes)
        _initialise(self, classifier_std)

    def features(self, clip: Tensor) -> Tensor:
        """Return what the classifier sees, before dropout: float32 (batch, features).

        Args:
            clip: float32 (batch, channels, frames, height, width).
        """
        x = clip.flatten(1, 2) if self.stacked else clip
        x = self.pool(self.relu(self.bn1(self.conv1(x))))
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
        mean: Tensor = x.mean(dim=tuple(range(2, x.dim())))
        return mean

    def forward(self, clip: Tensor) -> Tensor:
        """Return logits, float32 (batch, classes), of clips as ``features`` takes them."""
        logits: Tensor = self.fc(self.dropout(self.features(clip)))
        return logits


def _initialise(network: nn.Module, classifier_std: float | None) -> None:
    """Draw the first weights as torchvision and NVIDIA TAO do: normal with variance 2 / fan-out, which suits ReLU.

    K. He, X. Zhang, S. Ren, J. Sun: Delving Deep into Rectifiers, ICCV 2015, https://arxiv.org/abs/1502.01852. Batch
    normalisation starts as the identity, which PyTorch does by itself.
    """
    if next(network.parameters()).is_meta:
        return  # nothing to draw, and to draw it PyTorch would import its compiler, for three CPU seconds
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear) and classifier_std is not None:
            nn.init.normal_(module.weight, 0.0, classifier_std)
            nn.init.zeros_(module.bias)


def over_frames(channels: int, classes: int, *, depth: int, dropout: float) -> ResNet:
    """Return NVIDIA TAO's 2D network for ``channels`` stacked channels (channels per frame × frames)."""
    conv1 = nn.Conv2d(channels, WIDTH, 7, stride=2, padding=3, bias=False)
    pool = nn.MaxPool2d(3, stride=2, padding=1)
    return ResNet(conv1, pool, [FRAMES] * 4, depth=depth, classes=classes, dropout=dropout, stacked=True)


def over_clips(channels: int, classes: int, *, depth: int, dropout: float) -> ResNet:
    """Return NVIDIA TAO's 3D network: the stem leaves a quarter of the frames, which the stages keep (32 → 16 → 8)."""
    conv1 = nn.Conv3d(channels, WIDTH, (5, 7, 7), stride=2, padding=(2, 3, 3), bias=False)
    pool = nn.MaxPool3d((1, 3, 3), stride=2, padding=(0, 1, 1))
    return ResNet(conv1, pool, [CLIPS] * 4, depth=depth, classes=classes, dropout=dropout)
