"""The inner loops of TV-L1, compiled by numba for the CPU at hand; what drives them is ``numba.py``.

Importing this module compiles, or loads from numba's cache on disk what an earlier import compiled. Each function has
one signature, so that processes which compile at once write the same files.

Arithmetic is float32, neither fused nor reordered: every result is the one of IEEE 754, whatever the CPU.

Fields and dual variables lie in arrays that are larger than the frame (``padded``). The column beyond the last one
repeats it, so that its difference to the right is zero. Rows are whole vectors of eight, so that no pixel is left to be
done alone. Two rows are spare: before the compiled code takes eight pixels at a time, it makes sure that no arrays
overlap, and for that it counts a row or two too many; without them it would take one at a time. Dual variables are
stored one row down and one column to the right, beneath a row and beside a column of zeros, which is what lies beyond
the frame: ``ux[y + 1, x + 1]`` is that of pixel (x, y).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]
_Function = TypeVar("_Function", bound=Callable[..., object])

_PLANE, _COLOURS = "float32[:, ::1]", "float32[:, :, ::1]"
_VECTOR = 8
_ZERO, _HALF, _ONE = np.float32(0), np.float32(0.5), np.float32(1)
_FLAT = np.finfo(np.float32).eps
"""Squared slope below which the picture counts as flat (OpenCV's)."""


def padded(height: int, width: int) -> tuple[int, int]:
    """Return the number of rows and of columns of a frame's arrays."""
    return height + 2, -(-width // _VECTOR) * _VECTOR + _VECTOR


def _compiled(signature: str) -> Callable[[_Function], _Function]:
    # error_model: numba's own would check every division, which keeps a loop from being vectorised.
    return cast(Callable[[_Function], _Function], numba.njit(signature, cache=True, nogil=True, error_model="numpy"))


@_compiled(f"void({_PLANE}, {_COLOURS})")
def slopes(image: Image, out: Image) -> None:
    """Write brightness and its central differences.

    Args:
        image: (height, width).
        out: (height, width, 3): brightness, slope to the right, slope down. At the frame's edge, the neighbour that is
            missing is taken to be like the pixel itself, as OpenCV does.
    """
    height, width = image.shape
    for y in range(height):
        above, below = max(y - 1, 0), min(y + 1, height - 1)
        for x in range(width):
            left, right = max(x - 1, 0), min(x + 1, width - 1)
            out[y, x, 0] = image[y, x]
            out[y, x, 1] = _HALF * (image[y, right] - image[y, left])
            out[y, x, 2] = _HALF * (image[below, x] - image[above, x])


@_compiled(f"void({', '.join(4 * [_PLANE])})")
def targets(u: Image, v: Image, to_x: Image, to_y: Image) -> None:
    """Write where each pixel goes: ``to_x`` and ``to_y``, (height, width), from the padded flow."""
    height, width = to_x.shape
    for y in range(height):
        row = np.float32(y)
        for x in range(width):
            to_x[y, x] = np.float32(np.int32(x)) + u[y, x]
            to_y[y, x] = row + v[y, x]


@_compiled(f"void({_PLANE}, {_COLOURS}, {', '.join(6 * [_PLANE])})")
def linearise(
    first: Image, warped: Image, u: Image, v: Image, slope_x: Image, slope_y: Image, inverse: Image, rest: Image
) -> None:
    """Write the data term's linear form around the present flow (Zach et al., equation 10).

    The difference in brightness at a flow (a, b) near it is ``rest + slope_x * a + slope_y * b``.

    Args:
        first: The first frame, (height, width).
        warped: What ``slopes`` gave of the second, fetched from where each pixel goes, (height, width, 3).
        u: Flow to the right, padded.
        v: Flow down, padded.
        slope_x: Result, padded.
        slope_y: Result, padded.
        inverse: Result, padded: one over the squared slope.
        rest: Result, padded.
    """
    height, width = first.shape
    for y in range(height):
        for x in range(width):
            across, down = warped[y, x, 1], warped[y, x, 2]
            squared = across * across + down * down
            slope_x[y, x], slope_y[y, x] = across, down
            inverse[y, x] = _ONE / (squared if squared > np.float32(_FLAT) else np.float32(_FLAT))
            rest[y, x] = warped[y, x, 0] - across * u[y, x] - down * v[y, x] - first[y, x]


@_compiled(
    f"Tuple((int64, float64))({', '.join(10 * [_PLANE])}, float32[::1], int64, int64, float32, float32, float32, "
    "int64, float64)"
)
def iterate(
    u: Image,
    v: Image,
    slope_x: Image,
    slope_y: Image,
    inverse: Image,
    rest: Image,
    ux: Image,
    uy: Image,
    vx: Image,
    vy: Image,
    change: NDArray[np.float32],
    height: int,
    width: int,
    reach: np.float32,
    theta: np.float32,
    step: np.float32,
    most: int,
    enough: float,
) -> tuple[int, float]:
    """Improve flow and dual variables in place, one sweep over the frame per iteration.

    An iteration is thresholding (Zach et al., equation 15), the flow from the dual variables' divergence (equation 12),
    and the dual variables from the flow's forward differences (equation 14; their bound is soft, as in the projection
    of Chambolle, 2004). A row's dual variables need its flow and that of the row below, and the flow of the row below
    their old values: they are one row behind. So a row is fetched once per iteration, not once per step.

    Args:
        u: Flow to the right, padded.
        v: Flow down, padded.
        slope_x: Of ``linearise``; likewise the next three.
        slope_y: See there.
        inverse: See there.
        rest: See there.
        ux: Dual variables, as the module says: of ``u``, to the right.
        uy: Of ``u``, down.
        vx: Of ``v``, to the right.
        vy: Of ``v``, down.
        change: Room for a row.
        height: Of the frame.
        width: Of the frame.
        reach: lambda * theta.
        theta: As in the papers.
        step: tau / theta.
        most: Iterations at the most.
        enough: Squared change of the flow, summed over the frame, at which to end.

    Returns:
        How many iterations were done, and the last one's change.
    """
    wide = -(-width // _VECTOR) * _VECTOR
    count, changed = 0, np.inf
    while count < most and changed > enough:
        change[:] = _ZERO
        for y in range(height + 1):
            if y < height:
                for x in range(wide):
                    old_u, old_v, across, down = u[y, x], v[y, x], slope_x[y, x], slope_y[y, x]
                    # The three cases of the papers in one: where the picture is flat, by at most 2e-5 pixels different.
                    move = -(rest[y, x] + across * old_u + down * old_v) * inverse[y, x]
                    move = move if move > -reach else -reach
                    move = move if move < reach else reach
                    spread_u = ux[y + 1, x + 1] - ux[y + 1, x] + uy[y + 1, x + 1] - uy[y, x + 1]
                    spread_v = vx[y + 1, x + 1] - vx[y + 1, x] + vy[y + 1, x + 1] - vy[y, x + 1]
                    new_u = old_u + move * across + theta * spread_u
                    new_v = old_v + move * down + theta * spread_v
                    by_u, by_v = new_u - old_u, new_v - old_v
                    # A sum per column: one sum over all would have to be made one number at a time.
                    change[x] += by_u * by_u + by_v * by_v
                    u[y, x], v[y, x] = new_u, new_v
                u[y, width], v[y, width] = u[y, width - 1], v[y, width - 1]
            if y > 0:
                here, below = y - 1, min(y, height - 1)
                for x in range(wide):
                    u_right, u_down = u[here, x + 1] - u[here, x], u[below, x] - u[here, x]
                    v_right, v_down = v[here, x + 1] - v[here, x], v[below, x] - v[here, x]
                    u_bound = _ONE / (_ONE + step * math.sqrt(u_right * u_right + u_down * u_down))
                    v_bound = _ONE / (_ONE + step * math.sqrt(v_right * v_right + v_down * v_down))
                    ux[y, x + 1] = (ux[y, x + 1] + step * u_right) * u_bound
                    uy[y, x + 1] = (uy[y, x + 1] + step * u_down) * u_bound
                    vx[y, x + 1] = (vx[y, x + 1] + step * v_right) * v_bound
                    vy[y, x + 1] = (vy[y, x + 1] + step * v_down) * v_bound
        changed = 0.0
        for x in range(width):
            changed += change[x]
        count += 1
    return count, changed
