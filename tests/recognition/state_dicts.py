"""Networks and files of weights for tests: every tensor holds a number of its own.

A file then is small, whatever the network, and yet every tensor can be told from every other.
"""

from pathlib import Path

import torch

from araflow.recognition import models
from araflow.recognition.models._joint import Joint
from araflow.recognition.streams import StreamSpec

State = dict[str, torch.Tensor]


def build(name: str, channels: int = 3, classes: int = 5, frames: int = 9, depth: int | None = None):
    window = StreamSpec(frames=frames)
    network = models.load(name).build(window, channels, classes, depth=depth, dropout=0.0)
    return network.eval().requires_grad_(False)


def numbered(network) -> State:
    """A state dict of the same shapes, in which every tensor holds a number of its own."""
    state = network.state_dict()
    return {
        key: torch.tensor(number, dtype=value.dtype).expand(value.shape)
        for number, (key, value) in enumerate(state.items(), start=1)
    }


def joint(classes: int = 5, name: str = "arn_2d", hidden: int = 64):
    branches = build(name, 3, classes), build(name, 2, classes)
    return Joint(*branches, classes=classes, hidden=hidden).requires_grad_(False)


def assert_loaded(network, expected: State, besides: tuple[str, ...] = ()) -> None:
    state = network.state_dict()
    assert state.keys() == expected.keys()
    for key in state.keys() - set(besides):
        assert torch.equal(state[key], expected[key].to(state[key])), key


def saved(tmp_path: Path, state: object, name: str = "weights.pth") -> Path:
    torch.save(state, tmp_path / name)
    return tmp_path / name
