"""From a PyTorch network to an ONNX graph: traced, simplified, and rounded to float16 where that is wanted.

PyTorch has two exporters. The older one, which traces, is taken: it writes the version of ONNX's operators that was
asked for, where the newer one of 2.13 writes 18 for 17 with a message and nothing more (TensorRT 8.5 reads up to 17);
it needs no onnxscript, and takes a tenth of the time. What is left over by tracing goes through ONNX Runtime's basic
simplification (constants folded, no-ops dropped), after which graphs are Conv, Relu, MaxPool, Add, ReduceMean, Gemm,
with Pad, Concat and little else for I3D, from either exporter.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from araflow.core.errors import SpecError
from araflow.deploy.onnx import contract
from araflow.deploy.onnx.contract import Batch
from araflow.recognition.spec import ModelSpec

if TYPE_CHECKING:
    import onnx
    from torch import nn

_AXIS = "batch"
_LARGEST_HALF = float(np.finfo(np.float16).max)
_EXPECTED_WARNINGS = (
    (DeprecationWarning, "You are using the legacy TorchScript-based ONNX export"),
    (DeprecationWarning, "The feature will be removed. Please remove usage of this function"),
    (Warning, "Converting a tensor to a Python (integer|boolean)"),  # sizes are fixed, except the batch
    (UserWarning, "Constant folding - Only steps=1 can be constant folded"),  # ONNX Runtime folds it afterwards
)
"""What PyTorch says of its older exporter, and of paddings, which a network computes from sizes."""


def trace(network: nn.Module, spec: ModelSpec, file: Path, *, opset: int, batch: Batch) -> None:
    """Write a network's graph in float32, with batch normalisation folded into the convolutions.

    Args:
        network: In evaluation mode, on the CPU.
        spec: What it knows of itself.
        file: The ONNX file to write, with much that is left over.
        opset: Version of ONNX's operators.
        batch: Windows at once.
    """
    import torch

    inputs = [contract.INPUTS[stream] for stream in spec.streams]
    # Two windows where there may be any number: with one, an axis that is repeated by chance would go unnoticed.
    count = 2 if batch == "dynamic" else batch
    windows = tuple(torch.zeros(count, *contract.shape(spec, stream)) for stream in spec.streams)
    stacking: list[Any] = [module for module in network.modules() if getattr(module, "stacked", False)]
    with warnings.catch_warnings(), torch.no_grad():
        for category, message in _EXPECTED_WARNINGS:
            warnings.filterwarnings("ignore", message=message, category=category)
        try:
            for module in stacking:
                module.stacked = False  # the file's windows come stacked
            torch.onnx.export(
                network,
                windows,
                str(file),
                input_names=inputs,
                output_names=[contract.OUTPUT],
                opset_version=opset,
                dynamic_axes={name: {0: _AXIS} for name in (*inputs, contract.OUTPUT)} if batch == "dynamic" else None,
                dynamo=False,
            )
        finally:
            for module in stacking:
                module.stacked = True


def simplify(file: Path) -> onnx.ModelProto:
    """Return a file's graph with fewer nodes that compute the same, of ONNX's own operators alone."""
    import onnx
    import onnxruntime

    from araflow.deploy.onnx.runtime import session_options

    simplified = file.with_name("simplified.onnx")
    options = session_options(threads=1)
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(simplified)
    onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    found = onnx.load(simplified)
    # ONNX Runtime lists every family of operators that it knows; a parser may refuse one that it does not.
    used = {node.domain for node in found.graph.node}
    versions = [entry for entry in found.opset_import if entry.domain in used]
    del found.opset_import[:]
    found.opset_import.extend(versions)
    for node in found.graph.node:
        node.doc_string = ""  # lines of source files on the machine that exported it
        del node.metadata_props[:]
    found.graph.name = "araflow"
    del found.metadata_props[:]
    del found.graph.value_info[:]
    return found


def round_to_half(model: onnx.ModelProto) -> None:
    """Make a simplified graph compute in float16, in place; its inputs and output stay float32.

    Weights are rounded once, after batch normalisation was folded into them. onnxconverter-common does the same, but
    moves weights below 1e-7 with a warning for each tensor; ``network.half()`` cannot be traced where PyTorch lacks
    a layer for float16 on a CPU.

    Raises:
        SpecError: A weight is too large for float16.
    """
    from onnx import TensorProto, helper, numpy_helper

    graph = model.graph
    for weights in graph.initializer:
        if weights.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(weights)
        if not np.abs(values).max(initial=0.0) <= _LARGEST_HALF:
            raise SpecError(
                f"precision: fp16 cannot hold the weights {weights.name} (up to {np.abs(values).max():g}, allowed: "
                f"{_LARGEST_HALF:g}); use fp32"
            )
        weights.CopyFrom(numpy_helper.from_array(values.astype(np.float16), weights.name))
    inside = {value.name: f"{value.name}_half" for value in (*graph.input, *graph.output)}
    nodes = list(graph.node)
    for node in nodes:
        node.input[:] = [inside.get(name, name) for name in node.input]
        node.output[:] = [inside.get(name, name) for name in node.output]
    before = [helper.make_node("Cast", [v.name], [inside[v.name]], to=TensorProto.FLOAT16) for v in graph.input]
    after = [helper.make_node("Cast", [inside[v.name]], [v.name], to=TensorProto.FLOAT) for v in graph.output]
    del graph.node[:]
    graph.node.extend([*before, *nodes, *after])
