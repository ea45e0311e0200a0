"""Tiny experiments on the clips of ``clip_world``: real networks, windows of two fields of 40 x 40 pixels."""

import contextlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import clip_world
import torch

from araflow.recognition import experiment
from araflow.recognition.models import _resnet
from araflow.recognition.spec import ExperimentSpec
from araflow.recognition.training import _module as module
from araflow.recognition.training import run

KEYS = tuple(f"{label}/{number}" for label in clip_world.LABELS for number in range(4))


def manifest(folder: Path, **settings) -> Path:
    """Make clips of three classes, official fold 1: one test and three training clips each."""
    folder.mkdir(parents=True, exist_ok=True)
    clip_world.make(folder, **settings).write(folder / "manifest.parquet")
    return folder


def tree(data: Path, out: Path, modality="flow", **settings) -> dict:
    """Return settings for a file; ``settings`` has dotted names with ``__`` for the dots."""
    window = {"frames": 2, "width": 40, "height": 40}
    found = {
        "name": "tiny",
        "manifest": str(data),
        "out": str(out),
        "network": {"architecture": "arn_2d", "modality": modality, "rgb": window, "flow": window},
        "data": {"workers": 0, "short_side": 40},
        "training": {"epochs": 2, "batch_size": 4, "accelerator": "cpu"},
    }
    for name, value in settings.items():
        *groups, key = name.split("__")
        node = found
        for group in groups:
            node = node.setdefault(group, {})
        node[key] = value
    return found


def spec(data: Path, out: Path, modality="flow", **settings) -> ExperimentSpec:
    return ExperimentSpec.model_validate(tree(data, out, modality, **settings))


def train(data: Path, out: Path, modality="flow", on_epoch=None, **settings) -> run.Trained:
    return run.train(experiment.prepare(spec(data, out, modality, **settings)), on_epoch)


class Seen(module.Recogniser):
    """Notes which clips each process of a training is shown, a line per epoch."""

    folder: Path

    def on_train_epoch_start(self):
        super().on_train_epoch_start()
        self.clips = []

    def training_step(self, items, index):
        self.clips.extend(items["clip"].tolist())
        return super().training_step(items, index)

    def on_train_epoch_end(self):
        with (self.folder / f"seen-{self.global_rank}").open("a") as file:
            file.write(json.dumps(self.clips) + "\n")


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """One thread, no trace in other tests, and networks of an eighth of the channels.

    What a loop does depends on none of them, and a checkpoint of 100 MB takes a second to write.
    """
    threads, deterministic, width = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(), _resnet.WIDTH
    torch.set_num_threads(1)
    _resnet.WIDTH = 8
    try:
        yield
    finally:
        _resnet.WIDTH = width
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic)


def of_file(file: str) -> None:
    """What a child process runs: train the experiment in a JSON file."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with alone():
        run.train(experiment.prepare(ExperimentSpec.model_validate(json.loads(Path(file).read_text()))))
