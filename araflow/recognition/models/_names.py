"""Names of published weights that several families share, turned into ours; torch is not imported.

They come from reading the publishers' sources: torchvision's ``models/video/resnet.py``, and NVIDIA TAO's
``action_recognition/model``, whose classifiers are called ``fc_cls``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from araflow.recognition.models import Renamed, State

_BLOCKS = ((r"^(layer\d\.\d+)\.conv(\d)\.0\.", r"\1.conv\2."), (r"^(layer\d\.\d+)\.conv(\d)\.1\.", r"\1.bn\2."))
_STEM = ((r"^stem\.0\.", "conv1."), (r"^stem\.1\.", "bn1."))
_STEM_OF_HALVES = ((r"^stem\.4\.", "bn1."), (r"^stem\.([013])\.", r"conv1.\1."))


def substituted(state: State, rules: Sequence[tuple[str, str]]) -> State:
    """Apply to every name the first rule that fits; where two names become one, the second shows that it did."""
    result: State = {}
    for key, value in state.items():
        changes = (re.subn(pattern, replacement, key) for pattern, replacement in rules)
        name = next((name for name, count in changes if count), key)
        result[f"{key} (again)" if name in result else name] = value
    return result


def of_torchvision_video(state: State, *, halves: bool = False) -> Renamed | None:
    """Rename the tensors of torchvision's video networks.

    Args:
        state: Tensors under their names.
        halves: Of the network whose convolutions are one over space and one over time.
    """
    if "stem.0.weight" not in state or ("stem.4.weight" in state) is not halves:
        return None
    stem = _STEM_OF_HALVES if halves else _STEM
    return "a video network of torchvision", substituted(state, (*stem, *_BLOCKS))


def of_tao(state: State) -> Renamed | None:
    """Rename the tensors of NVIDIA TAO's residual networks."""
    if "fc_cls.weight" not in state:
        return None
    return "a residual network of NVIDIA TAO", substituted(state, ((r"^fc_cls\.", "fc."),))
