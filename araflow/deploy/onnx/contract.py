"""What an ONNX file of araflow is: names, shapes and what it says of itself.

Names are those that NVIDIA TAO gives to the tensors of its ActionRecognitionNet, so that what consumes its files takes
ours: https://docs.nvidia.com/tao/tao-toolkit/text/cv_finetuning/pytorch/action_recognition.html.
Inputs and the output are float32, also where the file computes in float16. The network's description travels in
``metadata_props``: under ``araflow`` all of it as JSON, under ``preprocessing`` how inputs are made and the output is
read, for readers without araflow, and under plain keys what these may want first.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from araflow.core.errors import SourceError
from araflow.core.reading import json_of, open_file, problem_of, read_file
from araflow.deploy.onnx._preprocessing import preprocessing
from araflow.recognition import models, require
from araflow.recognition.spec import ModelSpec
from araflow.recognition.streams import CHANNELS

if TYPE_CHECKING:
    import onnx

INPUTS: dict[str, str] = {"rgb": "input_rgb", "flow": "input_of"}
"""The file's input for each stream."""
OUTPUT = "fc_pred"
"""Logits, float32 (batch, classes)."""
SUFFIX = ".onnx"
Precision = Literal["fp32", "fp16"]
Batch = int | Literal["dynamic"]
_KEY = "araflow"


@dataclass(frozen=True)
class OnnxModel:
    """An ONNX file that araflow wrote.

    Attributes:
        path: The file.
        spec: What the recogniser knows of itself.
        precision: What it computes in.
        inputs: Shape of each stream's input by the stream's name; the batch is ``None`` where it may be any.
        opset: Version of ONNX's operators.
        sha256: SHA-256 of the file's bytes, hexadecimal.
    """

    path: Path
    spec: ModelSpec
    precision: Precision
    inputs: dict[str, tuple[int | None, ...]]
    opset: int
    sha256: str

    @property
    def batch(self) -> int | None:
        """Windows that it takes at once; ``None``: any number."""
        return next(iter(self.inputs.values()))[0]


class _Description(BaseModel):
    """What is read of a file's description."""

    model: ModelSpec
    precision: Precision
    opset: int


def shape(spec: ModelSpec, stream: str) -> tuple[int, ...]:
    """Return the shape of one window in the file's layout.

    Args:
        spec: What the recogniser knows of itself.
        stream: ``rgb`` or ``flow``.

    Returns:
        (channels × frames, height, width) under ``N(CT)HW``, else (channels, frames, height, width).
    """
    own = spec.stream(stream)
    if layout(spec) == "N(CT)HW":
        return CHANNELS[stream] * own.frames, own.height, own.width
    return CHANNELS[stream], own.frames, own.height, own.width


def layout(spec: ModelSpec) -> str:
    """Return the order of axes: ``N(CT)HW``, in which R0 R1 … G0 G1 … B0 B1 … are the channels, or ``NCTHW``."""
    return models.load(spec.network.architecture).LAYOUT


def arrange(windows: NDArray[np.float32], spec: ModelSpec) -> NDArray[np.float32]:
    """Bring windows into the file's layout.

    Args:
        windows: float32 (batch, channels, frames, height, width).
        spec: What the recogniser knows of itself.

    Returns:
        The same values, contiguous: float32 (batch, channels × frames, height, width) under ``N(CT)HW``, else
        of the same shape.
    """
    found = np.ascontiguousarray(windows, np.float32)
    if layout(spec) == "NCTHW":
        return found
    batch, channels, frames, height, width = found.shape
    return found.reshape(batch, channels * frames, height, width)


def metadata(spec: ModelSpec, *, precision: Precision, opset: int, batch: Batch, version: str) -> dict[str, str]:
    """Return what a file says of itself; ``read`` needs the key ``araflow`` alone.

    Args:
        spec: What the recogniser knows of itself.
        precision: What the file computes in.
        opset: Version of ONNX's operators.
        batch: Windows that it takes at once.
        version: Version of araflow that wrote it.
    """
    own = {name: spec.stream(name) for name in spec.streams}
    normalisation = {
        name: dict(zip(("mean", "std"), stream.per_channel(name), strict=True)) for name, stream in own.items()
    }
    described = {"model": spec.to_json(), "precision": precision, "araflow": version, "opset": opset, "batch": batch}
    found = {
        _KEY: json.dumps(described, sort_keys=True),
        "labels": ";".join(spec.labels),
        "layout": layout(spec),
        "frames": json.dumps({name: stream.frames for name, stream in own.items()}),
        "normalisation": json.dumps(normalisation),  # (x / 255 - mean) / std
        "preprocessing": json.dumps(preprocessing(spec, inputs=INPUTS, output=OUTPUT), ensure_ascii=False),
    }
    if spec.flow is not None and spec.flow.quantizer is not None:
        found["quantizer"] = spec.flow.quantizer
    if spec.manifest_sha256 is not None:
        found["manifest_sha256"] = spec.manifest_sha256
    return found


def read(path: Path) -> OnnxModel:
    """Read what an ONNX file says of itself, and hold its inputs and output against it; it is not run.

    Raises:
        SourceError: There is no such file, it is not an ONNX file, or not one that this version of araflow knows.
        UnavailableError: The package onnx is not installed.
    """
    require.packages("onnx", extra="onnx")
    import onnx
    from google.protobuf.message import DecodeError

    insist_on_file(path)
    try:
        model = onnx.load_model_from_string(read_file(path))
    except (OSError, DecodeError) as error:
        raise SourceError(f"{path}: not a readable ONNX file: {error}") from error
    if not model.graph.node:
        raise SourceError(f"{path}: not an ONNX file, or an empty one")
    inputs = {name: _dimensions(value) for name, value in _values(model.graph.input).items()}
    said = {entry.key: entry.value for entry in model.metadata_props}
    if not model.opset_import:
        raise SourceError(f"{path}: its operators are not those of its description; export it again")
    return held(path, said, inputs, list(_values(model.graph.output)))


def insist_on_file(path: Path) -> None:
    """Refuse what is no file.

    Raises:
        SourceError: It is a folder, or not there.
    """
    if not path.is_file():
        raise SourceError(f"{path}: " + ("a folder, not an ONNX file" if path.is_dir() else "no such ONNX file"))


def held(
    path: Path, said: Mapping[str, str], inputs: Mapping[str, tuple[int | None, ...]], outputs: Sequence[str]
) -> OnnxModel:
    """Hold a file's inputs and output, whatever read them, against what it says of itself.

    Args:
        path: The file.
        said: Its metadata.
        inputs: Shape of each of its inputs; ``None`` for an axis that is not fixed.
        outputs: Names of its outputs.

    Raises:
        SourceError: It is not one that this version of araflow knows, or it cannot be read.
    """
    if _KEY not in said:
        raise SourceError(f"{path}: araflow did not write it; make one: araflow export CHECKPOINT --out m.onnx")
    try:
        content = _Description.model_validate(json_of(said[_KEY]))
        with open_file(path) as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except ValueError as error:
        raise SourceError(f"{path}: its description is of another version of araflow: {problem_of(error)}") from error
    except OSError as error:
        raise SourceError(f"{path}: not a readable ONNX file: {error}") from error
    spec = content.model
    expected = {INPUTS[stream]: shape(spec, stream) for stream in spec.streams}
    if {name: own[1:] for name, own in inputs.items()} != expected or list(outputs) != [OUTPUT]:
        raise SourceError(f"{path}: its inputs and output are not those of its description; export it again")
    shapes = {str(stream): inputs[INPUTS[stream]] for stream in spec.streams}
    return OnnxModel(path, spec, content.precision, shapes, content.opset, sha256)


def _values(given: Any) -> Mapping[str, onnx.ValueInfoProto]:  # noqa: ANN401 - protobuf's repeated field has no type
    return {value.name: value for value in given}


def _dimensions(value: onnx.ValueInfoProto) -> tuple[int | None, ...]:
    """Return the shape; ``None`` where an axis is not fixed."""
    return tuple(axis.dim_value or None for axis in value.type.tensor_type.shape.dim)
