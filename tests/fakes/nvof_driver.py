"""A FAKE of NVIDIA's optical-flow library, for machines without a GPU. No NVIDIA code runs here.

It offers the same C functions as ``libcuda.so.1`` (in ``cuda_driver.py``) and ``libnvidia-opticalflow.so.1``, made of
ctypes callbacks, to the same client code. It enforces what the headers and programs that use the real library show: the
order of calls, the version, the capabilities, pitches wider than the row, grid cells rounded up, a refused handle that
stays unusable, everything destroyed once and in order. Whatever is broken is kept in ``violations``; ``check_clean``
raises them. What it assumes of the real driver is unproven: the backend was never run on hardware.
"""

import ctypes
import dataclasses
import functools
import types
from ctypes import CFUNCTYPE, POINTER, c_int, c_uint32

import cv2
import numpy as np
from fakes.cuda_driver import CONTEXT, FakeCuda, RefusedError

from araflow.optical.backends.nvof import api

_GARBAGE = 0xA5


def match(first, second, reach, window=9):
    """By brute force: for each pixel of ``first`` the whole-pixel shift, up to ``reach``, to where it is in ``second``.

    Returns int16 (height, width, 2), right and down, and the mean absolute difference there; of equals the shortest.
    """
    height, width = first.shape
    around, first = np.pad(second.astype(np.float32), reach, mode="edge"), first.astype(np.float32)
    best, found = np.full((height, width), np.inf, np.float32), np.zeros((height, width, 2), np.int16)
    span = range(-reach, reach + 1)
    for right, down in sorted(((x, y) for x in span for y in span), key=lambda shift: shift[0] ** 2 + shift[1] ** 2):
        shifted = around[reach + down :, reach + right :][:height, :width]
        cost = cv2.blur(np.abs(first - shifted), (window, window), borderType=cv2.BORDER_REFLECT)
        better = cost < best - 1e-3
        best[better], found[better] = cost[better], (right, down)
    return found, best


@dataclasses.dataclass
class Handle:
    state: str = "created"  # created, streams, ready, refused
    init: api.InitParams | None = None
    buffers: set = dataclasses.field(default_factory=set)
    last_error: bytes = b""


@dataclasses.dataclass
class Buffer:
    handle: int
    width: int
    height: int
    usage: api.Usage
    format: api.Format
    pitch: int
    planes: list  # rows of each
    memory: ctypes.Array
    filled: set = dataclasses.field(default_factory=set)

    @property
    def row_bytes(self):
        return self.width * {api.Format.ABGR8: 4, api.Format.SHORT2: 4}.get(self.format, 1)

    @property
    def address(self):
        return ctypes.addressof(self.memory)

    def rows(self):
        """The first plane: uint8, (height, bytes per row); a view."""
        whole = np.frombuffer(self.memory, np.uint8)[: self.pitch * self.planes[0]]
        return whole.reshape(self.planes[0], self.pitch)[: self.height, : self.row_bytes]

    def gray(self):
        rows = self.rows()
        if self.format is not api.Format.ABGR8:
            return rows.copy()
        return cv2.cvtColor(np.ascontiguousarray(rows).reshape(self.height, self.width, 4), cv2.COLOR_RGBA2GRAY)


class FakeDriver(FakeCuda):
    """A machine with one GPU. ``open`` takes the place of ``ctypes.CDLL``.

    ``legal`` says which sizes init takes; ``answer`` replaces the brute-force search: (first, second) to int16 vectors
    (height, width, 2) in 1/32 pixel; the rest is what ``FakeCuda`` takes.
    """

    def __init__(
        self,
        *,
        grids=(1, 2, 4),
        smallest=(32, 32),
        largest=(8192, 8192),
        newest=0x50,
        legal=lambda width, height: True,
        reach=4,
        answer=None,
        **machine,
    ):
        super().__init__(**machine)
        self.grids, self.smallest, self.largest, self.newest = grids, smallest, largest, newest
        self.legal, self.reach, self.answer = legal, reach, answer
        self.executions, self.inits, self.spent = [], [], set()
        self._next, self.version = 0x1000, 0
        self._library = self._flow_library()

    def open(self, name):
        if name == api.LIBRARY and name not in self.missing:
            return self._library
        return super().open(name)

    def _noted(self, name, arguments, refusal):
        if name in self._table and arguments[0] in self.handles:
            handle = self.handles[arguments[0]]
            handle.last_error = refusal.text.encode()
            if name == "init":
                handle.state = "refused"

    # --- libnvidia-opticalflow.so.1

    def _flow_library(self):
        self._table = {
            name: self._guard(name, prototype, getattr(self, "_" + name))
            for name, prototype in api.FunctionTable._fields_
        }
        functions = {
            "NvOFGetMaxSupportedApiVersion": (CFUNCTYPE(c_int, POINTER(c_uint32)), self._newest),
            "NvOFAPICreateInstanceCuda": (CFUNCTYPE(c_int, c_uint32, POINTER(api.FunctionTable)), self._instance),
        }
        made = {name: self._guard(name, *rest) for name, rest in functions.items() if name not in self.missing}
        return types.SimpleNamespace(**made)

    def _newest(self, word):
        word[0] = self.newest

    def _instance(self, version, table):
        if version > self.newest or version not in (0x10, 0x20, 0x30, 0x40, 0x50):
            raise RefusedError(api.Status.INVALID_VERSION, "version")
        self.version = version
        for name, function in self._table.items():
            setattr(table.contents, name, function)

    def _handle(self, handle, *states):
        self._demand(handle not in self.spent, api.Status.INVALID_PTR, "a destroyed handle was used")
        self._demand(handle in self.handles, api.Status.INVALID_PTR, f"{handle} is no handle")
        self._in_context("a call of the engine")
        known = self.handles[handle]
        self._demand(known.state in states, api.Status.INVALID_CALL, f"a handle that is {known.state}, not {states}")
        return known

    def _new(self):
        self._next += 0x10
        return self._next

    def _create(self, context, handle):
        self._in_context("create")
        self._demand(self.version == 0x20, api.Status.INVALID_VERSION, "the structures are those of version 2.0")
        self._demand(context == CONTEXT, api.Status.INVALID_PTR, "create on another context")
        handle[0] = name = self._new()
        self.handles[name] = Handle()

    def _init(self, handle, pointer):
        known, wanted = self._handle(handle, "streams"), pointer.contents
        self._demand(wanted.mode == 1, api.Status.INVALID_PARAM, "mode")
        self._demand(wanted.perf in (5, 10, 20), api.Status.INVALID_PARAM, "perf")
        rest = (wanted.hint_grid, wanted.enable_hints, wanted.reserved or 0, wanted.disparity_range, wanted.enable_roi)
        self._demand(rest == (0, 0, 0, 0, 0), api.Status.INVALID_PARAM, f"what is not used must be 0: {rest}")
        size = wanted.width, wanted.height
        self.inits.append((*size, wanted.output_grid, wanted.perf))
        inside = all(least <= side <= most for least, side, most in zip(self.smallest, size, self.largest, strict=True))
        self._demand(inside, api.Status.INVALID_PARAM, f"{size} is outside the capabilities")
        self._demand(wanted.output_grid in self.grids, api.Status.INVALID_PARAM, f"grid {wanted.output_grid}")
        if not self.legal(*size):
            raise RefusedError(api.Status.INVALID_PARAM, "unsupported resolution")
        known.init = api.InitParams.from_buffer_copy(wanted)
        known.state = "ready"

    def _create_buffer(self, handle, pointer, kind, made):
        known, asked = self._handle(handle, "ready"), pointer.contents
        self._demand(kind == 2, api.Status.UNSUPPORTED_FEATURE, "the fake has plain device memory alone")
        usage, form, grid = api.Usage(asked.usage), api.Format(asked.format), known.init.output_grid
        size = known.init.width, known.init.height
        if usage is not api.Usage.INPUT:
            size = tuple(-(-side // grid) for side in size)
        self._demand((asked.width, asked.height) == size, api.Status.INVALID_PARAM, f"{usage.name} is not {size}")
        formats = {
            api.Usage.INPUT: (api.Format.GRAY8, api.Format.NV12, api.Format.ABGR8),
            api.Usage.OUTPUT: (api.Format.SHORT2,),
            api.Usage.COST: (api.Format.UINT8,) if known.init.enable_cost else (),
        }
        self._demand(form in formats[usage], api.Status.INVALID_PARAM, f"{usage.name} in {form.name}")
        planes = [asked.height + 3, -(-asked.height // 2)] if form is api.Format.NV12 else [asked.height + 3]
        row = asked.width * (4 if form in (api.Format.ABGR8, api.Format.SHORT2) else 1)
        pitch = (row // 64 + 2) * 64  # always wider than the row
        memory = (ctypes.c_uint8 * (pitch * sum(planes)))()
        ctypes.memset(memory, _GARBAGE, len(memory))
        made[0] = name = self._new()
        self.buffers[name] = Buffer(handle, asked.width, asked.height, usage, form, pitch, planes, memory)
        known.buffers.add(name)

    def _buffer(self, name):
        self._demand(name not in self.spent, api.Status.INVALID_PTR, "a destroyed buffer was used")
        self._demand(name in self.buffers, api.Status.INVALID_PTR, f"{name} is no buffer")
        self._in_context("a call for a buffer")
        return self.buffers[name]

    def _buffer_array(self, name):
        return None

    def _buffer_pointer(self, name):
        return self._buffer(name).address

    def _buffer_strides(self, name, info):
        buffer = self._buffer(name)
        info.contents.count = len(buffer.planes)
        for plane, rows in zip(info.contents.planes, buffer.planes, strict=False):
            plane.x, plane.y = buffer.pitch, rows

    def _set_streams(self, handle, source, target):
        self._handle(handle, "created").state = "streams"

    def _execute(self, handle, source, target):
        known, given, taken = self._handle(handle, "ready"), source.contents, target.contents
        rest = given.external_hints, given.padding, given.reserved, given.padding_2, given.roi_count, given.rois
        self._demand(not any(rest), api.Status.INVALID_PARAM, "what is not used must be 0")
        first, second, output = (self._buffer(name) for name in (given.input, given.reference, taken.output))
        cost = self._buffer(taken.cost) if taken.cost else None
        self._demand(first is not second, api.Status.INVALID_PARAM, "a frame against itself")
        for buffer, usage in ((first, "INPUT"), (second, "INPUT"), (output, "OUTPUT"), (cost, "COST")):
            if buffer is not None:
                self._demand(buffer.usage.name == usage, api.Status.INVALID_PARAM, f"{buffer.usage.name} as {usage}")
                self._demand(buffer.handle == handle, api.Status.INVALID_PTR, "a buffer of another session")
        for buffer in (first, second):
            complete = len(buffer.filled) == len(buffer.planes)
            self._demand(complete, api.Status.INVALID_CALL, "a frame that was never uploaded")
        self._demand(
            bool(cost) == bool(known.init.enable_cost), api.Status.INVALID_PARAM, "cost buffer and init differ"
        )
        self.executions.append((given.input, given.reference, bool(given.disable_temporal_hints)))
        work = functools.partial(self._compute, first, second, output, cost, known.init.output_grid)
        self.pending.append((handle, work))

    def _compute(self, first, second, output, cost, grid):
        """What was asked by execute: it happens beside the caller, and is there after the next synchronisation."""
        height, width = first.height, first.width
        if self.answer is not None:
            vectors, unsure = self.answer(first.gray(), second.gray()), np.zeros((height, width), np.float32)
        else:
            shift, unsure = match(first.gray(), second.gray(), self.reach)
            vectors = shift * 32
        y = np.minimum(np.arange(output.height) * grid + grid // 2, height - 1)
        x = np.minimum(np.arange(output.width) * grid + grid // 2, width - 1)
        cells = np.ascontiguousarray(vectors[np.ix_(y, x)].astype(np.int16))
        output.rows()[:] = cells.view(np.uint8).reshape(output.height, -1)
        if cost is not None:
            cost.rows()[:] = unsure[np.ix_(y, x)].clip(0, 255).astype(np.uint8)

    def _destroy_buffer(self, name):
        buffer = self._buffer(name)
        if "cuCtxSynchronize" in self.refuse:
            self.pending.clear()  # a GPU that is lost
        at_work = any(handle == buffer.handle for handle, _ in self.pending)  # others' sessions may be
        self._demand(not at_work, api.Status.INVALID_CALL, "a buffer was destroyed while the engine was at work")
        self.handles[buffer.handle].buffers.remove(name)
        del self.buffers[name]
        self.spent.add(name)

    def _destroy(self, handle):
        known = self._handle(handle, "created", "streams", "ready", "refused")
        self._demand(not known.buffers, api.Status.INVALID_CALL, "a handle was destroyed before its buffers")
        del self.handles[handle]
        self.spent.add(handle)

    def _last_error(self, handle, text, size):
        words = self.handles[handle].last_error[: size[0] - 1]
        ctypes.memmove(text, words + b"\0", len(words) + 1)
        size[0] = len(words)

    def _get_caps(self, handle, cap, values, count):
        self._handle(handle, "created", "streams", "ready")
        known = {
            api.Cap.OUTPUT_GRIDS: self.grids,
            api.Cap.HINT_GRIDS: (4, 8),
            api.Cap.HINTS: (1,),
            api.Cap.WIDTH_MIN: self.smallest[:1],
            api.Cap.HEIGHT_MIN: self.smallest[1:],
            api.Cap.WIDTH_MAX: self.largest[:1],
            api.Cap.HEIGHT_MAX: self.largest[1:],
            api.Cap.ROI: (0,),
        }[api.Cap(cap)]
        if values:
            self._demand(count[0] >= len(known), api.Status.INVALID_PARAM, f"room for {count[0]} values")
            for index, value in enumerate(known):
                values[index] = value
        count[0] = len(known)
