"""The few calls of NVIDIA's CUDA driver (``libcuda.so.1``) that the optical-flow engine needs, by ctypes.

The library comes with the driver, so that neither PyTorch nor a CUDA toolkit is needed. Names with ``_v2`` are what
``cuda.h`` turns the plain names into; the plain ones are an older interface. Never run on hardware.

Source of every signature, number and structure: CUDA Driver API reference manual, sections Initialization, Device
Management, Primary Context Management, Context Management and Memory Management.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable, Iterator
from ctypes import POINTER, byref, c_char, c_char_p, c_int, c_size_t, c_uint, c_uint64, c_void_p
from typing import Any

import numpy as np
from numpy.typing import NDArray

from araflow.core.errors import UnavailableError

LIBRARY = "libcuda.so.1"
OpenLibrary = Callable[[str], Any]
"""Opens a shared library by name, as ``ctypes.CDLL`` does; raises OSError where there is none."""
_HOST, _DEVICE = 1, 2
"""CU_MEMORYTYPE_HOST and CU_MEMORYTYPE_DEVICE."""


class Memcpy2D(ctypes.Structure):
    """CUDA_MEMCPY2D: a rectangle of ``row_bytes`` by ``rows``; pitches are bytes from one row to the next."""

    _fields_ = (
        ("source_x", c_size_t),
        ("source_y", c_size_t),
        ("source_kind", c_int),
        ("source_host", c_void_p),
        ("source_device", c_uint64),
        ("source_array", c_void_p),
        ("source_pitch", c_size_t),
        ("target_x", c_size_t),
        ("target_y", c_size_t),
        ("target_kind", c_int),
        ("target_host", c_void_p),
        ("target_device", c_uint64),
        ("target_array", c_void_p),
        ("target_pitch", c_size_t),
        ("row_bytes", c_size_t),
        ("rows", c_size_t),
    )


assert ctypes.sizeof(Memcpy2D) == 128

CALLS: dict[str, tuple[Any, ...]] = {
    "cuInit": (c_uint,),
    "cuDriverGetVersion": (POINTER(c_int),),
    "cuDeviceGetCount": (POINTER(c_int),),
    "cuDeviceGet": (POINTER(c_int), c_int),
    "cuDeviceGetName": (POINTER(c_char), c_int, c_int),
    "cuDevicePrimaryCtxRetain": (POINTER(c_void_p), c_int),
    "cuDevicePrimaryCtxRelease_v2": (c_int,),
    "cuCtxPushCurrent_v2": (c_void_p,),
    "cuCtxPopCurrent_v2": (POINTER(c_void_p),),
    "cuCtxSynchronize": (),
    "cuMemcpy2D_v2": (POINTER(Memcpy2D),),
    "cuGetErrorName": (c_int, POINTER(c_char_p)),
}
"""Every function used, and its arguments; each returns a CUresult (int)."""


class CudaError(UnavailableError):
    """A call of the CUDA driver was refused.

    Args:
        call: Function that refused.
        code: Its CUresult.
        name: What the driver calls that number, such as ``CUDA_ERROR_NO_DEVICE``.
    """

    def __init__(self, call: str, code: int, name: str) -> None:
        super().__init__(f"{call} answered {name} ({code}); nvidia-smi shows the state of the GPU and its driver")
        self.call, self.code, self.name = call, code, name

    def __reduce__(self) -> tuple[type[CudaError], tuple[str, int, str]]:
        return CudaError, (self.call, self.code, self.name)  # it crosses the pipe from a worker process


class CudaDriver:
    """The driver, opened and bound. Nothing is initialised before ``devices`` is called.

    Args:
        open_library: Opens ``libcuda.so.1``.

    Raises:
        UnavailableError: There is no such library, or it lacks a function.
    """

    def __init__(self, open_library: OpenLibrary) -> None:
        try:
            library = open_library(LIBRARY)
        except OSError as error:
            raise UnavailableError(
                f"no CUDA driver: {LIBRARY} cannot be opened ({error}); install NVIDIA's driver, or give the container "
                "its GPU (docker run --gpus all)"
            ) from None
        self._functions: dict[str, Any] = {}
        for name, arguments in CALLS.items():
            try:
                function = getattr(library, name)
            except AttributeError:
                raise UnavailableError(f"{LIBRARY} lacks {name}: the driver is too old; install a newer one") from None
            function.argtypes, function.restype = arguments, c_int
            self._functions[name] = function

    def _call(self, name: str, *arguments: object) -> None:
        code = self._functions[name](*arguments)
        if code:
            text = c_char_p()
            self._functions["cuGetErrorName"](code, byref(text))
            raise CudaError(name, code, (text.value or b"an unknown error").decode("ascii", "replace"))

    def version(self) -> str:
        """Return the newest CUDA version that the driver supports, such as ``12.4``; needs no initialisation."""
        number = c_int()
        self._call("cuDriverGetVersion", byref(number))
        return f"{number.value // 1000}.{number.value % 1000 // 10}"

    def devices(self) -> int:
        """Initialise the driver in this process and return how many GPUs it may use; makes no context.

        Raises:
            CudaError: The driver does not come up; without a GPU, that is CUDA_ERROR_NO_DEVICE.
        """
        count = c_int()
        self._call("cuInit", 0)
        self._call("cuDeviceGetCount", byref(count))
        return count.value

    def _device(self, ordinal: int) -> c_int:
        device = c_int()
        self._call("cuDeviceGet", byref(device), ordinal)
        return device

    def device_name(self, ordinal: int) -> str:
        """Return what the GPU is called."""
        text = ctypes.create_string_buffer(256)
        self._call("cuDeviceGetName", text, len(text), self._device(ordinal))
        return text.value.decode("utf-8", "replace")

    def retain(self, ordinal: int) -> int:
        """Take the GPU's primary context, the one that PyTorch uses too; give it back with ``release``."""
        context = c_void_p()
        self._call("cuDevicePrimaryCtxRetain", byref(context), self._device(ordinal))
        return context.value or 0

    def release(self, ordinal: int) -> None:
        """Give the primary context back; the last one to do so ends it."""
        self._call("cuDevicePrimaryCtxRelease_v2", self._device(ordinal))

    @contextlib.contextmanager
    def current(self, context: int) -> Iterator[None]:
        """Make the context the calling thread's current one, and leave the thread as it was afterwards."""
        self._call("cuCtxPushCurrent_v2", context)
        try:
            yield
        finally:
            self._call("cuCtxPopCurrent_v2", byref(c_void_p()))

    def synchronize(self) -> None:
        """Wait for everything that was asked of the current context."""
        self._call("cuCtxSynchronize")

    def upload(self, rows: NDArray[np.uint8], address: int, pitch: int) -> None:
        """Copy rows to the GPU.

        Args:
            rows: uint8, (rows, bytes per row), C-contiguous.
            address: Device address of the first row.
            pitch: Bytes from one row to the next there.
        """
        copy = _rectangle(rows)
        copy.source_kind, copy.source_host, copy.source_pitch = _HOST, rows.ctypes.data, rows.shape[1]
        copy.target_kind, copy.target_device, copy.target_pitch = _DEVICE, address, pitch
        self._call("cuMemcpy2D_v2", byref(copy))

    def download(self, address: int, pitch: int, rows: NDArray[np.uint8]) -> None:
        """Copy rows from the GPU into ``rows``; arguments as for ``upload``."""
        copy = _rectangle(rows)
        copy.source_kind, copy.source_device, copy.source_pitch = _DEVICE, address, pitch
        copy.target_kind, copy.target_host, copy.target_pitch = _HOST, rows.ctypes.data, rows.shape[1]
        self._call("cuMemcpy2D_v2", byref(copy))


def _rectangle(rows: NDArray[np.uint8]) -> Memcpy2D:
    if not rows.flags.c_contiguous:
        raise ValueError("rows must be C-contiguous")
    return Memcpy2D(row_bytes=rows.shape[1], rows=rows.shape[0])
