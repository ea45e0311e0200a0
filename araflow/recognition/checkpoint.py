"""Recognisers on disk: safetensors files (no pickle, so that opening one runs no code) that say what they are.

The metadata key ``araflow`` holds the ``ModelSpec`` as JSON: labels, window, normalisation, how flow was stored.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from araflow.core import written
from araflow.core.errors import SourceError, SpecError, brief
from araflow.core.reading import SMALL, json_of, open_file, problem_of
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


def describe(path: Path, spec: ModelSpec) -> None:
    """Give a recogniser another description of the same network; its weights stay.

    Raises:
        SourceError: See ``read_spec``.
        OutputError: It cannot be written.
    """
    from safetensors.torch import load_file
    from safetensors.torch import save as serialise

    read_spec(path)
    state = dict(sorted(load_file(path).items()))
    written.write({path: serialise(state, {_KEY: json.dumps(spec.to_json(), sort_keys=True)})})


def read_spec(path: Path) -> ModelSpec:
    """Return what a recogniser's file says of it, without reading its weights.

    Raises:
        SourceError: There is no such file, it is not a safetensors file, or araflow did not write it.
    """
    return _described(path)[0]


def load(path: Path) -> tuple[nn.Module, ModelSpec]:
    """Return a recogniser, in evaluation mode on the CPU, and what it knows of itself.

    The description is held against the shapes in the file before it takes any memory.

    Raises:
        SourceError: See ``read_spec``; or the weights do not fit the description.
    """
    from safetensors.torch import load_file

    from araflow.recognition.networks import create, outline

    spec, there = _described(path)
    where = f"{path}: its weights do not fit {spec.network.architecture}"
    try:
        wanted = {name: tuple(tensor.shape) for name, tensor in outline(spec).state_dict().items()}
        if unlike := sorted(name for name in there.keys() | wanted.keys() if there.get(name) != wanted.get(name)):
            first = (
                f"{brief(unlike[0])}: {there.get(unlike[0], 'none')} there, {wanted.get(unlike[0], 'none')} described"
            )
            raise SourceError(f"{where}: {len(unlike):,} tensors differ, such as {first}")
        network = create(spec)
        network.load_state_dict(load_file(path))
    except (RuntimeError, SpecError) as error:
        raise SourceError(f"{where}: {brief(str(error))}") from error
    return network.eval(), spec


def check_header(path: Path) -> None:
    """Make sure that a safetensors file's header is not longer than it may be, or than the file.

    Raises:
        OSError: It cannot be read.
        ValueError: It is longer.
    """
    with open_file(path) as file:
        length, size = int.from_bytes(file.read(8), "little"), os.fstat(file.fileno()).st_size
    if not 0 < length <= min(SMALL, size - 8):
        raise ValueError(f"a header of {length:,} bytes in a file of {size:,}")


def _described(path: Path) -> tuple[ModelSpec, dict[str, tuple[int, ...]]]:
    """Return what a file says of itself, and the shapes of its tensors."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise SourceError(f"{path}: no such checkpoint" + (_nearest(path) if path.is_dir() else ""))
    if path.suffix.lower() == ".onnx":
        raise SourceError(f"{path}: that is an ONNX file already; araflow predict, bench-engine and engine take it")
    try:
        check_header(path)
        with safe_open(path, framework="numpy") as file:
            encoded = (file.metadata() or {}).get(_KEY)
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise SourceError(f"{path}: not a readable safetensors file: {brief(str(error))}") from error
    if encoded is None:
        raise SourceError(
            f"{path}: weights without araflow's description; start a training from them: network.weights.rgb={path}"
        )
    try:
        return ModelSpec.model_validate(json_of(encoded)), shapes
    except ValueError as error:
        raise SourceError(f"{path}: its description is of another version of araflow: {problem_of(error)}") from error


def _nearest(folder: Path) -> str:
    found = sorted(folder.glob(f"*{SUFFIX}"))
    return f"; it is a folder, with {', '.join(file.name for file in found)}" if found else "; it is a folder"
