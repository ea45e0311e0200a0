"""Small recognisers for the tests of this folder: random weights, batch normalisation as if it were trained."""

from pathlib import Path

import torch

from araflow.deploy.onnx.contract import OnnxModel
from araflow.recognition import checkpoint
from araflow.recognition.networks import create
from araflow.recognition.spec import ModelSpec, NetworkSpec

LABELS = ("push", "fall_floor", "walk", "run", "ride_bike")


def spec(architecture: str, modality: str = "rgb", **settings: object) -> ModelSpec:
    window = {"frames": 9, "height": 16, "width": 24}
    network = {"architecture": architecture, "modality": modality, "rgb": window, "flow": window}
    network |= {name: settings.pop(name) for name in ("rgb", "flow", "depth") if name in settings}
    return ModelSpec.model_validate(
        {"network": NetworkSpec.model_validate(network), "labels": LABELS, **settings}  # type: ignore[arg-type]
    )


def network_of(model: ModelSpec, seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    network = create(model)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d | torch.nn.BatchNorm3d):
            with torch.no_grad():
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 2)
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.1)
    return network.eval()


def saved(folder: Path, model: ModelSpec, seed: int = 0) -> Path:
    path = folder / "best.safetensors"
    checkpoint.save(path, network_of(model, seed), model)
    return path


def published(
    architecture: str, modality: str = "rgb", *, precision: str = "fp16", batch: int | None = None, **settings
):
    """A file that is not there, of the window that NVIDIA publishes."""
    window = {"frames": 32, "height": 224, "width": 224}
    model = spec(architecture, modality, **{"rgb": window, "flow": window, **settings})
    from araflow.deploy.onnx import contract

    inputs = {stream: (batch, *contract.shape(model, stream)) for stream in model.streams}
    return OnnxModel(Path("m.onnx"), model, precision, inputs, 17, "0" * 64)
