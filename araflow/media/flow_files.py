"""Optical flow in files, without the loss of 8-bit images: Middlebury's ``.flo`` and KITTI's 16-bit PNG.

========  ======================================  ===========================  ==================
          holds                                   step                         range, per component
========  ======================================  ===========================  ==================
``.flo``  float32                                 none: bit for bit            any below 1e9
PNG       uint16 ``rint(64 x) + 32768``, deflate  1/64 pixel; ≤ 1/128 is lost  -512 to 511.984
========  ======================================  ===========================  ==================

``.flo`` is the format of Baker et al., "A database and evaluation methodology for optical flow", IJCV 2011, as its
``flowIO`` code defines it: the tag PIEH (the float 202021.25), width and height as 4-byte integers, then u and v of
each pixel, row by row, all little-endian. A pixel where |u| or |v| exceeds 1e9, or is not a number, is unknown.

The PNG is that of the KITTI 2012 and 2015 flow benchmarks (Geiger et al., CVPR 2012; Menze and Geiger, CVPR 2015;
``readme.txt`` of their development kit): three 16-bit channels, u, v and 1 where the flow is known, with
``u = (first - 2^15) / 64``. A multiple of 1/64, such as an engine's S10.5 vectors, comes back exactly.
"""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import TYPE_CHECKING, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from araflow.core.errors import SourceError
from araflow.core.reading import read_file
from araflow.media import images
from araflow.media.fields import FlowField
from araflow.media.png import SIGNATURE, UP, chunk, deflate
from araflow.media.png_reader import chunks, up_rows

if TYPE_CHECKING:  # worker processes start sooner without the settings' machinery
    from araflow.core.spec import FlowFormat

Mask = NDArray[np.bool_]
"""bool, (height, width)."""

PNG_STEP = 1 / 64
"""Pixels per frame between neighbouring 16-bit values."""
PNG_RANGE = (-512.0, 512.0 - PNG_STEP)
"""Smallest and largest storable component, in pixels per frame; what lies beyond is stored as these."""

_TAG = b"PIEH"
_HEADER = struct.Struct("<4sII")
_LARGEST_SIDE = 99_999  # of flowIO
_UNKNOWN_FROM = 1e9
_ZERO = 2.0**15


def read_flo(path: Path) -> tuple[FlowField, Mask]:
    """Read a Middlebury ``.flo`` file.

    Returns:
        The field, float32 (height, width, 2), 0 where it is unknown; and where it is known, bool (height, width).

    Raises:
        SourceError: Absent, or not a whole ``.flo`` file; says what is wrong.
    """
    try:
        data = read_file(path)
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}") from error
    return decode_flo(data, str(path))


def decode_flo(data: bytes, path: str = ".flo data") -> tuple[FlowField, Mask]:
    """Recover the field of a ``.flo`` file; see ``read_flo``.

    Args:
        data: The file's bytes.
        path: What to call it in messages.
    """
    if data[:4] != _TAG:
        raise SourceError(f"{path}: not a .flo file: it begins with {data[:4]!r} instead of {_TAG!r}")
    if len(data) < _HEADER.size:
        raise SourceError(
            f"{path}: damaged .flo file: it ends within the header, after {len(data)} bytes; copy it again"
        )
    _, width, height = _HEADER.unpack_from(data)
    if not (1 <= width <= _LARGEST_SIDE and 1 <= height <= _LARGEST_SIDE):
        raise SourceError(f"{path}: damaged .flo file: its header says {width}x{height} pixels; copy it again")
    expected = _HEADER.size + 8 * width * height
    if len(data) != expected:
        raise SourceError(
            f"{path}: damaged .flo file: {len(data)} bytes, but {width}x{height} pixels take {expected}; copy it again"
        )
    flow = np.frombuffer(data, "<f4", offset=_HEADER.size).reshape(height, width, 2).astype(np.float32)
    known: Mask = np.all(np.abs(flow) <= _UNKNOWN_FROM, axis=2)  # false for not-a-number too
    flow[~known] = 0
    return flow, known


def encode(flow: FlowField, form: FlowFormat) -> bytes:
    """Return a field as a file of a form; see ``araflow.media.flow_forms``.

    Args:
        flow: float32, (height, width, 2), in pixels per frame.
        form: ``flo``, ``npy16`` or ``npy32``.

    Raises:
        ValueError: Not a flow field, or not of finite numbers.
    """
    _check(flow, None)
    if form == "flo":
        return _HEADER.pack(_TAG, flow.shape[1], flow.shape[0]) + flow.astype("<f4").tobytes()
    file = io.BytesIO()
    np.save(file, flow.astype("<f2" if form == "npy16" else "<f4"), allow_pickle=False)
    return file.getvalue()


def shape_of(data: bytes, where: str) -> tuple[int, ...]:
    """Return the shape of a field's array in a file that ``encode`` made.

    Args:
        data: The file's bytes.
        where: What to call it in messages; it ends in ``.flo`` or ``.npy``.

    Raises:
        SourceError: It is none, or damaged.
    """
    if where.endswith(".flo"):
        return decode_flo(data, where)[0].shape
    try:
        found = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
        return tuple(found.shape) if found.dtype.kind == "f" else ()
    except (ValueError, EOFError, MemoryError) as error:  # the last one: a header that lies
        raise SourceError(f"{where}: damaged: {error}; make it again") from error


def encode_flow_png(flow: FlowField, known: Mask | None = None) -> bytes:
    """Return a field as a 16-bit PNG file in KITTI's convention.

    Args:
        flow: float32, (height, width, 2), in pixels per frame; rounded to ``PNG_STEP``, kept within ``PNG_RANGE``.
        known: bool, (height, width): False marks a pixel as unknown. ``None``: all are known.

    Raises:
        ValueError: Not a flow field, or a known component is not a finite number.
    """
    _check(flow, known)
    height, width = flow.shape[:2]
    with np.errstate(invalid="ignore", over="ignore"):  # unknown pixels may hold anything
        scaled = np.rint(flow * np.float32(1 / PNG_STEP)) + np.float32(_ZERO)  # exact: both below 2^24
        both = np.clip(scaled, 0, 2**16 - 1).astype(np.uint16)
    levels = np.ones((height, width, 3), np.uint16)
    levels[..., :2] = both
    if known is not None:
        levels[~known] = 0
    # As araflow.media.png, with 16 bits: half of the time of OpenCV's encoder, for smaller files.
    rows = levels.astype(">u2").reshape(height, -1).view(np.uint8)
    filtered = np.empty((height, 1 + rows.shape[1]), np.uint8)
    filtered[:, 0] = UP
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return b"".join((SIGNATURE, *chunk(b"IHDR", header), *chunk(b"IDAT", *deflate(filtered)), *chunk(b"IEND")))


def decode_flow_png(data: bytes, where: str = "flow PNG") -> tuple[FlowField, Mask]:
    """Recover the field of a 16-bit PNG file in KITTI's convention.

    Args:
        data: The file's bytes.
        where: What to call it in messages.

    Returns:
        The field, float32 (height, width, 2), pixels per frame, 0 where it is unknown; and where it is known, bool
        (height, width).

    Raises:
        SourceError: Damaged, or not a PNG file of three 16-bit channels.
    """
    found = chunks(data, where)  # OpenCV would return what it can of a damaged file
    kind, header = found[0]
    if kind != b"IHDR" or bytes(header[8:10]) != bytes((16, 2)):
        raise SourceError(f"{where}: not a flow PNG: it should have three 16-bit channels (u, v and known)")
    rows = up_rows(found, 16, where)
    # Bytes are swapped before channels are picked: a cast that does both is three times slower.
    own = None if rows is None else rows.view(">u2").astype(np.uint16).reshape(len(rows), -1, 3)
    levels = _by_opencv(data, where) if own is None else own
    known: Mask = levels[..., 2] != 0
    flow = levels[..., :2].astype(np.float32)
    flow -= np.float32(_ZERO)
    flow *= np.float32(PNG_STEP)
    if not known.all():
        flow[~known] = 0
    return flow, known


def _by_opencv(data: bytes, where: str) -> NDArray[np.uint16]:
    """Return the three channels of a flow PNG of another writer, in the file's order."""
    try:
        levels = images.decode(data, cv2.IMREAD_UNCHANGED)
    except images.ImageError as error:
        raise SourceError(f"{where}: damaged: {error}; make or copy it again") from error
    if levels.dtype != np.uint16 or levels.ndim != 3:
        raise SourceError(f"{where}: no flow PNG: it should have three 16-bit channels (u, v and known)")
    return cast("NDArray[np.uint16]", levels[..., ::-1])  # OpenCV names the last channel of the file first


def _check(flow: FlowField, known: Mask | None) -> None:
    """Refuse what is not a field, or cannot be stored where it is known."""
    if flow.ndim != 3 or flow.shape[2] != 2 or 0 in flow.shape or flow.dtype != np.float32:
        raise ValueError(f"expected float32 (height, width, 2), found {flow.dtype} {flow.shape}")
    if known is not None and (known.shape != flow.shape[:2] or known.dtype != np.bool_):
        raise ValueError(f"expected known as bool {flow.shape[:2]}, found {known.dtype} {known.shape}")
    if not np.isfinite(flow if known is None else flow[known]).all():
        raise ValueError("the field has components that are not finite numbers; mark those pixels as unknown")
