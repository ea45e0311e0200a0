"""Engines that run: TensorRT's calls by tensor name, on the memory of a ``Gpu``.

The calls are those that every TensorRT from 8.5 to 11 has (NVIDIA TensorRT Python API, ``ICudaEngine`` and
``IExecutionContext``). Checked against the names of the real bindings and run over a fake; never run on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from araflow.core.errors import EngineError, SourceError, SpecError, UnavailableError
from araflow.deploy.onnx import contract
from araflow.deploy.tensorrt import engine_file
from araflow.deploy.tensorrt._gpu import Buffer, Gpu, TorchGpu
from araflow.deploy.tensorrt._install import import_tensorrt
from araflow.deploy.tensorrt._log import Log
from araflow.recognition.prediction.runners import Tensors, check_streams
from araflow.recognition.spec import ModelSpec


class EngineRunner:
    """An engine, ready to run; a ``araflow.recognition.prediction.runners.Runner``.

    Args:
        trt: The module ``tensorrt``.
        data: What TensorRT's builder gave.
        spec: The recogniser that it was built from.
        device: Where it runs.

    Raises:
        UnavailableError: TensorRT finds no GPU.
        EngineError: TensorRT does not take it, or its inputs and outputs are not those of araflow's files.
    """

    def __init__(self, trt: Any, data: bytes, spec: ModelSpec, device: Gpu) -> None:  # noqa: ANN401
        self._trt, self._spec, self._device = trt, spec, device
        self._log = Log(trt)
        try:
            self._runtime = trt.Runtime(self._log.logger)  # must outlive the engine
        except (TypeError, RuntimeError) as error:  # pybind11's words for a factory that returned nothing
            raise UnavailableError(
                f"TensorRT {trt.__version__} finds no usable GPU: {error}:{self._log.said()}"
            ) from error
        self._engine = self._runtime.deserialize_cuda_engine(data)
        if self._engine is None:
            raise EngineError(f"TensorRT {trt.__version__} does not load this engine:{self._log.said()}")
        self._context = self._engine.create_execution_context()
        if self._context is None:
            more = "; too little GPU memory is free" if self._log.names_memory else ""
            raise EngineError(f"TensorRT makes no execution context for this engine{more}:{self._log.said()}")
        self._inputs: dict[str, str] = {stream: contract.INPUTS[stream] for stream in spec.streams}
        self._check_names()
        self.least, self.most = self._batches()
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._buffers: dict[str, Buffer] = {}

    @property
    def spec(self) -> ModelSpec:
        """What it knows of itself."""
        return self._spec

    def __call__(self, **streams: Tensors) -> Tensors:
        """Return logits.

        More windows than the engine takes at once go through in parts; fewer than it takes at least are made up with
        copies of the last one.

        Args:
            streams: float32 (batch, channels, frames, height, width) for each of ``spec.streams``, by its name.

        Returns:
            float32 (batch, classes).

        Raises:
            SpecError: A stream is missing, too much, or not of the shape that it takes.
            EngineError: TensorRT refuses to run, or a logit is not a number.
        """
        check_streams(self._spec, streams)
        count = len(next(iter(streams.values())))
        if not count:
            return np.zeros((0, len(self._spec.labels)), np.float32)
        found = []
        for start in range(0, count, self.most):
            part = {name: tensor[start : start + self.most] for name, tensor in streams.items()}
            size = min(self.most, count - start)
            if size < self.least:
                part = {name: _filled(tensor, self.least) for name, tensor in part.items()}
            found.append(self._run(part)[:size])
        logits = np.concatenate(found)
        if not np.isfinite(logits).all():
            raise EngineError(
                "the engine answers with what is no number; half precision ends at 65504, so if it is built for fp16, "
                "build it for fp32"
            )
        return logits

    def features(self, **streams: Tensors) -> Tensors:
        """Raise ``UnavailableError``: an engine holds logits only."""
        raise UnavailableError("an engine gives logits, not features; take them from the checkpoint it was made from")

    def stopwatch(self, *, cuda_graph: bool = False, **streams: Tensors) -> Callable[[], dict[str, float]]:
        """Prepare one batch and return what runs it once and tells how long that took on the device.

        Args:
            cuda_graph: Whether the computation is queued as one recorded CUDA graph, which spares the host's part.
            streams: As ``__call__`` takes them, as many windows as the engine takes at once.

        Returns:
            A function without arguments; it returns seconds: ``h2d`` (copying in), ``compute``, ``d2h`` (copying out)
            and ``latency``, their sum, as trtexec calls them.

        Raises:
            SpecError: The engine does not take so many windows at once.
            EngineError: TensorRT refuses to run.
        """
        size = len(next(iter(streams.values())))
        if not self.least <= size <= self.most:
            raise SpecError(f"batch: this engine takes {self.least} to {self.most} windows at once, not {size}")
        self._prepare(streams)
        self._send()
        self._compute()  # before a capture TensorRT must have run once: the first run of a shape allocates
        self._fetch()
        self._device.staged(self._buffers[contract.OUTPUT])
        compute = self._device.capture(self._compute) if cuda_graph else self._compute

        def run() -> dict[str, float]:
            h2d, inside, d2h = self._device.timed(self._send, compute, self._fetch)
            return {"latency": h2d + inside + d2h, "h2d": h2d, "compute": inside, "d2h": d2h}

        return run

    def layers(self, batch: int) -> str:
        """Return what the engine inspector says of the layers, as JSON text, for a batch size.

        An engine with dynamic shapes has formats only once shapes are set, so the inspector is given a context.
        """
        self._set_batch({name: (batch, *shape[1:]) for name, shape in self._input_shapes().items()})
        inspector = self._engine.create_engine_inspector()
        inspector.execution_context = self._context
        return str(inspector.get_engine_information(self._trt.LayerInformationFormat.JSON))

    def _check_names(self) -> None:
        engine, mode = self._engine, self._trt.TensorIOMode
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        expected = {**dict.fromkeys(self._inputs.values(), mode.INPUT), contract.OUTPUT: mode.OUTPUT}
        if {name: engine.get_tensor_mode(name) for name in names} != expected:
            raise EngineError(
                f"this engine's tensors are {', '.join(names)}; expected: {', '.join(expected)}. Build it from a file "
                "that araflow export wrote"
            )
        for name in names:
            if engine.get_tensor_dtype(name) != self._trt.DataType.FLOAT:
                raise EngineError(f"{name}: not float32; araflow's files take and give float32 in every precision")

    def _batches(self) -> tuple[int, int]:
        """Return the fewest and the most windows at once."""
        name, shape = next(iter(self._input_shapes().items()))
        if shape[0] >= 0:  # fixed, so there is no profile to ask
            return shape[0], shape[0]
        least, _, most = self._engine.get_tensor_profile_shape(name, 0)
        return int(least[0]), int(most[0])

    def _input_shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: tuple(self._engine.get_tensor_shape(name)) for name in self._inputs.values()}

    def _set_batch(self, shapes: dict[str, tuple[int, ...]]) -> None:
        if shapes == self._shapes:
            return
        self._shapes, self._buffers = {}, {}
        for name, shape in shapes.items():
            if not self._context.set_input_shape(name, shape):
                raise EngineError(f"{name}: TensorRT does not take {shape}:{self._log.said()}")
        output = tuple(self._context.get_tensor_shape(contract.OUTPUT))
        try:
            buffers = {
                name: self._device.allocate(shape) for name, shape in {**shapes, contract.OUTPUT: output}.items()
            }
        except MemoryError as error:
            raise EngineError(f"too little GPU memory for {shapes}; use a smaller batch: {error}") from error
        for name, buffer in buffers.items():
            if not self._context.set_tensor_address(name, buffer.address):
                raise EngineError(f"{name}: TensorRT does not take its memory:{self._log.said()}")
        self._shapes, self._buffers = shapes, buffers

    def _prepare(self, streams: dict[str, Tensors]) -> None:
        arranged = {self._inputs[name]: contract.arrange(tensor, self._spec) for name, tensor in streams.items()}
        self._set_batch({name: tensor.shape for name, tensor in arranged.items()})
        for name, tensor in arranged.items():
            self._device.stage(self._buffers[name], tensor)

    def _run(self, streams: dict[str, Tensors]) -> Tensors:
        self._prepare(streams)
        self._send()
        self._compute()
        self._fetch()
        return self._device.staged(self._buffers[contract.OUTPUT])

    def _send(self) -> None:
        for name in self._inputs.values():
            self._device.send(self._buffers[name])

    def _compute(self) -> None:
        if not self._context.execute_async_v3(self._device.stream):
            raise EngineError(f"TensorRT refuses to run:{self._log.said()}")

    def _fetch(self) -> None:
        self._device.fetch(self._buffers[contract.OUTPUT])


def engine_runner(path: Path, device: str = "auto", *, memory: Gpu | None = None) -> EngineRunner:
    """Open an engine that araflow built on this machine or one like it.

    Args:
        path: The engine; ``<path>.json`` must be beside it.
        device: ``auto`` or ``cuda``.
        memory: Where it runs; ``None``: PyTorch's current CUDA device.

    Raises:
        SourceError: There is no such engine, it is not the one that its description names, or it was built by another
            TensorRT or for another GPU.
        SpecError: ``device`` is ``cpu``.
        UnavailableError: TensorRT or a GPU is absent.
        EngineError: TensorRT does not take it.
    """
    if device == "cpu":
        raise SpecError("device: engines run on CUDA devices only; use auto or cuda, or run the ONNX file on the cpu")
    data, record = engine_file.read(path)
    trt = import_tensorrt()
    # Without being built for it, an engine is good for the version that built it and the kind of GPU it was timed on.
    if str(trt.__version__) != record.tensorrt:
        raise SourceError(
            f"{path}: built by TensorRT {record.tensorrt}; here is {trt.__version__}. Build it again from {record.onnx}"
        )
    memory = TorchGpu() if memory is None else memory
    if memory.capability != record.capability:
        raise SourceError(
            f"{path}: built for {record.device} (compute capability {'.'.join(map(str, record.capability))}); here is "
            f"{memory.name} ({'.'.join(map(str, memory.capability))}). Build it again from {record.onnx}"
        )
    return EngineRunner(trt, data, record.model, memory)


def _filled(tensor: Tensors, size: int) -> Tensors:
    return np.concatenate([tensor, np.repeat(tensor[-1:], size - len(tensor), axis=0)])
