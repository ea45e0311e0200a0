"""The 5x5 median filter of TV-L1 in PyTorch: minima and maxima of whole images, for there is nothing to sort by pixel.

Sorting 25 values for each pixel takes a hundred times as long. A fixed list of comparisons needs no branches: the
vertical windows of five are sorted once and serve five neighbours each, then the rows of the 5x5 window that stand
side by side are sorted as far as is needed, and at last the 13 values that can still be the median are compared.
"""

from __future__ import annotations

import torch
import torch.nn.functional as nn
from torch import Tensor

_SORT = ((0, 3), (1, 4), (0, 2), (1, 3), (0, 1), (2, 4), (1, 2), (3, 4), (2, 3))
"""Pairs to put in order, one after the other, that sort five values."""
_ROWS = tuple((5 * row + a, 5 * row + b) for row in range(5) for a, b in _SORT)
# Found by a beam search over such lists; that it is right is proven by going through all cases (test_torch.py).
_LAST = (
    *((3, 11), (9, 21), (4, 7), (4, 15), (13, 17), (7, 8), (7, 9), (7, 11), (7, 15), (9, 13), (8, 9)),
    *((8, 11), (8, 12), (8, 20), (9, 16), (9, 11), (9, 15), (11, 20), (11, 12), (11, 15), (12, 15)),
)
_MEDIAN = 12
"""Where the median then is."""


def _needed(pairs: tuple[tuple[int, int], ...], wanted: int) -> tuple[tuple[int, int, bool, bool], ...]:
    """Return the pairs with whether the smaller and the larger are of use to what is wanted in the end."""
    use, steps = {wanted}, []
    for low, high in reversed(pairs):
        steps.append((low, high, low in use, high in use))
        if low in use or high in use:
            use |= {low, high}
    return tuple(reversed(steps))


_STEPS = _needed(_ROWS + _LAST, _MEDIAN)


def median(images: Tensor) -> Tensor:
    """Return the median of the 5x5 pixels around each pixel, the border repeated, as OpenCV's ``medianBlur``.

    Args:
        images: float32, (batch, channels, height, width).

    Returns:
        The same shape. Every value is one of its neighbourhood, exactly.
    """
    height, width = images.shape[-2:]
    framed = nn.pad(images, (2, 2, 2, 2), mode="replicate")
    columns = [framed[..., row : row + height, :] for row in range(5)]
    for low, high in _SORT:
        columns[low], columns[high] = (
            torch.minimum(columns[low], columns[high]),
            torch.maximum(columns[low], columns[high]),
        )
    return select([row[..., shift : shift + width] for row in columns for shift in range(5)])


def select(window: list[Tensor]) -> Tensor:
    """Return the median of 25 tensors, element by element.

    Args:
        window: Of a common shape; number 5 r + c is the r-th smallest of the window's column c.
    """
    for low, high, smaller, larger in _STEPS:
        a, b = window[low], window[high]
        if smaller:
            window[low] = torch.minimum(a, b)
        if larger:
            window[high] = torch.maximum(a, b)
    return window[_MEDIAN]
