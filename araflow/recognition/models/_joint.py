"""Both streams, and a learned late fusion of their logits."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from araflow.recognition.models import _names

if TYPE_CHECKING:
    from araflow.recognition.models import Renamed, State

_BRANCHES = {"model_rgb.": "rgb.", "model_of.": "flow."}
"""NVIDIA TAO's names for the two networks (``action_recognition/model`` in its sources), and ours."""
_HEADS = ((r"^fc1\.", "fusion."), (r"^fc2\.", "fc."))


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


def rename(state: State, of_branch: Callable[[State], Renamed]) -> Renamed | None:
    """Rename the tensors of NVIDIA TAO's joint model; of anything else say ``None``.

    Args:
        state: Tensors under their names.
        of_branch: Renames those of one network.
    """
    if not any(key.startswith(tuple(_BRANCHES)) for key in state):
        return None
    joined: State = {}
    for theirs, ours in _BRANCHES.items():
        branch = {key.removeprefix(theirs): value for key, value in state.items() if key.startswith(theirs)}
        joined |= {ours + key: value for key, value in of_branch(branch)[1].items()}
    rest = {key: value for key, value in state.items() if not key.startswith(tuple(_BRANCHES))}
    return "a joint model of NVIDIA TAO", joined | _names.substituted(rest, _HEADS)
