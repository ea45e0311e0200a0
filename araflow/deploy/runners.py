"""Opens recognisers, whatever they run on: one opener per kind of file, chosen by its suffix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from araflow.core.errors import SourceError, SpecError, UnavailableError, did_you_mean
from araflow.deploy.onnx import contract
from araflow.deploy.tensorrt import engine_file
from araflow.recognition import checkpoint, require
from araflow.recognition.prediction.runners import DEVICES, Device, Runner, TorchRunner

_WEIGHTS = (".pth", ".pt", ".tlt", ".ckpt")
"""Endings of files that hold weights without a description."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of file that holds a recogniser.

    Attributes:
        by: What runs it.
        open: Opens one, on a device.
    """

    by: str
    open: Callable[[Path, Device], Runner]


def open_runner(path: Path, device: Device = "auto") -> Runner:
    """Open a recogniser.

    Args:
        path: A file of one of the ``KINDS``.
        device: ``auto`` (a CUDA device where there is one), ``cpu`` or ``cuda``.

    Raises:
        SourceError: There is no such file, it is of another kind, or it cannot be read.
        SpecError: There is no such device.
        UnavailableError: What runs this kind of file, or the device, is not here.
    """
    if device not in DEVICES:
        raise SpecError(f"device: {device!r}; allowed: {', '.join(DEVICES)}{did_you_mean(device, DEVICES)}")
    return kind_of(path).open(path, device)


def kind_of(path: Path) -> Kind:
    """Return what kind of recogniser's file a path names.

    Raises:
        SourceError: It is a folder, or of none of the ``KINDS``.
    """
    suffix = path.suffix.lower()
    if path.is_dir():
        found = sorted(file.name for file in path.iterdir() if file.suffix.lower() in KINDS)
        raise SourceError(f"{path}: a folder, not a recogniser" + (f"; it holds {', '.join(found)}" if found else ""))
    if suffix in _WEIGHTS:
        raise SourceError(
            f"{path}: weights of another tool, not a recogniser of araflow's (files may end in {', '.join(KINDS)}); "
            f"start a training from them: network.weights.rgb={path}"
        )
    if suffix not in KINDS:
        raise SourceError(f"{path}: not a recogniser; files may end in {', '.join(KINDS)}")
    return KINDS[suffix]


def _torch(path: Path, device: Device) -> Runner:
    require.torch()
    import torch

    there = torch.cuda.is_available()
    if device == "cuda" and not there:
        raise UnavailableError("device: cuda: torch sees no CUDA device here; use auto or cpu")
    network, spec = checkpoint.load(path)
    return TorchRunner(network, spec, "cuda" if there and device != "cpu" else "cpu")


def _onnx(path: Path, device: Device) -> Runner:
    from araflow.deploy.onnx.runtime import onnx_runner

    return onnx_runner(path, device)


def _engine(path: Path, device: Device) -> Runner:
    from araflow.deploy.tensorrt.runtime import engine_runner

    return engine_runner(path, device)


KINDS: dict[str, Kind] = {
    checkpoint.SUFFIX: Kind("PyTorch", _torch),
    contract.SUFFIX: Kind("ONNX Runtime", _onnx),
    engine_file.SUFFIX: Kind("TensorRT", _engine),
}
"""By suffix."""
