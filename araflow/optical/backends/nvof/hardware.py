"""The optical-flow engine of an NVIDIA GPU, as a process needs it once: libraries, context, functions, capabilities.

Never run on hardware.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
from ctypes import byref, c_char, c_uint32, c_void_p
from pathlib import Path
from typing import Any

from araflow.core.errors import UnavailableError
from araflow.optical.backends.nvof import api
from araflow.optical.backends.nvof.cuda_driver import CudaDriver, OpenLibrary

DEVICE = 0
"""The first GPU that CUDA shows; CUDA_VISIBLE_DEVICES decides which that is."""


@dataclasses.dataclass(frozen=True, slots=True)
class Caps:
    """What the engine says of itself.

    Attributes:
        grids: Sides, in pixels, of the squares that a vector can stand for.
        hint_grids: The same for external hints, which are not used here.
        external_hints: It takes them.
        smallest: Width and height in pixels of the smallest picture.
        largest: Width and height in pixels of the largest.
        regions: It can compute parts of a picture.
    """

    grids: tuple[int, ...]
    hint_grids: tuple[int, ...]
    external_hints: bool
    smallest: tuple[int, int]
    largest: tuple[int, int]
    regions: bool

    def grid(self, asked: int) -> int:
        """Return the smallest grid that is not below ``asked``, or the coarsest where all are."""
        return min((grid for grid in self.grids if grid >= asked), default=max(self.grids))


class Engine:
    """The first GPU's primary context and the driver's function table. A context manager; or call ``close``.

    Args:
        open_library: Opens a shared library by name, as ``ctypes.CDLL`` does.

    Raises:
        UnavailableError: Something is missing; the message says which thing and how to get it.
    """

    def __init__(self, open_library: OpenLibrary) -> None:
        self.cuda = CudaDriver(open_library)
        if not self.cuda.devices():
            raise UnavailableError("the CUDA driver is there, but shows no GPU: see CUDA_VISIBLE_DEVICES")
        library = open_flow_library(open_library)
        self.newest, self._table = newest_version(library), api.FunctionTable()
        if self.newest < api.VERSION:
            raise api.NvofError(f"version 2.0 (it offers up to {spell(self.newest)})", api.Status.INVALID_VERSION)
        create = _symbol(library, "NvOFAPICreateInstanceCuda")
        create.argtypes, create.restype = (c_uint32, ctypes.POINTER(api.FunctionTable)), ctypes.c_int
        self._check("the function table of version 2.0", create(api.VERSION, byref(self._table)))
        self.context = self.cuda.retain(DEVICE)
        try:
            with self.cuda.current(self.context):
                self.caps = self._caps()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give the GPU's context back."""
        self.cuda.release(DEVICE)

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(self, what: str, function: str, *arguments: object, handle: c_void_p | None = None) -> None:
        """Call a function of the table; ``handle`` is whom to ask for the driver's words if it refuses.

        Raises:
            NvofError: It was refused; ``what`` says what was asked.
        """
        self._check(what, getattr(self._table, function)(*arguments), handle)

    def _check(self, what: str, status: int, handle: c_void_p | None = None) -> None:
        if status == api.Status.SUCCESS:
            return
        text = (c_char * 256)()
        if handle:
            self._table.last_error(handle, text, byref(c_uint32(len(text))))
        raise api.NvofError(what, status, text.value.decode("utf-8", "replace").strip())

    def create(self) -> c_void_p:
        """Make a session handle. The context must be current."""
        handle = c_void_p()
        self.call("a session handle", "create", self.context, byref(handle))
        return handle

    def _caps(self) -> Caps:
        handle = self.create()

        def ask(cap: api.Cap) -> tuple[int, ...]:
            what, count = f"capability {cap.name}", c_uint32()
            self.call(what, "get_caps", handle, cap, None, byref(count), handle=handle)  # first how many, then which
            values = (c_uint32 * max(count.value, 1))()
            self.call(what, "get_caps", handle, cap, values, byref(count), handle=handle)
            return tuple(values)  # of a capability without values, one zero

        try:
            return Caps(
                # Every engine has 4, the only one of version 1.0.
                grids=tuple(sorted(set(ask(api.Cap.OUTPUT_GRIDS)) & set(api.GRIDS))) or api.GRIDS[-1:],
                hint_grids=ask(api.Cap.HINT_GRIDS),
                external_hints=bool(ask(api.Cap.HINTS)[0]),
                smallest=(ask(api.Cap.WIDTH_MIN)[0], ask(api.Cap.HEIGHT_MIN)[0]),
                largest=(ask(api.Cap.WIDTH_MAX)[0], ask(api.Cap.HEIGHT_MAX)[0]),
                regions=bool(ask(api.Cap.ROI)[0]),
            )
        finally:
            self._table.destroy(handle)

    def strides(self, buffer: c_void_p, what: str) -> tuple[tuple[int, int], ...]:
        """Return the pitch in bytes and the rows of each plane of a buffer."""
        info = api.StrideInfo()
        self.call(f"the strides of {what}", "buffer_strides", buffer, byref(info))
        return tuple((plane.x, plane.y) for plane in info.planes[: info.count])

    def address(self, buffer: c_void_p) -> int:
        """Return the device address of a buffer's first byte."""
        return int(self._table.buffer_pointer(buffer))


def spell(version: int) -> str:
    """Return a version word as ``major.minor``."""
    return f"{version >> 4}.{version & 15}"


def newest_version(library: Any) -> int:  # noqa: ANN401 - a ctypes library
    """Return the newest version word that the driver serves; needs no GPU context.

    Raises:
        UnavailableError: The library lacks the function, or the function refused.
    """
    ask, word = _symbol(library, "NvOFGetMaxSupportedApiVersion"), c_uint32()
    ask.argtypes, ask.restype = (ctypes.POINTER(c_uint32),), ctypes.c_int
    if status := ask(byref(word)):
        raise api.NvofError("asking for the newest version", status)
    return word.value


def open_flow_library(open_library: OpenLibrary) -> Any:  # noqa: ANN401 - a ctypes library
    """Open the optical-flow library: by its name, or else beside the CUDA driver that this process has open.

    Raises:
        UnavailableError: It is in neither place.
    """
    try:
        return open_library(api.LIBRARY)
    except OSError as error:
        with contextlib.suppress(OSError):
            mapped = [line.split(maxsplit=5)[5:] for line in Path("/proc/self/maps").read_text().splitlines()]
            for path in {Path(*words) for words in mapped if words and "/libcuda.so" in words[0]}:
                return open_library(str(path.with_name(api.LIBRARY)))
        raise UnavailableError(
            f"{api.LIBRARY} cannot be opened ({error}); it comes with NVIDIA's driver; in a container, "
            "NVIDIA_DRIVER_CAPABILITIES must include video"
        ) from None


def _symbol(library: Any, name: str) -> Any:  # noqa: ANN401 - a ctypes library and function
    try:
        return getattr(library, name)
    except AttributeError:
        raise UnavailableError(f"{api.LIBRARY} lacks {name}: the driver is too old; install a newer one") from None
