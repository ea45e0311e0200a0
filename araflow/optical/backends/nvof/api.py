"""NVIDIA's optical-flow interface, version 2.0, as ctypes sees it: structures, numbers, the function table, its errors.

Written from the two headers of https://github.com/NVIDIA/NVIDIAOpticalFlowSDK, branch nvof_2_0_bsd (BSD-3-Clause):
``nvOpticalFlowCommon.h`` and ``nvOpticalFlowCuda.h``. Drivers keep old versions valid, so that 2.0 serves Turing and
everything later. ctypes cannot see a wrong layout: sizes and offsets are asserted when this file is imported; the
numbers were found by compiling the headers on x86-64. Never run on hardware.
"""

from __future__ import annotations

import ctypes
import enum
from ctypes import CFUNCTYPE, POINTER, c_char, c_int, c_uint32, c_uint64, c_void_p

from araflow.core.errors import UnavailableError

LIBRARY = "libnvidia-opticalflow.so.1"
VERSION = 2 * 16 + 0
"""The version word: major * 16 + minor."""
MODE_FLOW = 1
BUFFER_DEVICE_POINTER = 2
"""NV_OF_CUDA_BUFFER_TYPE_CUDEVICEPTR: plain device memory rather than a CUDA array."""
GRIDS = (1, 2, 4)
"""Sides, in pixels, of the square that one vector may stand for."""


class Status(enum.IntEnum):
    """NV_OF_STATUS."""

    SUCCESS = 0
    OF_NOT_AVAILABLE = 1
    UNSUPPORTED_DEVICE = 2
    DEVICE_DOES_NOT_EXIST = 3
    INVALID_PTR = 4
    INVALID_PARAM = 5
    INVALID_CALL = 6
    INVALID_VERSION = 7
    OUT_OF_MEMORY = 8
    NOT_INITIALIZED = 9
    UNSUPPORTED_FEATURE = 10
    GENERIC = 11


class Perf(enum.IntEnum):
    """NV_OF_PERF_LEVEL: slow is the best, fast the worst quality."""

    SLOW = 5
    MEDIUM = 10
    FAST = 20


class Usage(enum.IntEnum):
    """NV_OF_BUFFER_USAGE."""

    INPUT = 1
    OUTPUT = 2
    HINT = 3
    COST = 4


class Format(enum.IntEnum):
    """NV_OF_BUFFER_FORMAT. NV12 has two planes; ABGR8 is four bytes per pixel, red first."""

    GRAY8 = 1
    NV12 = 2
    ABGR8 = 3
    SHORT2 = 5
    UINT8 = 7


class Cap(enum.IntEnum):
    """NV_OF_CAPS: what can be asked of an engine."""

    OUTPUT_GRIDS = 0
    HINT_GRIDS = 1
    HINTS = 2
    WIDTH_MIN = 4
    HEIGHT_MIN = 5
    WIDTH_MAX = 6
    HEIGHT_MAX = 7
    ROI = 8


class InitParams(ctypes.Structure):
    """NV_OF_INIT_PARAMS of 2.0; later versions are longer."""

    _fields_ = (
        ("width", c_uint32),
        ("height", c_uint32),
        ("output_grid", c_int),
        ("hint_grid", c_int),
        ("mode", c_int),
        ("perf", c_int),
        ("enable_hints", c_int),
        ("enable_cost", c_int),
        ("reserved", c_void_p),
        ("disparity_range", c_int),
        ("enable_roi", c_int),
    )


class BufferDescriptor(ctypes.Structure):
    """NV_OF_BUFFER_DESCRIPTOR; output and cost buffers count in grid cells."""

    _fields_ = (("width", c_uint32), ("height", c_uint32), ("usage", c_int), ("format", c_int))


class ExecuteInput(ctypes.Structure):
    """NV_OF_EXECUTE_INPUT_PARAMS of 2.0. The flow goes from ``input`` to ``reference``, anchored on ``input``."""

    _fields_ = (
        ("input", c_void_p),
        ("reference", c_void_p),
        ("external_hints", c_void_p),
        ("disable_temporal_hints", c_int),
        ("padding", c_uint32),
        ("reserved", c_void_p),
        ("padding_2", c_uint32),
        ("roi_count", c_uint32),
        ("rois", c_void_p),
    )


class ExecuteOutput(ctypes.Structure):
    """NV_OF_EXECUTE_OUTPUT_PARAMS of 2.0."""

    _fields_ = (("output", c_void_p), ("cost", c_void_p), ("reserved", c_void_p))


class PlaneStride(ctypes.Structure):
    """NV_OF_BUFFER_STRIDE: ``x`` is bytes from row to row; ``y`` is taken as the rows that the plane has room for."""

    _fields_ = (("x", c_uint32), ("y", c_uint32))


class StrideInfo(ctypes.Structure):
    """NV_OF_CUDA_BUFFER_STRIDE_INFO."""

    _fields_ = (("planes", PlaneStride * 3), ("count", c_uint32))


class FunctionTable(ctypes.Structure):
    """NV_OF_CUDA_API_FUNCTION_LIST: filled by ``NvOFAPICreateInstanceCuda(version, table)``."""

    _fields_ = (
        ("create", CFUNCTYPE(c_int, c_void_p, POINTER(c_void_p))),
        ("init", CFUNCTYPE(c_int, c_void_p, POINTER(InitParams))),
        ("create_buffer", CFUNCTYPE(c_int, c_void_p, POINTER(BufferDescriptor), c_int, POINTER(c_void_p))),
        ("buffer_array", CFUNCTYPE(c_void_p, c_void_p)),
        ("buffer_pointer", CFUNCTYPE(c_uint64, c_void_p)),
        ("buffer_strides", CFUNCTYPE(c_int, c_void_p, POINTER(StrideInfo))),
        ("set_streams", CFUNCTYPE(c_int, c_void_p, c_void_p, c_void_p)),
        ("execute", CFUNCTYPE(c_int, c_void_p, POINTER(ExecuteInput), POINTER(ExecuteOutput))),
        ("destroy_buffer", CFUNCTYPE(c_int, c_void_p)),
        ("destroy", CFUNCTYPE(c_int, c_void_p)),
        ("last_error", CFUNCTYPE(c_int, c_void_p, POINTER(c_char), POINTER(c_uint32))),
        ("get_caps", CFUNCTYPE(c_int, c_void_p, c_int, POINTER(c_uint32), POINTER(c_uint32))),
    )


LAYOUT: dict[type[ctypes.Structure], tuple[int, dict[str, int]]] = {
    InitParams: (48, {"output_grid": 8, "perf": 20, "reserved": 32, "disparity_range": 40, "enable_roi": 44}),
    BufferDescriptor: (16, {"usage": 8, "format": 12}),
    ExecuteInput: (56, {"disable_temporal_hints": 24, "reserved": 32, "roi_count": 44, "rois": 48}),
    ExecuteOutput: (24, {"cost": 8, "reserved": 16}),
    StrideInfo: (28, {"count": 24}),
    FunctionTable: (96, {"init": 8, "execute": 56, "destroy": 72, "get_caps": 88}),
}
"""Bytes of each structure, and where its members begin, as a C++ compiler lays the headers out."""

for _structure, (_size, _offsets) in LAYOUT.items():
    assert ctypes.sizeof(_structure) == _size, _structure
    for _name, _offset in _offsets.items():
        assert getattr(_structure, _name).offset == _offset, (_structure, _name)

_NO_ENGINE = (
    "the optical-flow engine is in NVIDIA GPUs from Turing on, except TU117; a small MIG slice has none, and a GPU of "
    "another kind needs another backend"
)
OURS = "araflow called it wrongly: please report this message with what nvidia-smi prints"
_REMEDIES = {
    Status.OF_NOT_AVAILABLE: _NO_ENGINE,
    Status.UNSUPPORTED_DEVICE: _NO_ENGINE,
    Status.DEVICE_DOES_NOT_EXIST: "the GPU is gone or was reset: see nvidia-smi",
    Status.INVALID_VERSION: "the driver does not serve version 2.0: install a newer NVIDIA driver",
    Status.OUT_OF_MEMORY: "free GPU memory, or use fewer workers",
    Status.UNSUPPORTED_FEATURE: "this engine lacks what was asked: use another preset or backend",
    Status.GENERIC: "see the kernel's log for lines that begin with NVRM",
}


class NvofError(UnavailableError):
    """The optical-flow driver refused a call.

    Args:
        call: What was asked, such as ``init 320x240, grid 1, slow``.
        status: Its NV_OF_STATUS.
        text: The driver's own last-error text, which may be empty.
    """

    def __init__(self, call: str, status: int, text: str = "") -> None:
        known = status in list(Status)
        name = Status(status).name if known else "an unknown status"
        remedy = _REMEDIES.get(Status(status), OURS) if known else OURS
        said = f', "{text}"' if text else ""
        super().__init__(f"the optical-flow driver refused: {call}: {name} ({status}){said}; {remedy}")
        self.call, self.status, self.text = call, status, text

    def __reduce__(self) -> tuple[type[NvofError], tuple[str, int, str]]:
        return NvofError, (self.call, self.status, self.text)  # it crosses the pipe from a worker process
