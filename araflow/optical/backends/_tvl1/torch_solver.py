"""TV-L1 optical flow in PyTorch, for many pairs of frames at once; the solver of the ``torch`` backend.

The method is that of Zach, Pock and Bischof, "A duality based approach for realtime TV-L1 optical flow", DAGM 2007, in
the form that Sánchez Pérez, Meinhardt-Llopis and Facciolo describe ("TV-L1 optical flow estimation", IPOL 2013,
https://doi.org/10.5201/ipol.2013.26) and OpenCV's ``DualTVL1OpticalFlow`` has made common: a pyramid by a freely chosen
step, warps, and a 5x5 median filter before each outer iteration. Gray levels stay 0 to 255, as in OpenCV.

A pair's result has the same bytes in every batch and with every number of threads:

- Each number is made by single additions, multiplications, divisions and square roots, which IEEE 754 defines to the
  bit. None of these operations fuses two of them, for a library fuses in some elements and not in others. Bicubic
  sampling is one operation of the library's, which treats every pair alike.
- What has to be summed over an image, to see whether its pair has converged, is summed in integers.
- A pair that has converged is taken out of the batch. Nothing of it depends on the others.

There is no matrix product or convolution, hence nothing that TF32 could touch.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import torch
import torch.nn.functional as nn
from torch import Tensor

from araflow.optical.backends._tvl1.median_torch import median
from araflow.optical.backends._tvl1.settings import SMALLEST, SolverSettings

_FLAT = float(np.finfo(np.float32).eps)
"""Squared gradient at and below which a pixel says nothing about motion (OpenCV's constant)."""
_FRACTION = 2.0**16
"""Squared changes are summed in units of the threshold over this: fine enough, and far from what int64 holds."""


def solve(frames: Tensor, settings: SolverSettings) -> Tensor:
    """Compute the flow between neighbouring frames.

    Args:
        frames: float32, (pairs + 1, height, width), gray levels 0 to 255; sides of at least ``SMALLEST``.
        settings: The same for all pairs.

    Returns:
        float32, (pairs, 2, height, width): u (right), then v (down), in pixels, anchored on the first frame of a pair.
    """
    step = settings.scale_step
    pyramid = [frames]
    while len(pyramid) < settings.scales:
        height, width = (round(side * step) for side in pyramid[-1].shape[-2:])
        if min(height, width) < SMALLEST:
            break
        pyramid.append(_resize(pyramid[-1], height, width, (1 / step, 1 / step)))
    flow = frames.new_zeros((len(frames) - 1, 2, *pyramid[-1].shape[-2:]))
    for level in reversed(pyramid):
        height, width = level.shape[-2:]
        if flow.shape[-2:] != level.shape[-2:]:
            ratio = flow.shape[-2] / height, flow.shape[-1] / width
            flow = _resize(flow, height, width, ratio) * (1 / step)
        flow = _refine(level, flow, settings)
    return flow


def _resize(images: Tensor, height: int, width: int, ratio: tuple[float, float]) -> Tensor:
    """Resize linearly, pixel centres at halves, the border repeated; ratio is (old over new) height and width."""
    for axis, size, scale in ((-2, height, ratio[0]), (-1, width, ratio[1])):
        last = images.shape[axis] - 1
        position = ((np.arange(size) + 0.5) * scale - 0.5).clip(0, last)
        below = position.astype(np.int64)
        shape = (-1, 1) if axis == -2 else (-1,)
        weight = torch.from_numpy((position - below).astype(np.float32).reshape(shape)).to(images.device)
        low, high = (
            images.index_select(axis, torch.from_numpy(index).to(images.device))
            for index in (below, np.minimum(below + 1, last))
        )
        images = low * (1 - weight) + high * weight
    return images


def _refine(level: Tensor, flow: Tensor, settings: SolverSettings) -> Tensor:
    """Improve the flow (pairs, 2, height, width) between the frames (pairs + 1, height, width) of one level."""
    second = level[1:]
    layers = _padded(torch.stack((second, _slope(second, -1), _slope(second, -2)), 1))
    dual = flow.new_zeros((len(flow), 2, 2, *flow.shape[-2:]))
    for _ in range(settings.warps):
        flow, dual = _minimise(level[:-1], _warp(layers, flow), flow, dual, settings)
    return flow


def _slope(images: Tensor, axis: int) -> Tensor:
    """Return central differences; at the border half the difference of the two pixels there."""
    size = images.shape[axis]
    here = torch.arange(size, device=images.device)
    after, before = (here + 1).clamp(max=size - 1), (here - 1).clamp(min=0)
    return (images.index_select(axis, after) - images.index_select(axis, before)) * 0.5


def _padded(layers: Tensor) -> Tensor:
    """Add zeros to the right and below, up to powers of two: then whole pixels are exact for ``_warp``."""
    height, width = layers.shape[-2:]
    return nn.pad(layers, (0, (1 << (width - 1).bit_length()) - width, 0, (1 << (height - 1).bit_length()) - height))


def _warp(layers: Tensor, flow: Tensor) -> Tensor:
    """Return each pixel's layers (pairs, 3, ..) where the flow leads; bicubic (A = -0.75), black beyond the frame."""
    grid = []
    for component, axis in ((0, -1), (1, -2)):
        size, full = flow.shape[axis], layers.shape[axis]
        start = torch.arange(size, dtype=flow.dtype, device=flow.device)
        target = flow[:, component] + (start if axis == -1 else start[:, None])
        # Four pixels beyond the frame all is black, and no flow, however wild, overflows an index.
        target.clamp_(-4, full + 4)
        grid.append((target * 2 + 1) / full - 1)  # grid_sample has -1 and 1 at the outer edges
    return nn.grid_sample(layers, torch.stack(grid, -1), "bicubic", "zeros", align_corners=False)


@dataclasses.dataclass(slots=True)
class _Batch:
    """The pairs that still move; the first axis of every tensor counts them.

    Attributes:
        pairs: int64: which pairs of the whole they are.
        flow: (.., 2, height, width), in units of theta / tau pixels.
        dual: (.., axis, 2, height, width): the dual variable of each component of the flow.
        ahead: Like ``dual``; room for the flow's forward differences, whose last column and row stay zero.
        slope: (.., 2, height, width): gradient of the warped second frame, by x and y.
        rest: (.., height, width): what the brightness would still differ by without flow, in the flow's units.
        inverse: (.., height, width): 1 / slope², or 0 where the frame is flat.
    """

    pairs: Tensor
    flow: Tensor
    dual: Tensor
    ahead: Tensor
    slope: Tensor
    rest: Tensor
    inverse: Tensor

    def take_out(self, done: Tensor, flow: Tensor, dual: Tensor) -> None:
        """Write the pairs of the mask ``done`` into the whole's ``flow`` and ``dual``, and go on without them."""
        flow[self.pairs[done]], dual[self.pairs[done]] = self.flow[done], self.dual[done]
        for field in dataclasses.fields(self):
            setattr(self, field.name, getattr(self, field.name)[~done])


def _minimise(
    first: Tensor, warped: Tensor, flow: Tensor, dual: Tensor, settings: SolverSettings
) -> tuple[Tensor, Tensor]:
    """Return flow and dual variable after the iterations of one warp: until ``epsilon``, or all that are allowed."""
    # In units of theta / tau pixels, the flow's differences are just what the dual update adds: no factor is needed.
    unit = settings.theta / settings.tau
    slope = warped[:, 1:].contiguous()
    expected, squares = slope * flow, slope * slope
    steepness = squares[:, 0] + squares[:, 1]
    rest = (warped[:, 0] - first - expected[:, 0] - expected[:, 1]) / unit
    inverse = torch.where(steepness > _FLAT, 1 / steepness, 0)
    pairs = torch.arange(len(flow), device=flow.device)
    batch = _Batch(pairs, flow / unit, dual.clone(), torch.zeros_like(dual), slope, rest, inverse)
    flow, dual = torch.zeros_like(flow), torch.zeros_like(dual)
    scale = math.sqrt(_FRACTION) * unit / settings.epsilon
    enough = int(_FRACTION) * first[0].numel()
    for iteration in range(settings.outer * settings.inner):
        if iteration % settings.inner == 0:
            batch.flow = median(batch.flow)
        change = _iterate(batch, settings)
        done = change.mul_(scale).square_().to(torch.int64).sum((1, 2, 3)) <= enough
        if bool(done.any()):
            batch.take_out(done, flow, dual)
            if len(batch.pairs) == 0:
                break
    else:
        batch.take_out(torch.ones_like(batch.pairs, dtype=torch.bool), flow, dual)
    return flow * unit, dual


def _iterate(batch: _Batch, settings: SolverSettings) -> Tensor:
    """Take one step of flow and dual variable, in place, and return by how much the flow has changed."""
    flow, dual, ahead = batch.flow, batch.dual, batch.ahead
    # The data term moves the flow along the slope to where the brightness agrees, ...
    limit = settings.lambda_ * settings.tau
    data = batch.slope * flow
    distance = (data[:, 0] + data[:, 1]).add_(batch.rest).mul_(batch.inverse).clamp_(-limit, limit)
    torch.mul(batch.slope, distance[:, None], out=data)
    # ... the smoothness term by the divergence of the dual variable, ...
    change = dual[:, 0] + dual[:, 1]
    change[..., 1:].sub_(dual[:, 0, ..., :-1])
    change[..., 1:, :].sub_(dual[:, 1, ..., :-1, :])
    flow.add_(change.mul_(settings.tau).sub_(data))
    # ... which itself follows the flow's gradient, with a length below one.
    torch.sub(flow[..., 1:], flow[..., :-1], out=ahead[:, 0, ..., :-1])
    torch.sub(flow[..., 1:, :], flow[..., :-1, :], out=ahead[:, 1, ..., :-1, :])
    squares = ahead * ahead
    length = (squares[:, 0] + squares[:, 1]).sqrt_().add_(1)
    dual.add_(ahead).div_(length[:, None])
    return change
