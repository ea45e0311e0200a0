"""One session on the optical-flow engine: a handle with its buffers, for frames of one size. Never run on hardware."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from ctypes import byref, c_void_p

import numpy as np
from numpy.typing import NDArray

from araflow.core.errors import UnavailableError
from araflow.optical.backends.nvof import api
from araflow.optical.backends.nvof.hardware import Caps, Engine

_ASK_AGAIN = (api.Status.INVALID_PARAM, api.Status.UNSUPPORTED_FEATURE)
_MULTIPLE = 16
"""What a refused size is rounded up to before it is tried again: the side of a macroblock, in pixels."""


@dataclasses.dataclass(frozen=True, slots=True)
class SessionSettings:
    """What a session is made for.

    Attributes:
        perf: Trade of speed for quality.
        grid: Side, in pixels, of the square that each vector stands for: 1, 2 or 4. The smallest that the engine has
            and that is not below this is taken.
        temporal_hints: Start each pair from the one before it. A field then depends on the session's earlier frames.
        input_format: How frames are laid out.
    """

    perf: api.Perf
    grid: int
    temporal_hints: bool = True
    input_format: api.Format = api.Format.GRAY8


@dataclasses.dataclass(frozen=True, slots=True)
class _Buffer:
    handle: c_void_p
    address: int
    planes: tuple[tuple[int, int], ...]
    """Pitch in bytes, and rows, of each plane."""


class Session:
    """A handle with its buffers, for frames of one size. A context manager; or call ``close``.

    Frames go into two slots in turn, so that each is uploaded once.

    Args:
        engine: Where it runs.
        width: Frame width in pixels, at most the engine's largest.
        height: Frame height in pixels.
        settings: What for.

    Attributes:
        width: Width, in pixels, of what must be uploaded: the frames', or the next that the engine takes.
        height: Height of it.
        grid: Side, in pixels, of the square that each vector stands for.

    Raises:
        NvofError: The engine refused.
    """

    def __init__(self, engine: Engine, width: int, height: int, settings: SessionSettings) -> None:
        self._engine, self._settings = engine, settings
        self.grid = engine.caps.grid(settings.grid)
        refused: api.NvofError | None = None
        for self.width, self.height in legal_sizes(width, height, engine.caps):
            self._owned: list[tuple[str, c_void_p]] = []
            try:
                with engine.cuda.current(engine.context):
                    self._open()
                return
            except BaseException as error:
                with contextlib.suppress(UnavailableError):  # what went wrong first is what counts
                    self.close()
                # A handle that was refused once cannot be used again: the next size has a handle of its own.
                if not isinstance(error, api.NvofError) or error.status not in _ASK_AGAIN:
                    raise
                refused = refused or error
        assert refused is not None
        raise refused

    def _open(self) -> None:
        engine, settings = self._engine, self._settings
        self._handle = engine.create()
        self._owned.append(("destroy", self._handle))
        # The default stream for input and output: everything is then in order with our copies.
        self._call("the default streams", "set_streams", self._handle, None, None)
        wanted = api.InitParams(
            width=self.width,
            height=self.height,
            output_grid=self.grid,
            mode=api.MODE_FLOW,
            perf=settings.perf,
        )
        what = f"a session of {self.width}x{self.height}, grid {self.grid}, {settings.perf.name.lower()}"
        self._call(what, "init", self._handle, byref(wanted))
        row = self.width * (4 if settings.input_format is api.Format.ABGR8 else 1)
        frame = (self.width, self.height, api.Usage.INPUT, settings.input_format, row)
        self._slots = self._buffer(*frame), self._buffer(*frame)
        columns, rows = -(-self.width // self.grid), -(-self.height // self.grid)
        self._output = self._buffer(columns, rows, api.Usage.OUTPUT, api.Format.SHORT2, 4 * columns)
        self._cells = rows, columns

    def _call(self, what: str, function: str, *arguments: object) -> None:
        self._engine.call(what, function, *arguments, handle=self._handle)

    def _buffer(self, width: int, height: int, usage: api.Usage, form: api.Format, row_bytes: int) -> _Buffer:
        what, made = f"the {usage.name.lower()} buffer of {width}x{height} {form.name}", c_void_p()
        description = api.BufferDescriptor(width, height, usage, form)
        self._call(what, "create_buffer", self._handle, byref(description), api.BUFFER_DEVICE_POINTER, byref(made))
        self._owned.append(("destroy_buffer", made))
        planes, address = self._engine.strides(made, what), self._engine.address(made)
        if not address or not planes or min(pitch for pitch, _ in planes) < row_bytes:
            # Copying anyway would overwrite other memory.
            raise UnavailableError(f"the optical-flow driver laid {what} out as {planes} at {address}: {api.OURS}")
        return _Buffer(made, address, planes)

    def upload(self, slot: int, *planes: NDArray[np.uint8]) -> None:
        """Copy a frame to the GPU.

        Args:
            slot: 0 or 1.
            planes: uint8, (rows, bytes per row), C-contiguous, of ``width`` by ``height`` pixels: one plane, or two
                for NV12 (of which the second has half the rows).
        """
        buffer = self._slots[slot]
        address = buffer.address
        with self._engine.cuda.current(self._engine.context):
            for rows, (pitch, height) in zip(planes, buffer.planes, strict=True):
                self._engine.cuda.upload(rows, address, pitch)
                address += pitch * height

    def execute(self, first: int) -> None:
        """Start computing the flow from the frame in slot ``first`` to the one in the other slot."""
        source, target = self._slots[first], self._slots[1 - first]
        given = api.ExecuteInput(
            input=source.handle,
            reference=target.handle,
            disable_temporal_hints=not self._settings.temporal_hints,
        )
        taken = api.ExecuteOutput(output=self._output.handle)
        with self._engine.cuda.current(self._engine.context):
            self._call("computing a pair", "execute", self._handle, byref(given), byref(taken))

    def synchronize(self) -> None:
        """Wait until everything that was started is done."""
        with self._engine.cuda.current(self._engine.context):
            self._engine.cuda.synchronize()

    def vectors(self) -> NDArray[np.int16]:
        """Return the engine's answer: int16, (rows, columns, 2) of grid cells, u and v in 1/32 pixel."""
        rows, columns = self._cells
        into = np.empty((rows, 4 * columns), np.uint8)
        with self._engine.cuda.current(self._engine.context):
            self._engine.cuda.synchronize()  # the engine works beside the stream of copies
            self._engine.cuda.download(self._output.address, self._output.planes[0][0], into)
        return into.view(np.int16).reshape(rows, columns, 2)

    def close(self) -> None:
        """Destroy the buffers, last made first, then the handle.

        Raises:
            UnavailableError: One could not be destroyed; the others were.
        """
        refused: UnavailableError | None = None
        with self._engine.cuda.current(self._engine.context):
            try:
                self._engine.cuda.synchronize()  # nothing may be at work on what is destroyed
            except UnavailableError as error:
                refused = error
            while self._owned:
                function, owned = self._owned.pop()
                try:
                    self._engine.call(function.replace("_", " "), function, owned)
                except api.NvofError as error:
                    refused = refused or error
        if refused is not None:
            raise refused

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with contextlib.suppress(UnavailableError) if kind else contextlib.nullcontext():
            self.close()


def legal_sizes(width: int, height: int, caps: Caps) -> Iterator[tuple[int, int]]:
    """Yield the sizes, in pixels, that frames may be padded to: first the least padding that the capabilities allow."""
    least = max(width, caps.smallest[0]), max(height, caps.smallest[1])
    yield least
    rounded = -(-least[0] // _MULTIPLE) * _MULTIPLE, -(-least[1] // _MULTIPLE) * _MULTIPLE
    if rounded != least and rounded[0] <= caps.largest[0] and rounded[1] <= caps.largest[1]:
        yield rounded
