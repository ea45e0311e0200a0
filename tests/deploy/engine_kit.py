"""What the tests of engines share: small ONNX files as ``araflow export`` writes them, machines with a fake GPU."""

import json
import sys

import numpy as np
from fakes.host_memory import HostDevice
from fakes.tensorrt import VERSIONS, FakeTensorRT

from araflow import __version__
from araflow.recognition.spec import ModelSpec
from araflow.recognition.streams import CHANNELS

LABELS = ("push", "fall_floor", "walk")
FRAMES, SIZE = 4, 16
NAMES = {"rgb": "input_rgb", "flow": "input_of"}
__all__ = ["FRAMES", "LABELS", "NAMES", "SIZE", "VERSIONS", "machine", "model_spec", "windows", "write_onnx"]


def model_spec(architecture="arn_3d", modality="rgb"):
    stream = {"frames": FRAMES, "width": SIZE, "height": SIZE}
    network = {"architecture": architecture, "modality": modality, "rgb": stream, "flow": stream}
    return ModelSpec.model_validate({"network": network, "labels": LABELS})


def windows(spec, count, seed=0):
    """Windows that differ much, so that a wrong answer shows."""
    random = np.random.default_rng(seed)
    found = {}
    for stream in spec.streams:
        shape = (count, CHANNELS[stream], FRAMES, SIZE, SIZE)
        level = random.uniform(-1, 1, (count, CHANNELS[stream], 1, 1, 1))
        found[stream] = (level + random.uniform(-0.1, 0.1, shape)).astype(np.float32)
    return found


def write_onnx(path, spec=None, *, precision="fp32", batch=None, quantised=False, seed=1):
    """Write a network of one convolution per stream and a classifier, with araflow's names and metadata."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    spec = spec or model_spec()
    flat = spec.network.architecture == "arn_2d"
    random = np.random.default_rng(seed)
    half = precision == "fp16"
    kind = np.float16 if half else np.float32
    nodes, weights, inputs, sums = [], [], [], []

    def weight(name, shape, scale):
        weights.append(numpy_helper.from_array(random.normal(0, scale, shape).astype(kind), name))
        return name

    def node(operator, given, name, **attributes):
        nodes.append(helper.make_node(operator, given, [name], name=name, **attributes))
        return name

    for stream in spec.streams:
        channels = CHANNELS[stream] * (FRAMES if flat else 1)
        shape = (channels, *(() if flat else (FRAMES,)), SIZE, SIZE)
        inputs.append(helper.make_tensor_value_info(NAMES[stream], TensorProto.FLOAT, [batch or "batch", *shape]))
        last = NAMES[stream]
        if half:
            last = node("Cast", [last], f"{stream}_half", to=TensorProto.FLOAT16)
        if quantised:
            scale, zero = f"{stream}_scale", f"{stream}_zero"
            weights.append(numpy_helper.from_array(np.asarray(0.01, kind), scale))
            weights.append(numpy_helper.from_array(np.asarray(0, np.int8), zero))
            last = node("QuantizeLinear", [last, scale, zero], f"{stream}_q")
            last = node("DequantizeLinear", [last, scale, zero], f"{stream}_dq")
        kernel = (8, channels, 3, 3) if flat else (8, channels, 3, 3, 3)
        last = node("Conv", [last, weight(f"{stream}_w", kernel, 0.3)], f"{stream}_conv")
        last = node("Relu", [last], f"{stream}_relu")
        last = node("GlobalAveragePool", [last], f"{stream}_pool")
        last = node("Flatten", [last], f"{stream}_flat")
        fc = [last, weight(f"{stream}_fc", (8, len(LABELS)), 1.0)]
        sums.append(node("MatMul", fc, f"{stream}_logits"))
    last = sums[0] if len(sums) == 1 else node("Add", sums, "sum")
    if half:
        last = node("Cast", [last], "full", to=TensorProto.FLOAT)
    node("Identity", [last], "fc_pred")
    output = helper.make_tensor_value_info("fc_pred", TensorProto.FLOAT, [batch or "batch", len(LABELS)])
    graph = helper.make_graph(nodes, "recogniser", inputs, [output], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    content = {"model": spec.to_json(), "precision": precision, "araflow": __version__}
    content |= {"opset": 17, "batch": batch or "dynamic"}
    layout = "N(CT)HW" if flat else "NCTHW"
    plain = {"labels": ";".join(LABELS), "layout": layout, "normalisation": "{}"}
    helper.set_model_props(model, {"araflow": json.dumps(content), **plain})
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


def machine(monkeypatch, version="10.3.0", *faults, **traits):
    """Install a fake TensorRT and return it with a fake GPU's memory."""
    trt = FakeTensorRT(version, *faults)
    monkeypatch.setitem(sys.modules, "tensorrt", trt)
    return trt, HostDevice(**traits)
