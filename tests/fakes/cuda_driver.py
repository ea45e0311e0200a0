"""A FAKE of NVIDIA's CUDA driver (``libcuda.so.1``), for machines without a GPU. No NVIDIA code runs here.

Device memory is host memory behind a ``memcpy2d`` that can be replaced. Contexts, bounds and pitches are enforced;
whatever is broken is kept in ``violations``.
"""

import ctypes
import threading
import types
from ctypes import CFUNCTYPE, c_int

from araflow.optical.backends.nvof import cuda_driver as cuda

CONTEXT = 0xC0DE
_NOT_INITIALIZED, _INVALID_VALUE, _INVALID_CONTEXT, _NO_DEVICE = 3, 1, 201, 100
_UNKNOWN = 11  # generic for the optical-flow library
_DEVICE = 7  # a CUdevice is not an ordinal
_NAMES = {1: b"CUDA_ERROR_INVALID_VALUE", 3: b"CUDA_ERROR_NOT_INITIALIZED", 100: b"CUDA_ERROR_NO_DEVICE"}


class RefusedError(Exception):
    def __init__(self, status, text):
        super().__init__(text)
        self.status, self.text = status, text


class FakeCuda:
    """A machine with one GPU. What lies in its memory is in ``buffers``, which a subclass fills.

    ``refuse`` maps a function's name to the status it answers; ``missing`` names libraries and functions that are not
    there.
    """

    def __init__(self, *, devices=1, refuse=None, missing=(), memcpy2d=None):
        self.devices, self.refuse, self.missing = devices, dict(refuse or {}), set(missing)
        self.memcpy2d = memcpy2d or self.copy_rows
        self.violations, self.calls = [], []
        self.initialised, self.retained, self.stacks = False, 0, {}
        self.pending = []  # what the device has been asked to do: (the session's handle, the work)
        self._one = threading.RLock()  # calls of several threads come one after the other
        self.handles, self.buffers, self.uploads = {}, {}, 0

    def open(self, name):
        if name != cuda.LIBRARY or name in self.missing:
            raise OSError(f"{name}: cannot open shared object file: No such file or directory (a fake)")
        return self._cuda_library()

    def check_clean(self):
        assert self.violations == []
        assert not self.handles, "a session was not destroyed"
        assert not self.buffers, "a buffer was not destroyed"
        assert not any(self.stacks.values()), "a context was left current"
        assert not self.retained, "the primary context was not released"

    # --- plumbing

    def _guard(self, name, prototype, function):
        def call(*arguments):
            with self._one:
                return answered(arguments)

        def answered(arguments):
            self.calls.append(name)
            try:
                if name in self.refuse:
                    status = self.refuse[name]
                    raise RefusedError(status, f"the fake was told to refuse {name}")
                return function(*arguments) or 0
            except RefusedError as refusal:
                self._noted(name, arguments, refusal)
                return refusal.status
            except Exception as error:  # an exception must not cross C
                self.violations.append(f"{name}: {error!r}")
                return _UNKNOWN

        return prototype(call)

    def _noted(self, name, arguments, refusal):
        """Keep a refusal where ``last_error`` finds it."""

    def _demand(self, condition, status, text):
        if not condition:
            self.violations.append(text)
            raise RefusedError(status, text)

    @property
    def stack(self):
        return self.stacks.setdefault(threading.get_ident(), [])

    # --- libcuda.so.1

    def _cuda_library(self):
        functions = {}
        for name, arguments in cuda.CALLS.items():
            if name not in self.missing:
                prototype = CFUNCTYPE(c_int, *arguments)
                functions[name] = self._guard(name, prototype, getattr(self, "_" + name))
        return types.SimpleNamespace(**functions)

    def _cuInit(self, flags):  # noqa: N802 - the vendor's names, here and below
        if not self.devices:
            raise RefusedError(_NO_DEVICE, "no device")
        self.initialised = True

    def _cuDriverGetVersion(self, version):  # noqa: N802
        version[0] = 12080

    def _cuDeviceGetCount(self, count):  # noqa: N802
        self._demand(self.initialised, _NOT_INITIALIZED, "cuDeviceGetCount before cuInit")
        count[0] = self.devices

    def _cuDeviceGet(self, device, ordinal):  # noqa: N802
        self._demand(self.initialised and ordinal < self.devices, _INVALID_VALUE, f"no GPU {ordinal}")
        device[0] = ordinal + _DEVICE

    def _cuDeviceGetName(self, text, size, device):  # noqa: N802
        self._demand(self.initialised, _NOT_INITIALIZED, "cuDeviceGetName before cuInit")
        name = b"Fake GPU (no hardware)\0"
        self._demand(size >= len(name) and device == _DEVICE, _INVALID_VALUE, "cuDeviceGetName")
        ctypes.memmove(text, name, len(name))

    def _cuDevicePrimaryCtxRetain(self, context, device):  # noqa: N802
        self._demand(self.initialised and device == _DEVICE, _NOT_INITIALIZED, "retain before cuInit, or of no GPU")
        self.retained += 1
        context[0] = CONTEXT

    def _cuDevicePrimaryCtxRelease_v2(self, device):  # noqa: N802
        self._demand(device == _DEVICE, _INVALID_VALUE, "release of no GPU")
        self._demand(self.retained > 0, _INVALID_CONTEXT, "released more often than retained")
        self._demand(not self.handles, _INVALID_CONTEXT, "the context was released before its sessions were destroyed")
        self.retained -= 1

    def _cuCtxPushCurrent_v2(self, context):  # noqa: N802
        self._demand(context == CONTEXT and self.retained, _INVALID_CONTEXT, "pushed what is no context")
        self.stack.append(context)

    def _cuCtxPopCurrent_v2(self, context):  # noqa: N802
        self._demand(self.stack, _INVALID_CONTEXT, "popped an empty stack")
        context[0] = self.stack.pop()

    def _cuCtxSynchronize(self):  # noqa: N802
        self._in_context("cuCtxSynchronize")
        while self.pending:
            _, work = self.pending.pop(0)
            work()

    def _cuGetErrorName(self, code, text):  # noqa: N802
        text[0] = _NAMES.get(code, b"CUDA_ERROR_OF_THE_FAKE")

    def _cuMemcpy2D_v2(self, pointer):  # noqa: N802
        self._in_context("cuMemcpy2D")
        copy = pointer.contents
        kinds = copy.source_kind, copy.target_kind
        self._demand(sorted(kinds) == [1, 2], _INVALID_VALUE, f"memory kinds {kinds}")
        up = kinds == (1, 2)
        address, pitch = (copy.target_device, copy.target_pitch) if up else (copy.source_device, copy.source_pitch)
        inside = [
            buffer
            for buffer in self.buffers.values()
            if buffer.address <= address < buffer.address + len(buffer.memory)
        ]
        self._demand(len(inside) == 1, _INVALID_VALUE, f"{address:#x} is no device memory")
        (buffer,) = inside
        last = address - buffer.address + pitch * (copy.rows - 1) + copy.row_bytes
        self._demand(last <= len(buffer.memory), _INVALID_VALUE, "the copy leaves the buffer")
        self._demand(pitch == buffer.pitch, _INVALID_VALUE, f"pitch {pitch} is not the buffer's {buffer.pitch}")
        self._demand(copy.row_bytes == buffer.row_bytes, _INVALID_VALUE, "the copy's rows are not the buffer's")
        self.memcpy2d(copy)
        if up:
            plane = (address - buffer.address) // (pitch * buffer.planes[0])
            self._demand(buffer.usage.name == "INPUT", _INVALID_VALUE, "uploaded into an output")
            expected = buffer.height // (plane + 1)
            self._demand(copy.rows == expected, _INVALID_VALUE, f"{copy.rows} rows of {expected} were uploaded")
            buffer.filled.add(plane)
            self.uploads += 1

    @staticmethod
    def copy_rows(copy):
        """The default ``memcpy2d``: row by row, each end at its own pitch."""
        source, target = copy.source_host or copy.source_device, copy.target_host or copy.target_device
        for row in range(copy.rows):
            ctypes.memmove(target + row * copy.target_pitch, source + row * copy.source_pitch, copy.row_bytes)

    def _in_context(self, what):
        self._demand(self.stack and self.stack[-1] == CONTEXT, _INVALID_CONTEXT, f"{what} without a current context")
