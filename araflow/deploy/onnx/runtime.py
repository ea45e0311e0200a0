"""ONNX files run by ONNX Runtime (https://onnxruntime.ai), on a CPU or an NVIDIA GPU."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from araflow.core.errors import SourceError, SpecError, TrainingError, UnavailableError, did_you_mean
from araflow.deploy.onnx import contract
from araflow.deploy.onnx.contract import OnnxModel
from araflow.recognition import require
from araflow.recognition.prediction.runners import DEVICES, Tensors, check_streams
from araflow.recognition.spec import ModelSpec

if TYPE_CHECKING:
    import onnxruntime

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_ERRORS_ONLY = 3
"""ONNX Runtime's level of messages: it warns of float16 on a CPU, which is meant here."""


class OnnxRunner:
    """An ONNX file, ready to run; a ``araflow.recognition.prediction.runners.Runner``.

    Args:
        model: The file.
        session: ONNX Runtime's session of it.
    """

    def __init__(self, model: OnnxModel, session: onnxruntime.InferenceSession) -> None:
        self.model = model
        self._session = session

    @property
    def spec(self) -> ModelSpec:
        """What the recogniser knows of itself."""
        return self.model.spec

    def __call__(self, **streams: Tensors) -> Tensors:
        """Return logits, float32 (batch, classes).

        A file for a fixed number of windows is run as often as it takes, the last time with windows repeated.

        Args:
            streams: float32 (batch, channels, frames, height, width) for each of ``spec.streams``, by its name.

        Raises:
            SpecError: A stream is missing, too much, or not of the shape that it takes.
            TrainingError: A logit is not a number.
        """
        check_streams(self.spec, streams)
        count = len(next(iter(streams.values())))
        step = self.model.batch or count
        parts = []
        for first in range(0, count, step):
            order = np.resize(np.arange(first, min(first + step, count)), step)
            parts.append(self._run({name: tensor[order] for name, tensor in streams.items()}))
        logits = np.concatenate(parts)[:count]
        if not np.isfinite(logits).all():
            why = "float16 cannot hold its values; export it with --precision fp32"
            raise TrainingError(
                "the network answers with what is no number: "
                + (why if self.model.precision == "fp16" else "its training diverged; train it again")
            )
        return logits

    def features(self, **streams: Tensors) -> Tensors:
        """Refuse: an ONNX file gives logits alone.

        Raises:
            UnavailableError: Always.
        """
        raise UnavailableError(f"{self.model.path}: an ONNX file gives no features; use the checkpoint")

    def _run(self, streams: dict[str, Tensors]) -> Tensors:
        given = {contract.INPUTS[name]: contract.arrange(tensor, self.spec) for name, tensor in streams.items()}
        logits: Tensors = self._session.run([contract.OUTPUT], given)[0]
        return logits


def onnx_runner(path: Path, device: str = "auto", *, threads: int | None = None) -> OnnxRunner:
    """Open an ONNX file that ``araflow export`` wrote.

    Args:
        path: The file.
        device: ``auto`` (an NVIDIA GPU where ONNX Runtime has one), ``cpu`` or ``cuda``.
        threads: Threads of a CPU; ``None``: one per core.

    Raises:
        SourceError: There is no such file, or it is not of araflow.
        SpecError: There is no such device.
        UnavailableError: ONNX Runtime, or the device, is not here.
    """
    require.packages("onnxruntime", extra="onnx")
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as failures

    contract.insist_on_file(path)
    options = session_options(threads)
    try:
        # From the path, not from bytes: it may then map the weights instead of copying them.
        session = onnxruntime.InferenceSession(str(path), options, providers=_providers(device))
    except failures.InvalidProtobuf as error:
        raise SourceError(f"{path}: not a readable ONNX file: {error}") from error
    except (failures.Fail, failures.InvalidGraph, failures.InvalidArgument, failures.NotImplemented) as error:
        raise SourceError(f"{path}: ONNX Runtime {onnxruntime.__version__} does not take it: {error}") from error
    if device == "cuda" and _PROVIDERS["cuda"] not in session.get_providers():
        raise UnavailableError("device: cuda: ONNX Runtime could not start CUDA here; its message is above")
    inputs = {
        entry.name: tuple(size if isinstance(size, int) else None for size in entry.shape)
        for entry in session.get_inputs()
    }
    outputs = [entry.name for entry in session.get_outputs()]
    said = session.get_modelmeta().custom_metadata_map
    return OnnxRunner(contract.held(path, said, inputs, outputs), session)


def session_options(threads: int | None = None) -> onnxruntime.SessionOptions:
    """Return options by which the same windows give the same bytes, quietly.

    Args:
        threads: Threads of a CPU; ``None``: one per core.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.use_deterministic_compute = True
    options.log_severity_level = _ERRORS_ONLY
    options.inter_op_num_threads = 1
    if threads is not None:
        options.intra_op_num_threads = threads
    return options


def _providers(device: str) -> list[str]:
    """Return ONNX Runtime's names of what may run the file, the preferred first."""
    import onnxruntime

    if device not in DEVICES:
        raise SpecError(f"device: {device!r}; allowed: {', '.join(DEVICES)}{did_you_mean(device, DEVICES)}")
    there = _PROVIDERS["cuda"] in onnxruntime.get_available_providers()
    if device == "cuda" and not there:
        raise UnavailableError(
            "device: cuda: this ONNX Runtime is for CPUs: pip install onnxruntime-gpu in its place, or use auto or cpu"
        )
    return [_PROVIDERS["cuda"], _PROVIDERS["cpu"]] if there and device != "cpu" else [_PROVIDERS["cpu"]]
