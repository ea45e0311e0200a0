"""A pen that draws in a figure's own units: a pose is written once and drawn at any place, size and direction.

Points are complex numbers: real = forward, imaginary = up, 0 = where the pen stands. All lengths are in the pen's unit,
which for a figure is its stature (the height of the upright figure).
"""

from __future__ import annotations

import cmath
import colorsys
import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
Colour = tuple[float, float, float]  # RGB, 0..255
Capsule = tuple[complex, complex, float, float, Colour]  # both ends, the radius at each end, the filling

SHIFT = 4  # cv2 draws with 4 fractional bits: motion in steps of 1/16 pixel
CIRCLE = np.exp(2j * np.pi * np.arange(16) / 16)
INK: Colour = (30.0, 26.0, 28.0)


def hsv(hue: float, saturation: float, value: float) -> Colour:
    """Return a colour by hue (turns, any number), saturation and value (0..1)."""
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, saturation, value)
    return (255 * red, 255 * green, 255 * blue)


def shade(colour: Colour, factor: float) -> Colour:
    """Return a darker (``factor`` below 1) or lighter colour."""
    return (min(255, colour[0] * factor), min(255, colour[1] * factor), min(255, colour[2] * factor))


@dataclasses.dataclass(frozen=True, slots=True)
class Pen:
    """Draws on an image, in place."""

    image: Image  # RGB uint8 (H, W, 3)
    origin: complex  # where the pen stands: x + y j in pixels, y downwards
    unit: float  # its unit of length in pixels
    way: int = 1  # 1 if forward is to the right, -1 if it is to the left
    tilt: float = 0.0  # how far everything is tipped forward about the origin, in radians

    def pixels(self, points: npt.ArrayLike) -> npt.NDArray[np.int32]:
        """Return points (...) in the image: int32 (..., 2), x and y in sixteenths of a pixel, as cv2 wants them."""
        turned = np.asarray(points, np.complex128) * (self.unit * cmath.exp(-1j * self.tilt))
        xy = self.origin + (turned.conj() if self.way > 0 else -turned)  # y is downwards in an image
        return np.asarray(np.rint(xy[..., None].view(np.float64) * 2**SHIFT), np.int32)

    def polygon(self, points: npt.ArrayLike, colour: Colour) -> None:
        """Fill the convex hull of points."""
        self._fill(self.pixels(points), colour)

    def _fill(self, pixels: npt.NDArray[np.int32], colour: Colour) -> None:
        cv2.fillConvexPoly(self.image, cv2.convexHull(pixels.reshape(-1, 2)), colour, cv2.LINE_AA, SHIFT)

    def rectangle(self, corner: complex, wide: float, tall: float, colour: Colour) -> None:
        """Fill a rectangle that begins at its lower rear corner."""
        self.polygon([corner, corner + wide, corner + wide + tall * 1j, corner + tall * 1j], colour)

    def ellipse(self, centre: complex, wide: float, tall: float, colour: Colour) -> None:
        """Fill an ellipse by its half axes."""
        self.polygon(centre + wide * CIRCLE.real + 1j * tall * CIRCLE.imag, colour)

    def capsules(self, capsules: Sequence[Capsule], outline: float = 0.011) -> None:
        """Draw capsules over one another, within one dark outline around them all."""
        ends = np.array([capsule[:2] for capsule in capsules])[..., None]
        radii = np.array([capsule[2:4] for capsule in capsules])[..., None]
        for pixels in self.pixels(ends + (radii + outline) * CIRCLE):  # all at once: the clips' speed depends on it
            self._fill(pixels, INK)
        for pixels, capsule in zip(self.pixels(ends + radii * CIRCLE), capsules, strict=True):
            self._fill(pixels, capsule[4])

    def lines(self, lines: Sequence[Sequence[complex]] | npt.ArrayLike, width: float, colour: Colour) -> None:
        """Draw lines, each through the same number of points."""
        thickness = max(1, round(width * self.unit))
        cv2.polylines(self.image, list(self.pixels(lines)), False, colour, thickness, cv2.LINE_AA, SHIFT)
