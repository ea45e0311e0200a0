"""Drawn videos, a dataset built from them by the real code, and recognisers of it with random weights."""

import functools
from pathlib import Path

import torch

from araflow.build.run import build as run
from araflow.core.spec import BuildSpec
from araflow.datasets._sample import draw_sample
from araflow.recognition import checkpoint, experiment
from araflow.recognition.networks import create
from araflow.recognition.prediction.runners import TorchRunner
from araflow.recognition.spec import ExperimentSpec, ModelSpec

CLASSES = ("walk", "push", "run")


@functools.cache
def videos(base: Path) -> Path:
    """Draw two videos of 14 to 21 frames per class, once per run of tests; return the folder of class folders."""
    folder = base / "drawn-videos"
    draw_sample(
        folder, clips_per_class=2, sources_per_class=2, width=96, height=72, seconds=(0.45, 0.7), classes=CLASSES
    )
    return folder / "videos"


@functools.cache
def built(base: Path, *, rgb: tuple[tuple[str, object], ...] = (), **optical) -> Path:
    """Build a dataset of them, once per settings: its classes in an order of its own, one test clip each."""
    out = base / f"drawn-{len(rgb)}-{len(optical)}-{optical.get('quantizer', 'bound')}" / "data"
    spec = {
        "name": "drawn",
        "dataset": {"name": "folder", "source": str(videos(base)), "classes": list(CLASSES)},
        "split": {"protocol": "random", "test_fraction": 0.5},
        "rgb": dict(rgb),
        "optical": {"backend": "opencv", "algorithm": "dis", **optical},
        "run": {"workers": 1},
        "out": str(out),
    }
    run(BuildSpec.model_validate(spec))
    return out


def prepare(manifest: Path, modality: str, *, network=None, **data) -> experiment.Prepared:
    """Prepare an experiment with a window of 8 frames (flow of joint: 4) of 40 x 32 pixels."""
    flow = {"frames": 4 if modality == "joint" else 8, "width": 40, "height": 32, "mean": [0.4, 0.6]}
    rgb = {"frames": 8, "width": 40, "height": 32, "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3]}
    spec = {
        "name": "drawn",
        "manifest": str(manifest),
        "out": str(manifest.parent / "run"),
        "network": {"architecture": "arn_2d", "modality": modality, "rgb": rgb, "flow": flow, **(network or {})},
        "data": data,
    }
    return experiment.prepare(ExperimentSpec.model_validate(spec))


@functools.cache
def _network(settings: str):
    torch.manual_seed(0)
    network = create(ModelSpec.model_validate_json(settings))
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d | torch.nn.BatchNorm3d):
            module.running_mean.normal_(0, 0.1)
    return network.eval()


def network(model: ModelSpec):
    """A network with random weights, statistics of its batch normalisation included; made once, do not change it."""
    return _network(ModelSpec(network=model.network, labels=model.labels).model_dump_json())


def runner(model: ModelSpec) -> TorchRunner:
    return TorchRunner(network(model), model, "cpu")


def recogniser(file: Path, model: ModelSpec) -> Path:
    """Save such a network."""
    checkpoint.save(file, network(model), model)
    return file
