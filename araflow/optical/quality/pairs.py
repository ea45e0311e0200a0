"""Pairs of frames whose optical flow is known: Middlebury's, and generated ones (``araflow.optical.quality.scene``)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import cv2
import numpy as np

from araflow.core.errors import SourceError
from araflow.media.fields import FlowField, GrayFrame
from araflow.media.flow_files import Mask, read_flo
from araflow.media.png_reader import read_png
from araflow.optical.quality.scene import Layer, Scene, dice

KINDS = ("small", "large", "boundary", "occlusion")
"""Kinds of generated pairs, as ``generated`` describes them."""
MIDDLEBURY = ("frame10.png", "frame11.png", "flow10.flo")
WIDTH, HEIGHT = 320, 240
"""Size of generated frames in pixels: HMDB51's."""
_EACH = 2
_BAND = 8
"""Pixels to either side of a motion boundary that count for ``boundary``."""
_NOISE = 1.5
"""Standard deviation of the camera noise in gray levels."""


@dataclasses.dataclass(frozen=True, slots=True)
class Pair:
    """Two frames and the true flow from the first to the second.

    Attributes:
        name: Unique among the pairs measured together.
        kind: Pairs of a kind are averaged.
        first: uint8, (height, width).
        second: uint8, (height, width).
        flow: float32, (height, width, 2), anchored on ``first``: u right, v down, in pixels.
        valid: bool, (height, width): where errors count.
    """

    name: str
    kind: str
    first: GrayFrame
    second: GrayFrame
    flow: FlowField
    valid: Mask


def middlebury(folder: Path) -> Iterator[Pair]:
    """Yield the pairs of a folder in Middlebury's naming, sorted by name.

    Args:
        folder: Holds ``frame10.png``, ``frame11.png`` and ``flow10.flo``, or folders that do (Baker et al., "A database
            and evaluation methodology for optical flow", IJCV 2011). Frames become gray as a clip's do. A pair's kind
            is the folder's name.

    Raises:
        SourceError: There is no such pair, one lacks a file, or its files are damaged or of different sizes.
    """
    try:
        folders = [folder] if (folder / MIDDLEBURY[2]).is_file() else sorted(p for p in folder.iterdir() if p.is_dir())
    except OSError as error:
        raise SourceError(f"{folder}: cannot be read: {error.strerror}") from error
    folders = [place for place in folders if any((place / name).is_file() for name in MIDDLEBURY)]
    if not folders:
        raise SourceError(f"{folder}: holds no pair; expected {', '.join(MIDDLEBURY)} in it or in each of its folders")
    kind = folder.resolve().name
    for place in folders:
        flow, known = read_flo(place / MIDDLEBURY[2])
        first, second = (_gray(place / name) for name in MIDDLEBURY[:2])
        height, width = first.shape
        for name, shape in ((MIDDLEBURY[1], second.shape), (MIDDLEBURY[2], known.shape)):
            if shape != first.shape:
                raise SourceError(
                    f"{place / name}: {shape[1]}x{shape[0]} pixels, but {MIDDLEBURY[0]} has {width}x{height}"
                )
        if not known.any():
            raise SourceError(
                f"{place / MIDDLEBURY[2]}: the flow is unknown everywhere; there is nothing to compare with"
            )
        yield Pair(place.resolve().name, kind, first, second, flow, known)


def generated(seed: int = 0) -> list[Pair]:
    """Draw pairs of 320x240 frames with exactly known flow; two of each kind, the same on every machine.

    - ``small``: one textured surface that moves and deforms smoothly, by about a pixel.
    - ``large``: the same, by 5 to 18 pixels.
    - ``boundary``: five discs before a backdrop, each moving its own way by up to 6 pixels; only the pixels within 8 of
      a disc's edge count.
    - ``occlusion``: two large discs that move 10 to 16 pixels against the backdrop.

    Both frames have camera noise, of standard deviation 1.5. Pixels that leave the frame, or are hidden in the second
    one, do not count. How frames are drawn and why their flow is exact: ``araflow.optical.quality.scene``.

    Args:
        seed: Another seed gives other pairs.
    """
    return [_draw(kind, number, seed) for kind in KINDS for number in range(1, _EACH + 1)]


def _draw(kind: str, number: int, seed: int) -> Pair:
    name = f"{kind}-{number}"
    key = (KINDS.index(kind), number, seed)
    scene = Scene(_layers(kind, key), key)
    flow, valid, layer = scene.truth(HEIGHT, WIDTH)
    if kind == "boundary":
        kernel = np.ones((3, 3), np.uint8)
        edges = cv2.morphologyEx(layer, cv2.MORPH_GRADIENT, kernel)
        valid &= cv2.dilate(edges, kernel, iterations=_BAND - 1) > 0
    first, second = (scene.render(HEIGHT, WIDTH, second=second, noise=_NOISE) for second in (False, True))
    return Pair(name, kind, first, second, flow, valid)


def _layers(kind: str, key: tuple[int, ...]) -> tuple[Layer, ...]:
    """Return the backdrop and what moves before it; every number comes from the dice."""
    roll = dice((*key, 100), 200)

    def signed(low: float, high: float) -> float:
        """A number of either sign whose size is between the two."""
        return (1.0 if next(roll) < 0.5 else -1.0) * (low + (high - low) * next(roll))

    def moving(low: float, high: float, deforming: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
        def component() -> tuple[float, ...]:
            return (signed(low, high), *(signed(0.3 * deforming, deforming) for _ in range(5)))

        return component(), component()

    if kind == "small":
        return (Layer(*moving(0.3, 1.0, 0.4)),)
    if kind == "large":
        return (Layer(*moving(7.0, 11.0, 2.0)),)
    layers = [Layer(*moving(0.5, 2.0, 0.2))]
    few = kind == "occlusion"
    places = ((0.3, 0.5), (0.7, 0.5)) if few else ((0.2, 0.25), (0.8, 0.25), (0.5, 0.5), (0.2, 0.75), (0.8, 0.75))
    smallest, largest = (50.0, 75.0) if few else (22.0, 40.0)
    for across, down in places:
        centre_x = WIDTH * (across + 0.1 * (next(roll) - 0.5))
        centre_y = HEIGHT * (down + 0.1 * (next(roll) - 0.5))
        axis_x, axis_y = (smallest + (largest - smallest) * next(roll) for _ in range(2))
        motion = moving(7.0, 11.0, 0.3) if few else moving(1.0, 4.0, 0.2)
        layers.append(Layer(*motion, ellipse=(centre_x, centre_y, axis_x, axis_y)))
    return tuple(layers)


def _gray(path: Path) -> GrayFrame:
    return cast(GrayFrame, cv2.cvtColor(read_png(path), cv2.COLOR_RGB2GRAY))
