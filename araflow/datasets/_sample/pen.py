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
    """Draws on an image.

    Attributes:
        image: RGB uint8 (H, W, 3), drawn on in place.
        origin: Where the pen stands: x + y j in pixels, y downwards.
        unit: The pen's unit of length in pixels.
        way: 1 if forward is to the right, -1 if it is to the left.
        tilt: How far everything is tipped forward about the origin, in radians.
    """

    image: Image
    origin: complex
    unit: float
    way: int = 1
    tilt: float = 0.0

    def pixels(self, points: npt.ArrayLike) -> npt.NDArray[np.int32]:
        """Return points (...) in the image: int32 (..., 2), x and y in sixteenths of a pixel, as cv2 wants them."""
        turned = np.asarray(points, np.complex128) * (self.unit * cmath.exp(-1j * self.tilt))
        xy = np.stack([self.origin.real + self.way * turned.real, self.origin.imag - turned.imag], axis=-1)
        return np.rint(xy * (1 << SHIFT)).astype(np.int32)

    def polygon(self, points: npt.ArrayLike, colour: Colour) -> None:
        """Fill the convex hull of points of any shape."""
        hull = cv2.convexHull(self.pixels(points).reshape(-1, 2))
        cv2.fillConvexPoly(self.image, hull, colour, cv2.LINE_AA, SHIFT)

    def rectangle(self, corner: complex, wide: float, tall: float, colour: Colour) -> None:
        """Fill a rectangle that begins at its lower rear corner."""
        self.polygon([corner, corner + wide, corner + wide + tall * 1j, corner + tall * 1j], colour)

    def ellipse(self, centre: complex, wide: float, tall: float, colour: Colour) -> None:
        """Fill an ellipse by its half axes."""
        self.polygon(centre + wide * CIRCLE.real + 1j * tall * CIRCLE.imag, colour)

    def capsules(self, capsules: Sequence[Capsule], outline: float = 0.011) -> None:
        """Draw capsules over one another, within one dark outline around them all."""
        for first, last, begin, end, _ in capsules:
            self.polygon([first + (begin + outline) * CIRCLE, last + (end + outline) * CIRCLE], INK)
        for first, last, begin, end, colour in capsules:
            self.polygon([first + begin * CIRCLE, last + end * CIRCLE], colour)

    def ring(self, centre: complex, radius: float, width: float, colour: Colour) -> None:
        """Draw a circle line."""
        x, y = self.pixels([centre])[0].tolist()
        fixed_radius, thickness = round(radius * self.unit * (1 << SHIFT)), max(1, round(width * self.unit))
        cv2.circle(self.image, (x, y), fixed_radius, colour, thickness, cv2.LINE_AA, SHIFT)

    def lines(self, lines: Sequence[tuple[complex, complex]], width: float, colour: Colour) -> None:
        """Draw straight lines by their ends."""
        thickness = max(1, round(width * self.unit))
        cv2.polylines(self.image, list(self.pixels(lines)), False, colour, thickness, cv2.LINE_AA, SHIFT)
