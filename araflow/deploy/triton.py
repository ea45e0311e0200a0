"""A model repository by which NVIDIA Triton Inference Server serves an exported recogniser with ONNX Runtime.

Layout and keys: https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/user_guide/
model_repository.html and model_configuration.html. None of this was ever run on Triton.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from araflow.core import written
from araflow.core.errors import SpecError
from araflow.deploy.onnx import contract
from araflow.deploy.onnx.contract import OnnxModel

CONFIG, LABELS, MODEL = "config.pbtxt", "labels.txt", "1/model.onnx"
BATCH = 16
"""Most windows at once where the file takes any number."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def files(model: OnnxModel, name: str, *, batch: int | None = None) -> dict[str, str]:
    """Return the texts of a model's folder by their names, but for the network itself.

    A file for a fixed number of windows is served as one without batches, whose first axis is that number.

    Args:
        model: The exported recogniser, of any modality.
        name: The model's name, which is its folder's.
        batch: Most windows at once; ``None``: ``BATCH``. Not for a file for a fixed number of windows.

    Raises:
        SpecError: The name or a label cannot be used, or the file takes another number of windows.
    """
    if not _NAME.fullmatch(name):
        raise SpecError(f"name: {name!r}; allowed: letters, digits, '_', '-' and '.', the first a letter or digit")
    if batch is not None and (batch < 1 or model.batch is not None):
        fixed = f"{model.path.name} was exported for {model.batch} windows at once; leave it out"
        raise SpecError(f"batch: {batch}; " + ("allowed: 1 or more" if batch < 1 else fixed))
    spec = model.spec
    if broken := [label for label in spec.labels if "\n" in label]:
        raise SpecError(f"labels: {broken[0]!r} has several lines; rename the class")
    first = [] if model.batch is None else [model.batch]
    inputs = [
        _tensor(contract.INPUTS[stream], [*first, *contract.shape(spec, stream)], None) for stream in spec.streams
    ]
    output = _tensor(contract.OUTPUT, [*first, len(spec.labels)], LABELS)
    lines = [
        f"name: {json.dumps(name)}",
        'platform: "onnxruntime_onnx"',
        f"max_batch_size: {0 if first else batch or BATCH}",
        "input [\n" + ",\n".join(inputs) + "\n]",
        f"output [\n{output}\n]",
        *([] if first else ["dynamic_batching { }"]),
        "instance_group [ { kind: KIND_AUTO } ]",
    ]
    return {CONFIG: "\n".join(lines) + "\n", LABELS: "".join(f"{label}\n" for label in spec.labels)}


def write(model: OnnxModel, repository: Path, name: str, *, batch: int | None = None) -> list[Path]:
    """Write a model, with a copy of the network, into a model repository.

    Args:
        model: The exported recogniser.
        repository: The repository's folder.
        name: The model's name.
        batch: See ``files``.

    Returns:
        What was written.

    Raises:
        SpecError: See ``files``.
        OutputError: It cannot be written, or something else than araflow's own is there.
    """
    texts = files(model, name, batch=batch)
    # The network comes last but for its configuration: Triton, which may be looking, takes a model when that is there.
    content = {LABELS: texts[LABELS].encode(), MODEL: model.path.read_bytes(), CONFIG: texts[CONFIG].encode()}
    return written.write({repository / name / file: data for file, data in content.items()}, repository)


def _tensor(name: str, shape: list[int], labels: str | None) -> str:
    dims = ", ".join(map(str, shape))
    label = "" if labels is None else f", label_filename: {json.dumps(labels)}"
    return f"  {{ name: {json.dumps(name)}, data_type: TYPE_FP32, dims: [ {dims} ]{label} }}"
