"""I3D: Inception-v1 inflated to three dimensions. It needs 9 frames or more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from araflow.core.errors import SpecError
from araflow.recognition.streams import CHANNELS, StreamSpec

if TYPE_CHECKING:
    from torch import nn

PAPER = (
    "J. Carreira, A. Zisserman: Quo Vadis, Action Recognition? A New Model and the Kinetics Dataset, CVPR 2017, "
    "https://arxiv.org/abs/1705.07750"
)
DEPTHS: tuple[int, ...] = ()
INPUT = StreamSpec(frames=64, width=224, height=224, mean=(0.5,), std=(0.5,))


def build(stream: StreamSpec, channels: int, classes: int, *, depth: int | None, dropout: float) -> nn.Module:
    """Return the network; its weights do not depend on the window. ``Architecture`` says what the arguments are."""
    from araflow.recognition.models._inception import I3D, SHORTEST

    if stream.frames < SHORTEST:
        name = next((name for name, count in CHANNELS.items() if count == channels), "rgb")
        raise SpecError(
            f"network.{name}.frames: {stream.frames} is too few for i3d, which halves time three times and then takes "
            f"means over 2 steps: give {SHORTEST} or more"
        )
    return I3D(channels, classes, dropout=dropout)
