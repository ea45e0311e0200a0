"""Published weights into our networks: everything fits, or nothing is loaded and the error says what does not.

What may differ, and is said: the number of classes, the channels of the first convolution, and a 2D network's weights
in a 3D one. Files are read without running anything in them; the names of their tensors are the families' affair.
"""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from araflow.core.errors import SourceError, SpecError, UnavailableError, brief
from araflow.core.reading import open_file
from araflow.recognition import checkpoint
from araflow.recognition.models import renamed
from araflow.recognition.models._joint import Joint

if TYPE_CHECKING:
    from araflow.recognition.models import State
    from araflow.recognition.spec import NetworkSpec

SUFFIXES = (".safetensors", ".pth", ".pt", ".tlt", ".ckpt")
"""Endings of files that can be read."""
_CONTAINERS = ("state_dict", "model_state", "model_state_dict", "model")
"""Keys under which training tools keep the state dict."""
_WRAPPERS = ("module.", "model.", "network.", "_orig_mod.")
"""What training tools put before every name: DataParallel, Lightning modules, compiled modules."""
_MOST_SHARED, _FREE = 4, 1 << 30
"""Tensors of a file may share memory, and have so many times its bytes, or this many."""
_DEEPEST = 8
"""Containers within containers."""
_MAKERS = {
    "MMAction2": ("backbone.", "cls_head."),
    "PySlowFast": ("s1.pathway0_stem.",),
    "PyTorchVideo": ("blocks.0.multipathway_blocks.", "blocks.0.conv.", "blocks.1.res_blocks."),
    "GluonCV": ("first_stage.", "res_layers.", "slow_conv1.", "fast_conv1.", "conv1_middle."),
}
"""Tools whose files are known by beginnings of their tensors' names, and not read."""
_SHOWN = 4
"""Names that an error shows of each kind."""


def load_weights(network: nn.Module, file: str | Path, *, name: str) -> list[str]:
    """Load a file of weights into a network, in place, and return what was done, a line each.

    Known by their names: our own files; torchvision's 2D residual networks (inflated where a network convolves over
    time); what the families know (``Architecture.rename``); NVIDIA TAO's joint models.

    - A classifier for another number of classes keeps the random weights that ``network`` came with. So does the whole
      fusion of a joint network.
    - Where the first convolution has other channels than the file's, it gets the mean over the file's channels, times
      the file's channels over ours, in each: gray input then gives the same activations. The mean is that of L. Wang
      and others: Temporal Segment Networks, ECCV 2016, https://arxiv.org/abs/1608.00859, section 3.2.
    - 2D kernels are repeated over time and divided by the kernel's length, so that a video in which nothing moves gives
      the activations of its frame (J. Carreira, A. Zisserman: Quo Vadis, Action Recognition?, CVPR 2017,
      https://arxiv.org/abs/1705.07750, section 2.4).

    Args:
        network: A network of ``araflow.recognition.models``, or one branch of a joint one.
        file: ``.safetensors``, or a file of PyTorch (``.pth``, ``.pt``, ``.tlt``, ``.ckpt``), of which only tensors
            are read.
        name: The setting that names the file, such as ``network.weights.rgb``, for messages.

    Raises:
        SpecError: There is no such file, or it does not fit the network; the network is unchanged then.
        SourceError: It is damaged or encrypted, reading it would run code, or it holds no weights.
        UnavailableError: It is a safetensors file, and safetensors is not installed.
    """
    file = Path(file)
    origin, found = renamed(read(file, name))
    if maker := next((who for who, signs in _MAKERS.items() if any(key.startswith(signs) for key in found)), None):
        origin = f"looks like {maker}'s, which is not read"
    where = f"{name}: {file.name}"
    broken = [key for key, value in found.items() if value.is_floating_point() and not value.float().isfinite().all()]
    if broken:
        raise SourceError(f"{name}: {file} holds infinities or NaN ({_some(broken)}); get it again")
    target = network.state_dict()
    fresh = _fresh(network, target, found)
    first = _first_convolutions(network)
    lines, inflated, loaded = [], [], {}
    for key, value in found.items():
        if key not in target or key in fresh:
            continue
        if key in first and (text := _channels(value, target[key])):
            value = _spread(value, target[key].shape[1])
            lines.append(f"{where}: {key}: {text}")
        if value.dim() == 4 and target[key].dim() == 5:
            value = _inflate(value, target[key].shape[2])
            inflated.append(key)
        loaded[key] = value
    _check(loaded, found, target, fresh, f"{name}: {file} ({origin})")
    network.load_state_dict(loaded, strict=False)  # what it would miss, _check knows of
    if inflated:
        lines.append(f"{where}: {len(inflated)} 2D convolutions inflated: repeated over time, divided by its length")
    if fresh:
        heads = sorted({key.rpartition(".")[0] for key in fresh})
        classes = len(found["fc.bias"]), len(target["fc.bias"])
        lines.append(f"{where}: {classes[0]} classes there, {classes[1]} here: {', '.join(heads)} start at random")
    return [f"{where}: {len(loaded)} tensors, {origin}", *sorted(lines)]


def load_all(network: nn.Module, spec: NetworkSpec) -> list[str]:
    """Load every file of weights that an experiment names; see ``load_weights``."""
    lines = []
    for branch in ("joint", "rgb", "flow"):
        if (file := getattr(spec.weights, branch)) is not None:
            target = getattr(network, branch) if spec.modality == "joint" and branch != "joint" else network
            lines += load_weights(target, file, name=f"network.weights.{branch}")
    return lines


def _fresh(network: nn.Module, target: State, found: State) -> set[str]:
    """Return the names of the layers whose size depends on the number of classes, if the file's is another."""
    if "fc.bias" not in found or found["fc.bias"].shape == target["fc.bias"].shape or found["fc.bias"].dim() != 1:
        return set()
    layers = ("fc.", "fusion.", "rgb.fc.", "flow.fc.") if isinstance(network, Joint) else ("fc.",)
    return {key for key in target if key.startswith(layers)}


def _first_convolutions(network: nn.Module) -> set[str]:
    branches = {"rgb.": network.rgb, "flow.": network.flow} if isinstance(network, Joint) else {"": network}
    # By the shape of its weights: what is no convolution has two axes at most.
    kernels = ([key for key, own in branch.named_parameters() if own.dim() > 3] for branch in branches.values())
    return {f"{prefix}{keys[0]}" for prefix, keys in zip(branches, kernels, strict=True) if keys}


def _channels(value: Tensor, target: Tensor) -> str:
    """Say how the channels of a first convolution change; nothing where they do not, or where more than they differ."""
    theirs, ours = value.shape, target.shape
    if len(theirs) < 4 or theirs[0] != ours[0] or theirs[-2:] != ours[-2:] or theirs[1] == ours[1]:
        return ""
    return f"{theirs[1]} channels there, {ours[1]} here: each gets their mean times {theirs[1]}/{ours[1]}"


def _spread(kernel: Tensor, channels: int) -> Tensor:
    """Return a kernel for other channels that answers to gray input as ``kernel`` does."""
    total = kernel.float().sum(dim=1, keepdim=True) / channels
    return total.expand(-1, channels, *total.shape[2:])


def _inflate(kernel: Tensor, length: int) -> Tensor:
    """Return a kernel over ``length`` frames that answers to a frame repeated as ``kernel`` does to the frame."""
    return kernel.float().unsqueeze(2).expand(-1, -1, length, -1, -1) / length


def _check(loaded: State, found: State, target: State, fresh: set[str], where: str) -> None:
    # files written before PyTorch 0.4.1 do not count the batches; nothing here uses the count
    missing = [k for k in target if k not in found and k not in fresh and not k.endswith("num_batches_tracked")]
    unknown = [key for key in found if key not in target]
    unlike = [
        f"{key}: {_kind(found[key])} there, {_kind(target[key])} here"
        for key in target
        if key in loaded
        and (
            loaded[key].shape != target[key].shape or found[key].is_floating_point() != target[key].is_floating_point()
        )
    ]
    problems = [
        f"{len(names)} of {total} {what} ({_some(names)})"
        for names, total, what in (
            (missing, len(target), "tensors of the network are missing there"),
            (unknown, len(found), "tensors of the file are unknown here"),
            (unlike, len(found), "tensors of the file have another shape or type"),
        )
        if names
    ]
    if problems:
        raise SpecError(
            f"{where} does not fit this network, and nothing was loaded: {'; '.join(problems)}. "
            "Are network.architecture, depth, modality and hidden those of the file?"
        )


def _some(names: list[str]) -> str:
    return ", ".join(brief(name) for name in names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")


def _kind(tensor: Tensor) -> str:
    return f"{'×'.join(map(str, tensor.shape)) or 'one number'} {str(tensor.dtype).removeprefix('torch.')}"


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
    state = _state_dict(found, f"{name}: {file}")
    size = sum(value.numel() * value.element_size() for value in state.values())
    if size > max(_MOST_SHARED * file.stat().st_size, _FREE):  # many views of a few bytes
        raise SourceError(
            f"{name}: {file} holds {size:,} bytes of tensors in {file.stat().st_size:,} bytes; get it again"
        )
    return _unwrapped(state)


def _safetensors(file: Path, name: str) -> object:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ModuleNotFoundError as error:
        raise UnavailableError(f"{name}: {file} needs safetensors: pip install safetensors") from error
    try:
        checkpoint.check_header(file)
        return load_file(file)
    except (SafetensorError, ValueError, OSError) as error:
        why = brief(str(error))
        raise SourceError(f"{name}: {file} is damaged, or no safetensors file ({why}); get it again") from error


def _pickled(file: Path, name: str) -> object:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the age of the format, which the user cannot change
            _refuse_compressed(file)
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # what a damaged or hostile file raises is anything
        if needed := re.search(r"GLOBAL ([\w.]+)", str(error)):
            raise SourceError(
                f"{name}: {file} holds more than tensors ({needed[1]}), and reading that could run any code, so it was "
                "not read. If you trust where it comes from, save its tensors alone, where its own software is "
                "installed: torch.save(torch.load(FILE, weights_only=False)['state_dict'], NEW_FILE)"
            ) from error
        encrypted = " or encrypted (then decrypt it with NVIDIA TAO and its key)" if file.suffix == ".tlt" else ""
        reason = brief((str(error).strip() or type(error).__name__).splitlines()[-1])
        raise SourceError(f"{name}: {file} is damaged{encrypted}, or no PyTorch file: {reason}") from error


def _refuse_compressed(file: Path) -> None:
    """Refuse an archive whose records take more memory than it has bytes: PyTorch's own lie in it as they are."""
    with open_file(file) as opened:
        if opened.read(4) != b"PK\x03\x04":
            return
        with zipfile.ZipFile(opened) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > file.stat().st_size:
            raise ValueError(f"its records have {size:,} bytes, more than the file")


def _is_plain(value: object) -> bool:
    """Whether a value is a tensor whose numbers lie in memory one after the other."""
    return (
        isinstance(value, Tensor)
        and value.device.type == "cpu"
        and value.layout == torch.strided
        and not (value.is_quantized or value.is_nested)
    )


def _state_dict(found: object, where: str) -> State:
    for _ in range(_DEEPEST):
        if not isinstance(found, Mapping):
            break
        if found.get("state_dict_encrypted") is True:
            raise SourceError(f"{where} is encrypted; decrypt it with NVIDIA TAO and its key, and give that file")
        inner = next((found[key] for key in _CONTAINERS if isinstance(found.get(key), Mapping)), None)
        if inner is None:
            break
        found = inner
    if not isinstance(found, Mapping):
        raise SourceError(f"{where} holds a {type(found).__name__}, not a state dict (names and their tensors)")
    if not found or not all(map(_is_plain, found.values())):
        others = [brief(str(key), 50) for key, value in found.items() if not _is_plain(value)]
        raise SourceError(
            f"{where} holds no state dict: {', '.join(others[:5]) or 'nothing'} there; wanted names and their tensors, "
            f"alone or under one of {', '.join(_CONTAINERS)}"
        )
    return {str(key): value for key, value in found.items()}


def _unwrapped(state: State) -> State:
    while prefix := next((p for p in _WRAPPERS if all(key.startswith(p) for key in state)), None):
        state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state
