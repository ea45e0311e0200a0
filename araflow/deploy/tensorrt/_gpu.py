"""Where an engine's tensors lie: GPU memory, a stream and events, by PyTorch.

``Gpu`` is all that the rest asks of them, so that tests can put host memory in its place. Never run on a GPU.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from araflow.core.errors import UnavailableError
from araflow.recognition.prediction.runners import Tensors


class Buffer(Protocol):
    """Memory for one float32 tensor on the device, and as much page-locked memory on the host."""

    @property
    def address(self) -> int:
        """Address of its first byte on the device, as TensorRT takes it."""
        ...


class Gpu(Protocol):
    """A GPU, and one stream on it, on which everything that is queued happens in order."""

    @property
    def name(self) -> str:
        """Its name, such as ``NVIDIA A10``."""
        ...

    @property
    def capability(self) -> tuple[int, int]:
        """Its compute capability, such as (8, 6)."""
        ...

    @property
    def stream(self) -> int:
        """The stream's handle."""
        ...

    def allocate(self, shape: tuple[int, ...]) -> Buffer:
        """Return memory for a float32 tensor.

        Raises:
            MemoryError: There is too little.
        """
        ...

    def stage(self, buffer: Buffer, array: Tensors) -> None:
        """Wait for what is queued, then copy an array of the buffer's shape to its memory on the host."""
        ...

    def send(self, buffer: Buffer) -> None:
        """Queue the copy from host to device."""
        ...

    def fetch(self, buffer: Buffer) -> None:
        """Queue the copy from device to host."""
        ...

    def staged(self, buffer: Buffer) -> Tensors:
        """Wait for what is queued, then return a copy of the buffer's memory on the host."""
        ...

    def capture(self, step: Callable[[], None]) -> Callable[[], None]:
        """Record what a step queues as a CUDA graph, without doing it; calling the result queues the graph."""
        ...

    def timed(self, *steps: Callable[[], None]) -> list[float]:
        """Queue steps and return the seconds that each took on the device, between CUDA events."""
        ...


class _TorchBuffer:
    def __init__(self, torch: Any, shape: tuple[int, ...]) -> None:  # noqa: ANN401
        self.tensor = torch.empty(shape, dtype=torch.float32, device="cuda")
        self.host = torch.empty(shape, dtype=torch.float32, pin_memory=True)

    @property
    def address(self) -> int:
        return int(self.tensor.data_ptr())


class TorchGpu:
    """PyTorch's current CUDA device, with a stream of its own; see ``Gpu`` for what its methods do.

    Raises:
        UnavailableError: There is no PyTorch, or it sees no GPU.
    """

    def __init__(self) -> None:
        from araflow.recognition import require

        require.packages("torch")
        import torch

        if not torch.cuda.is_available():
            built = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
            raise UnavailableError(
                f"no NVIDIA GPU that PyTorch can use (PyTorch {torch.__version__}, built {built}): TensorRT builds and "
                "runs engines on a GPU only; araflow predict and bench-engine take the ONNX file itself on a CPU"
            )
        self._torch: Any = torch
        self._stream = self._torch.cuda.Stream()

    @property
    def name(self) -> str:
        return str(self._torch.cuda.get_device_name())

    @property
    def capability(self) -> tuple[int, int]:
        major, minor = self._torch.cuda.get_device_capability()
        return int(major), int(minor)

    @property
    def stream(self) -> int:
        return int(self._stream.cuda_stream)

    def allocate(self, shape: tuple[int, ...]) -> _TorchBuffer:
        try:
            return _TorchBuffer(self._torch, shape)
        except self._torch.cuda.OutOfMemoryError as error:
            raise MemoryError(str(error)) from error

    def stage(self, buffer: Any, array: Tensors) -> None:  # noqa: ANN401
        self._stream.synchronize()  # what was staged before may still be on its way
        buffer.host.copy_(self._torch.from_numpy(np.ascontiguousarray(array)))

    def send(self, buffer: Any) -> None:  # noqa: ANN401
        with self._torch.cuda.stream(self._stream):
            buffer.tensor.copy_(buffer.host, non_blocking=True)

    def fetch(self, buffer: Any) -> None:  # noqa: ANN401
        with self._torch.cuda.stream(self._stream):
            buffer.host.copy_(buffer.tensor, non_blocking=True)

    def staged(self, buffer: Any) -> Tensors:  # noqa: ANN401
        self._stream.synchronize()
        copied: Tensors = buffer.host.numpy().copy()
        return copied

    def capture(self, step: Callable[[], None]) -> Callable[[], None]:
        graph = self._torch.cuda.CUDAGraph()
        with self._torch.cuda.graph(graph, stream=self._stream):
            step()

        def replay() -> None:
            with self._torch.cuda.stream(self._stream):
                graph.replay()

        return replay

    def timed(self, *steps: Callable[[], None]) -> list[float]:
        marks = [self._torch.cuda.Event(enable_timing=True) for _ in range(len(steps) + 1)]
        marks[0].record(self._stream)
        for step, mark in zip(steps, marks[1:], strict=True):
            step()
            mark.record(self._stream)
        marks[-1].synchronize()
        return [before.elapsed_time(after) / 1000 for before, after in itertools.pairwise(marks)]
