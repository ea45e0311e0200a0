"""The look of a title ("film"): its backdrop, the clothes of its people and the colour of its things."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import math
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from araflow.datasets._sample.pen import Colour, Image, Pen, hsv, shade

HORIZON = 0.68  # where wall and floor meet, as a fraction of the frame height


def random_of(*parts: object) -> np.random.Generator:
    """Return a generator that depends on these values only (Python's own ``hash`` differs between processes)."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


class Outfit(NamedTuple):
    """The colours of a person."""

    skin: Colour
    hair: Colour
    shirt: Colour
    trousers: Colour


@dataclasses.dataclass(frozen=True, slots=True)
class Film:
    """The look that all clips of a title share."""

    panorama: Image  # the backdrop, RGB uint8 (H, 5 W + 2, 3); it repeats after 4 W, so that any pan stays on it
    outfits: Sequence[Outfit]  # of the first and the second person
    accent: Colour  # of the thing in the scene: bicycle, crate or mat


@functools.lru_cache(maxsize=2)
def film_of(seed: int, title: str, width: int, height: int) -> Film:
    """Return the look of a title at a frame size in pixels. Two are kept: a title's clips are drawn in a row."""
    rng = random_of(seed, title, "look")
    hue = rng.random()
    outfits = [
        Outfit(
            skin=hsv(rng.uniform(0.05, 0.08), rng.uniform(0.3, 0.6), rng.uniform(0.5, 0.98)),
            hair=hsv(rng.uniform(0.03, 0.12), rng.uniform(0.3, 0.8), rng.uniform(0.1, 0.6)),
            shirt=hsv(hue + shift + rng.uniform(0, 0.15), rng.uniform(0.5, 0.85), rng.uniform(0.6, 0.95)),
            trousers=hsv(rng.random(), rng.uniform(0.2, 0.5), rng.uniform(0.22, 0.4)),
        )
        for shift in (0.3, 0.6)  # away from the wall's hue and from each other
    ]
    accent = hsv(hue + rng.uniform(0.2, 0.8), rng.uniform(0.5, 0.9), rng.uniform(0.55, 0.85))
    half = _backdrop(rng, hue, 2 * width, height)
    panorama = np.concatenate([half, half[:, ::-1], half[:, : width + 2]], axis=1)  # mirrored: no seam
    return Film(np.ascontiguousarray(panorama), outfits, accent)


def _backdrop(rng: np.random.Generator, hue: float, width: int, height: int) -> Image:
    """Paint a textured wall or landscape above a floor."""
    horizon = round(HORIZON * height)
    wall = hsv(hue, rng.uniform(0.15, 0.4), rng.uniform(0.6, 0.85))
    image = np.full((height, width, 3), wall, np.uint8)
    pen = Pen(image, complex(0, horizon), height / 12)
    columns = math.ceil(width / pen.unit)
    (_bricks, _landscape, _room)[rng.integers(3)](pen, rng, wall, columns)
    floor = hsv(hue + rng.uniform(-0.15, 0.15), rng.uniform(0.15, 0.4), rng.uniform(0.4, 0.6))
    image[horizon:] = floor
    for y, deep in ((-0.5, 0.5), (-1.4, 0.9), (-2.7, 1.3)):  # the flags of the floor grow towards the viewer
        seams = [(complex(x, y), complex(x + 0.1, y + deep)) for x in rng.uniform(0, columns, columns // 2)]
        pen.lines([(complex(0, y), complex(columns, y)), *seams], 0.07, shade(floor, 0.75))
    texture = np.zeros((height, width), np.float32)
    for cell, strength in ((2, 6.0), (5, 6.0), (24, 9.0)):  # in pixels at 240 lines; optical flow needs every scale
        pixels = max(1.0, cell * height / 240)
        shape = (math.ceil(height / pixels) + 1, math.ceil(width / pixels) + 1)
        texture += cv2.resize(rng.normal(0, strength, shape).astype(np.float32), (width, height))
    return np.asarray(np.clip(image + texture[..., None], 0, 255), np.uint8)


def _bricks(pen: Pen, rng: np.random.Generator, wall: Colour, columns: int) -> None:
    """Paint bricks, each in its own shade."""
    for row in range(18):
        for column in range(-1, columns):
            corner = complex(column + 0.5 * (row % 2) + 0.04, row / 2 + 0.04)
            pen.rectangle(corner, 0.92, 0.42, shade(wall, rng.uniform(0.75, 1.1)))


def _landscape(pen: Pen, rng: np.random.Generator, hill: Colour, columns: int) -> None:
    """Paint sky, hills and trees."""
    pen.image[:] = hsv(0.57, rng.uniform(0.1, 0.35), 0.92)
    for x in rng.uniform(0, columns, columns // 3):
        pen.ellipse(complex(x, 0), 3.5, rng.uniform(1, 4), shade(hill, 0.9))
    leaf = hsv(rng.uniform(0.2, 0.36), 0.5, rng.uniform(0.4, 0.6))
    for x in rng.uniform(0, columns, columns // 3):
        top = complex(x, rng.uniform(2, 5))
        pen.lines([(complex(x, 0), top)], 0.25, (92.0, 70.0, 52.0))
        for _ in range(7):
            centre, radius = top + complex(rng.normal(0, 0.6), rng.normal(0.3, 0.6)), rng.uniform(0.4, 0.8)
            pen.ellipse(centre, radius, radius, shade(leaf, rng.uniform(0.75, 1.2)))


def _room(pen: Pen, rng: np.random.Generator, wall: Colour, columns: int) -> None:
    """Paint panels, framed pictures and a skirting board."""
    for x in np.arange(0, columns, 1.1):
        pen.lines([(complex(x, 0), complex(x, 9))], 0.09, shade(wall, 0.72))
    for x in np.arange(1, columns, 5.5):
        corner, colour = complex(x, rng.uniform(4, 5)), hsv(rng.random(), 0.5, 0.7)
        pen.rectangle(corner, 2.2, 1.8, shade(colour, 0.4))
        pen.rectangle(corner + 0.2 + 0.2j, 1.8, 1.4, colour)
    pen.rectangle(0, columns, 0.4, shade(wall, 1.2))
