"""Recognisers on disk: safetensors files (no pickle, so that opening one runs no code) that say what they are.

The metadata key ``araflow`` holds the ``ModelSpec`` as JSON: labels, window, normalisation, how flow was stored.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from araflow.core import written
from araflow.core.errors import SourceError
from araflow.recognition.spec import ModelSpec

if TYPE_CHECKING:
    from torch import nn

_KEY = "araflow"
SUFFIX = ".safetensors"


def save(path: Path, network: nn.Module, spec: ModelSpec) -> None:
    """Write a recogniser, whole or not at all.

    Raises:
        OutputError: It cannot be written.
    """
    from safetensors.torch import save as serialise

    # Tensors on their own memory and in one order: the same weights give the same bytes.
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in sorted(network.state_dict().items())}
    data = serialise(state, {_KEY: json.dumps(spec.to_json(), sort_keys=True)})
    written.write({path: data})


def read_spec(path: Path) -> ModelSpec:
    """Return what a recogniser's file says of it, without reading its weights.

    Raises:
        SourceError: There is no such file, it is not a safetensors file, or araflow did not write it.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise SourceError(f"{path}: no such checkpoint" + (_nearest(path) if path.is_dir() else ""))
    try:
        with safe_open(path, framework="numpy") as file:
            encoded = (file.metadata() or {}).get(_KEY)
    except (SafetensorError, OSError) as error:
        raise SourceError(f"{path}: not a readable safetensors file: {error}") from error
    if encoded is None:
        raise SourceError(
            f"{path}: weights without araflow's description; start a training from them: network.weights.rgb={path}"
        )
    try:
        return ModelSpec.model_validate(json.loads(encoded))
    except (ValueError, ValidationError) as error:
        raise SourceError(f"{path}: its description is of another version of araflow: {error}") from error


def load(path: Path) -> tuple[nn.Module, ModelSpec]:
    """Return a recogniser, in evaluation mode on the CPU, and what it knows of itself.

    Raises:
        SourceError: See ``read_spec``; or the weights do not fit the description.
    """
    from safetensors.torch import load_file

    from araflow.recognition.networks import create

    spec = read_spec(path)
    network = create(spec)
    try:
        network.load_state_dict(load_file(path))
    except RuntimeError as error:
        raise SourceError(f"{path}: its weights do not fit {spec.network.architecture}: {error}") from error
    return network.eval(), spec


def _nearest(folder: Path) -> str:
    found = sorted(folder.glob(f"*{SUFFIX}"))
    return f"; it is a folder, with {', '.join(file.name for file in found)}" if found else "; it is a folder"
