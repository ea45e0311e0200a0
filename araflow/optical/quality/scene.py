"""Draws two frames of a moving scene whose optical flow is known exactly; pure.

Nothing is resampled. A layer's brightness is a function ``T(x, y)`` of real coordinates, and both frames are that
function evaluated: the first at each pixel ``p``, the second at ``p - d(p)``, where the polynomial ``d`` says how the
layer moves. A point ``p`` of the first frame is therefore found in the second at ``p + f`` with ``f = d(p + f)``, which
fixed-point iteration solves to the last digit, since ``d`` changes by far less than a pixel per pixel. ``f`` is the
true flow. ``d`` has six terms per component (1, X, Y, X², XY, Y²): shift, zoom, rotation, shear, and the curvature
that perspective gives to a plane's motion (the quadratic model of Adiv, PAMI 1985).

``T`` is noise on four lattices, each interpolated by a cubic B-spline (Unser, "Splines: a perfect fit for signal and
image processing", 1999), so that it has gradients of every scale down to 5 pixels and two continuous derivatives.

Only operations that IEEE 754 rounds in one way are used (+, -, ×, ÷, √, floor), and dice that are integer arithmetic
(SplitMix64; Steele et al., OOPSLA 2014). So every machine draws the same bytes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from araflow.media.fields import FlowField, GrayFrame
from araflow.media.flow_files import Mask

Reals = NDArray[np.float64]

_OCTAVES = ((53.0, 110.0), (23.0, 110.0), (11.0, 100.0), (5.0, 90.0))
"""Lattice spacing in pixels, and contrast in gray levels, from coarse to fine. Prime spacings, so that no two meet."""
_LATTICE = 256
_ITERATIONS = 40
_UNIT = 160.0
"""Pixels that make up 1 in the coordinates of ``d``: half the usual frame width."""
_WRAP = 2**64 - 1


@dataclasses.dataclass(frozen=True, slots=True)
class Layer:
    """A textured surface.

    Attributes:
        across: Six coefficients of its motion to the right, in pixels: of 1, X, Y, X², XY, Y², with X and Y the
            position relative to pixel (160, 120), in units of 160 pixels.
        down: The same for its motion downwards.
        ellipse: Centre x, y and half axes in the first frame, in pixels; ``None`` fills the plane.
    """

    across: tuple[float, ...]
    down: tuple[float, ...]
    ellipse: tuple[float, float, float, float] | None = None

    def shift(self, x: Reals, y: Reals) -> tuple[Reals, Reals]:
        """Return ``d``: how far what stands at (x, y) in the second frame has come."""
        a, b = (x - 160.0) / _UNIT, (y - 120.0) / _UNIT
        terms: tuple[Reals, ...] = (np.ones_like(x), a, b, a * a, a * b, b * b)
        across, down = np.zeros_like(x), np.zeros_like(x)
        for term, right, low in zip(terms, self.across, self.down, strict=True):
            across, down = across + right * term, down + low * term
        return across, down

    def flow(self, x: Reals, y: Reals) -> tuple[Reals, Reals]:
        """Return ``f``: how far what stands at (x, y) in the first frame goes."""
        u, v = np.zeros_like(x), np.zeros_like(x)
        for _ in range(_ITERATIONS):
            u, v = self.shift(x + u, y + v)
        return u, v

    def cover(self, x: Reals, y: Reals) -> Reals:
        """Return how much of the pixel at (x, y) of the first frame the layer covers; its edge is a pixel wide."""
        if self.ellipse is None:
            return np.ones_like(x)
        centre_x, centre_y, axis_x, axis_y = self.ellipse
        a, b = (x - centre_x) / axis_x, (y - centre_y) / axis_y
        # Distance to the edge, to first order: the quadratic form over the length of its gradient.
        slope = 2.0 * np.sqrt(a * a / (axis_x * axis_x) + b * b / (axis_y * axis_y))
        return np.clip((1.0 - (a * a + b * b)) / np.maximum(slope, 1e-9) + 0.5, 0.0, 1.0)


@dataclasses.dataclass(frozen=True, slots=True)
class Scene:
    """Layers, from the backdrop to the front.

    Attributes:
        layers: The first one fills the plane.
        key: What the textures and the noise are drawn from.
    """

    layers: tuple[Layer, ...]
    key: tuple[int, ...]

    def render(self, height: int, width: int, *, second: bool, noise: float = 0.0) -> GrayFrame:
        """Draw a frame.

        Args:
            height: In pixels.
            width: In pixels.
            second: The second frame instead of the first.
            noise: Standard deviation of the camera noise, in gray levels; each frame has its own.

        Returns:
            uint8, (height, width).
        """
        y, x = np.mgrid[:height, :width].astype(np.float64)
        picture = np.zeros((height, width))
        for index, layer in enumerate(self.layers):
            across, down = layer.shift(x, y) if second else (0.0, 0.0)
            cover = layer.cover(x - across, y - down)
            seen = cover > 0
            colours = _texture((x - across)[seen], (y - down)[seen], (*self.key, index))
            picture[seen] += cover[seen] * (colours - picture[seen])
        if noise:
            # Four uniform numbers add up to a bell of variance 1/3 (Irwin-Hall).
            rolls = _uniform((*self.key, 50 + second), 4 * height * width).reshape(4, height, width)
            bell = rolls[0] + rolls[1] + rolls[2] + rolls[3] - 2.0
            picture += noise * np.sqrt(3.0) * bell
        return np.clip(np.rint(picture), 0, 255).astype(np.uint8)

    def truth(self, height: int, width: int) -> tuple[FlowField, Mask, NDArray[np.uint8]]:
        """Return the true flow, where it can be seen, and what is seen.

        Returns:
            float32, (height, width, 2), anchored on the first frame; bool (height, width), False where the point leaves
            the frame or is hidden in the second frame; uint8 (height, width), the number of the layer that each pixel
            of the first frame shows (that of the front, where it covers at least half of the pixel).
        """
        y, x = np.mgrid[:height, :width].astype(np.float64)
        flow = np.zeros((height, width, 2))
        shown = np.zeros((height, width), np.uint8)
        for index, layer in enumerate(self.layers):
            here = layer.cover(x, y) >= 0.5
            shown[here] = index
            flow[here] = np.stack(layer.flow(x[here], y[here]), axis=-1)
        to_x, to_y = x + flow[..., 0], y + flow[..., 1]
        valid: Mask = (to_x >= 0) & (to_x <= width - 1) & (to_y >= 0) & (to_y <= height - 1)
        for index, layer in enumerate(self.layers):
            across, down = layer.shift(to_x, to_y)
            valid &= (shown >= index) | (layer.cover(to_x - across, to_y - down) < 0.5)
        return flow.astype(np.float32), valid, shown


def dice(key: tuple[int, ...], count: int) -> Iterator[float]:
    """Return ``count`` numbers from 0 up to but not including 1, the same for the same key on every machine."""
    return iter(_uniform(key, count).tolist())


def _uniform(key: tuple[int, ...], count: int) -> Reals:
    """SplitMix64: a counter in steps of the golden ratio, mixed; the key's numbers choose where it starts."""
    start = 0
    for number in key:
        start = int(_mix(np.array([(start + number + 1) * 0x9E3779B97F4A7C15 & _WRAP], np.uint64))[0])
    counter = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(start)
    return (_mix(counter) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def _texture(x: Reals, y: Reals, key: tuple[int, ...]) -> Reals:
    """Return the brightness at real coordinates, gray levels around 128, one number per point."""
    brightness = np.full(x.shape, 128.0)
    for octave, (spacing, contrast) in enumerate(_OCTAVES):
        lattice = _uniform((*key, octave), _LATTICE * _LATTICE) - 0.5
        column, row = x / spacing + 100.0, y / spacing + 100.0
        left, top = np.floor(column), np.floor(row)
        across, down = _spline(column - left), _spline(row - top)
        corner_x, corner_y = left.astype(np.int64), top.astype(np.int64)
        total = np.zeros(x.shape)
        for step_y in range(4):
            start = ((corner_y + step_y) % _LATTICE) * _LATTICE
            line = np.zeros(x.shape)
            for step_x in range(4):
                line = line + across[step_x] * lattice[start + (corner_x + step_x) % _LATTICE]
            total = total + down[step_y] * line
        brightness += contrast * total
    return brightness


def _spline(t: Reals) -> tuple[Reals, Reals, Reals, Reals]:
    """Return the cubic B-spline's weights of the four lattice points around a place ``t`` of the way between two."""
    s = 1.0 - t
    return (
        s * s * s / 6.0,
        (3.0 * t * t * t - 6.0 * t * t + 4.0) / 6.0,
        (3.0 * s * s * s - 6.0 * s * s + 4.0) / 6.0,
        t * t * t / 6.0,
    )
