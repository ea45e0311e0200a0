"""From stored pictures to a network's input: crop, mirror, colour, flow scale, normalisation; NumPy and OpenCV.

What is drawn at random is drawn once per window, as a ``View``, and applied alike to every frame of every stream. Its
crop is given in fractions of the picture, so that streams of different sizes show the same part.

A crop is cut out first and only it is resized, in half of the time. That equals resizing first but for the crop's
edges, which come to lie on whole pixels of the stored picture: at most half of one away. Resizing is bilinear, which
looks at two pixels in a row, and so misses none, up to a factor of two; where a side shrinks by two or more, it takes
the mean over the area instead. (The mean for lesser factors is six times as slow, and softer.) Training and evaluation
follow the same rule.

Flow is resized as pictures are: its values stay pixels of the original video.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from araflow.media.quantize import dequantize

if TYPE_CHECKING:  # worker processes start sooner without the settings' machinery
    from araflow.recognition.spec import DataSpec
    from araflow.recognition.streams import Stream, StreamSpec

Pictures = NDArray[np.uint8]

FULL_SCALE = 20.0
"""Speed in pixels per frame at level 255 under ``flow_scale: pixels``, as in I3D's data (Carreira and Zisserman, CVPR
2017)."""
PLACES = ((0, 0), (4, 0), (0, 4), (4, 4), (2, 2), (0, 2), (4, 2), (2, 4), (2, 0), (1, 1), (3, 1), (1, 3), (3, 3))
"""The 13 places of a multi_scale crop, in quarters of the room to its right and below it: corners, centre, middles of
the edges, and between (TSN's ``GroupMultiScaleCrop``)."""
LUMA = (0.299, 0.587, 0.114)
"""Weights of R, G and B in a pixel's grey (ITU-R BT.601), as in torchvision's ``rgb_to_grayscale``."""
_LEVELS = 256


@dataclasses.dataclass(frozen=True, slots=True)
class View:
    """How one window is looked at, the same for all of its frames.

    Attributes:
        left: Left edge of the crop, in fractions of the picture's width.
        top: Upper edge, in fractions of its height.
        width: Width of the crop, in fractions of the picture's.
        height: Height likewise.
        mirrored: Left and right change places; flow's u changes sign.
        brightness: Factor of an rgb pixel's values.
        contrast: Factor of their distance from the mean grey of the window.
        saturation: Factor of their distance from the pixel's own grey.
    """

    left: float = 0.0
    top: float = 0.0
    width: float = 1.0
    height: float = 1.0
    mirrored: bool = False
    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0


def training_view(data: DataSpec, spec: StreamSpec, size: tuple[int, int], rng: np.random.Generator) -> View:
    """Draw a view for training.

    ``random`` takes ``spec``'s size at any place of the picture whose short side is ``short_side``; where that does not
    hold it, the whole side. ``multi_scale`` takes a square, one of ``scales`` of the short side, at one of 13 places.

    Args:
        data: Gives ``crop``, ``scales``, ``short_side``, ``flip`` and the colour factors.
        spec: The (first) stream's window, for its width and height.
        size: Height and width of the stored pictures.
        rng: Source of randomness.
    """
    box = (0.0, 0.0, 1.0, 1.0)
    if data.crop == "random":
        width, height = _resized(size, data.short_side)
        own_width, own_height = min(spec.width, width), min(spec.height, height)
        left, top = int(rng.integers(width - own_width + 1)), int(rng.integers(height - own_height + 1))
        box = (left / width, top / height, own_width / width, own_height / height)
    elif data.crop == "multi_scale":
        side = data.scales[int(rng.integers(len(data.scales)))] * min(size)
        across, down = PLACES[int(rng.integers(len(PLACES)))]
        box = (
            across / 4 * (1 - side / size[1]),
            down / 4 * (1 - side / size[0]),
            side / size[1],
            side / size[0],
        )
    mirrored = bool(rng.random() < data.flip)
    colours = (rng.uniform(1 - spread, 1 + spread) for spread in (data.brightness, data.contrast, data.saturation))
    return View(*box, mirrored, *colours)


def evaluation_view(spec: StreamSpec, size: tuple[int, int], *, short_side: int, center_crop: bool) -> View:
    """Return the view for evaluation: the whole picture, or the middle of the one whose short side is ``short_side``.

    Args:
        spec: The (first) stream's window, for its width and height.
        size: Height and width of the stored pictures.
        short_side: In pixels.
        center_crop: Take the middle; else the whole picture is stretched.
    """
    if not center_crop:
        return View()
    width, height = _resized(size, short_side)
    own_width, own_height = min(spec.width, width), min(spec.height, height)
    left, top = round((width - own_width) / 2), round((height - own_height) / 2)
    return View(left / width, top / height, own_width / width, own_height / height)


def _resized(size: tuple[int, int], short_side: int) -> tuple[int, int]:
    """Return width and height with that short side, the long one cut to whole pixels as torchvision's Resize does."""
    height, width = size
    if width <= height:
        return short_side, short_side * height // width
    return short_side * width // height, short_side


def cropped(frames: Iterable[Pictures], spec: StreamSpec, view: View) -> Pictures:
    """Cut the view's crop out of each frame, and resize it; nothing is mirrored yet.

    Args:
        frames: ``spec.frames`` pictures, each uint8 (height, width, channels), of one size or of several.
        spec: The stream's window.
        view: What to look at.

    Returns:
        uint8 (frames, ``spec.height``, ``spec.width``, channels).

    Raises:
        ValueError: There are more or fewer frames.
    """
    found: Pictures | None = None
    count = 0
    for count, frame in enumerate(frames, 1):
        if found is None:
            found = np.empty((spec.frames, spec.height, spec.width, frame.shape[2]), np.uint8)
        if count <= spec.frames:
            part = _cut(frame, view)
            shrinks = part.shape[0] >= 2 * spec.height or part.shape[1] >= 2 * spec.width
            way = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
            cv2.resize(part, (spec.width, spec.height), dst=found[count - 1], interpolation=way)
    if found is None or count != spec.frames:
        raise ValueError(f"expected {spec.frames} frames, found {count}")
    return found


def _cut(frame: Pictures, view: View) -> Pictures:
    """Return the crop, its size and then its place rounded to whole pixels."""
    height, width = frame.shape[:2]
    own_width, own_height = max(1, round(view.width * width)), max(1, round(view.height * height))
    left = min(round(view.left * width), width - own_width)
    top = min(round(view.top * height), height - own_height)
    return frame[top : top + own_height, left : left + own_width]


def coloured(pictures: Pictures, view: View) -> Pictures:
    """Change brightness, contrast and saturation, one after the other, as torchvision's ``ColorJitter`` defines them.

    The mean grey that contrast turns about is the whole window's, so that nothing flickers; values are cut to 0 … 255
    once, at the end. (torchvision takes each picture's mean, and cuts after each of the three.)

    Args:
        pictures: R, G, B; uint8 (frames, height, width, 3).
        view: Gives the factors.

    Returns:
        The same pictures if all factors are 1, else new ones of the same shape and dtype.
    """
    if view.brightness == view.contrast == view.saturation == 1.0:
        return pictures
    flat = pictures.reshape(-1, pictures.shape[2], 3)  # OpenCV takes at most two axes and the channels
    # Each of the three is linear in the pixel, and saturation keeps its grey, so that one matrix does it all.
    grey = np.tile(LUMA, (3, 1))
    matrix = view.brightness * view.contrast * (view.saturation * np.eye(3) + (1 - view.saturation) * grey)
    mean = float(np.dot(LUMA, cv2.mean(flat)[:3])) if view.contrast != 1.0 else 0.0
    shift = np.full((3, 1), (1 - view.contrast) * view.brightness * mean)
    changed = cv2.transform(flat, np.hstack([matrix, shift]))
    return changed.astype(np.uint8, copy=False).reshape(pictures.shape)


def negated(levels: Pictures, quantizer: str | None) -> Pictures:
    """Return the 8-bit levels of a flow component with the opposite sign, within one level.

    ``bound``: ``255 - q``, exact but for the zero, which is stored as 128 (127.5 rounds to even) and becomes 127.
    ``max_radius``, and where the quantiser is not known: ``min(256 - q, 255)``. Its zero is 128 exactly and stays so;
    other values, which were cut and not rounded, come out one level higher than their negative would be stored.

    Args:
        levels: uint8, of any shape.
        quantizer: As in the manifest.
    """
    opposite: Pictures = 255 - levels if quantizer == "bound" else 255 - (np.maximum(levels, 1) - 1)
    return opposite


def pixel_gains(*, bound: float | None = None, radii: Sequence[float] | None = None) -> NDArray[np.float64]:
    """Return by how much stored levels must be spread about 127.5 so that ±20 pixels per frame are 0 and 255.

    A level q becomes ``127.5 + gain × (q - 127.5)``, which equals ``(x + 20) / 40 × 255`` of its value x in pixels per
    frame (``araflow.media.quantize.dequantize``). Faster motion goes beyond 0 and 255; nothing is cut.

    Args:
        bound: The ``bound`` that flow was quantised with, in pixels per frame; or
        radii: its ``max_radius`` radius of each field, in pixels per frame.

    Returns:
        float64, (1,) or (fields,).

    Raises:
        ValueError: Not exactly one of the two is given.
    """
    if (bound is None) == (radii is None):
        raise ValueError("give exactly one of bound and radii")
    ends = np.array([[0, _LEVELS - 1]], np.uint8)
    # In both codes a value is proportional to the level's distance from 127.5, and to the bound or radius.
    unit = dequantize(ends, ends, bound=1.0) if radii is None else dequantize(ends, ends, radius=1.0)
    per_level = float(unit[0, 1, 0] - unit[0, 0, 0]) / (_LEVELS - 1)
    scales = np.array([bound] if radii is None else radii, np.float64)
    gains: NDArray[np.float64] = scales * per_level * (_LEVELS - 1) / (2 * FULL_SCALE)
    return gains


def normalised(
    pictures: Pictures,
    stream: Stream,
    spec: StreamSpec,
    *,
    mirrored: bool = False,
    quantizer: str | None = None,
    gains: NDArray[np.float64] | None = None,
) -> NDArray[np.float32]:
    """Turn pictures into the network's input, ``(x / 255 - mean) / std``.

    Args:
        pictures: uint8 (frames, height, width, channels): R, G, B or u, v.
        stream: ``rgb`` or ``flow``.
        spec: Gives mean and std.
        mirrored: Left and right change places, and u its sign, so that flow is that of the mirrored video.
        quantizer: How flow became 8-bit; only mirrored flow needs it.
        gains: What ``pixel_gains`` returned for these fields; ``None`` takes stored levels as they are.

    Returns:
        float32 (channels, frames, height, width), C-contiguous.
    """
    tables = _tables(stream, spec, mirrored=mirrored, quantizer=quantizer, gains=gains)
    count, height, width, channels = pictures.shape
    found = np.empty((channels, count, height, width), np.float32)
    # One contiguous plane at a time, by a table of the 256 levels: exact, and a third faster than NumPy's arithmetic.
    planes = [np.empty((height, width), np.uint8) for _ in range(channels)]
    for number, picture in enumerate(pictures):
        cv2.split(cv2.flip(picture, 1) if mirrored else picture, planes)
        for channel, plane in enumerate(planes):
            cv2.LUT(plane, tables[number if len(tables) > 1 else 0, channel], found[channel, number])
    return found


def _tables(
    stream: Stream,
    spec: StreamSpec,
    *,
    mirrored: bool,
    quantizer: str | None,
    gains: NDArray[np.float64] | None,
) -> NDArray[np.float32]:
    """Return what each level becomes, float32 (fields or 1, channels, 256)."""
    mean, std = (np.array(values)[:, np.newaxis] for values in spec.per_channel(stream))
    levels = np.tile(np.arange(_LEVELS, dtype=np.float64), (len(mean), 1))
    if stream == "flow":
        if mirrored:
            levels[0] = negated(np.arange(_LEVELS, dtype=np.uint8), quantizer)
        if gains is not None:
            middle = (_LEVELS - 1) / 2
            levels = middle + gains[:, np.newaxis, np.newaxis] * (levels - middle)
    tables: NDArray[np.float32] = ((levels / (_LEVELS - 1) - mean) / std).astype(np.float32)
    return tables.reshape(-1, len(mean), _LEVELS)
