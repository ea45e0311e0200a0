"""How far optical flow is from the truth, as computed and as stored, and how long it takes.

The error of a pixel is the length of the difference between computed and true flow, ``sqrt((u - u*)² + (v - v*)²)``, in
pixels (end-point error: Otte and Nagel, ECCV 1994; Baker et al., IJCV 2011, section 4.1). Its mean over the valid
pixels is ``epe``. ``over_1``, ``over_3`` and ``over_5`` are the percentages of valid pixels whose error exceeds 1, 3
and 5 pixels (the robustness measures R of Baker et al.; 3 is KITTI's threshold).

People train on stored fields, so each field is also stored and recovered: ``bound`` and ``max_radius`` are the
quantisers of ``araflow.media.quantize`` followed by JPEG; ``png16`` is the 16-bit PNG of ``araflow.media.flow_files``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from statistics import fmean, median
from time import perf_counter
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from araflow import optical
from araflow.core.errors import SpecError
from araflow.media.fields import FlowField
from araflow.media.flow_files import Mask, decode_flow_png, encode_flow_png
from araflow.media.quantize import dequantize, quantize
from araflow.optical import PRESETS
from araflow.optical.quality.pairs import Pair

STORAGES = ("bound", "max_radius", "png16")
"""Ways to store a field."""
BOUND, JPEG_QUALITY = 20.0, 95
"""How fields are stored: the defaults of araflow's settings."""
_FURTHER = 4
"""Pairs of the longer stream that is timed, less one."""
_SECONDS = 3.0
"""What timing one pair may take, about."""


@dataclasses.dataclass(frozen=True, slots=True)
class Setting:
    """What computes the flow.

    Attributes:
        backend: Its name.
        algorithm: One of the backend's.
        preset: What the backend is asked for.
        has_presets: Whether another preset would make a difference.
    """

    backend: str
    algorithm: str
    preset: str
    has_presets: bool = True

    def __str__(self) -> str:
        return " ".join((self.backend, self.algorithm, *((self.preset,) if self.has_presets else ())))


@dataclasses.dataclass(frozen=True, slots=True)
class Errors:
    """Mean end-point error in pixels, and percentages of pixels whose error exceeds 1, 3 and 5 pixels."""

    epe: float
    over_1: float
    over_3: float
    over_5: float


@dataclasses.dataclass(frozen=True, slots=True)
class Quality:
    """How one setting does on one pair, or on the pairs of a kind.

    Attributes:
        setting: What computed the flow.
        kind: The pair's kind.
        pair: The pair's name; ``None`` for the mean over the pairs of the kind.
        pairs: How many pairs it stands for.
        width: Of the frames, in pixels; ``None`` where pairs differ.
        height: The same.
        ms: Milliseconds per pair, by the wall clock, on one thread.
        computed: Errors of the field as computed.
        stored: Errors after storing, by the name of the storage.
    """

    setting: Setting
    kind: str
    pair: str | None
    pairs: int
    width: int | None
    height: int | None
    ms: float
    computed: Errors
    stored: dict[str, Errors]

    def to_json(self) -> dict[str, Any]:
        """Return plain dictionaries, strings and numbers."""
        return dataclasses.asdict(self)


def settings(backends: Sequence[str], algorithms: Sequence[str] = (), presets: Sequence[str] = ()) -> list[Setting]:
    """List what is to be measured; presets that come to the same parameters are listed once.

    Args:
        backends: Names of backends, or ``auto``.
        algorithms: Which ones, of those that each backend has; none: all.
        presets: Which ones; none: all.

    Raises:
        SpecError: No such backend or preset, or none of the backends has the algorithm.
        UnavailableError: A backend cannot run here; says how to get it.
    """
    if unknown := set(presets) - set(PRESETS):
        raise SpecError(f"preset: {min(unknown)!r} is not one; allowed: {', '.join(PRESETS)}")
    found: list[Setting] = []
    offered: set[str] = set()
    for name in dict.fromkeys(optical.choose(asked).backend for asked in backends):
        backend = optical.load(name)
        offered.update(names := backend.ALGORITHMS)
        for algorithm in names:
            if not algorithms or algorithm in algorithms:
                resolved = {preset: backend.parameters(algorithm, preset) for preset in PRESETS}
                has_presets = any(values != resolved[PRESETS[0]] for values in resolved.values())
                seen = []
                for preset, values in resolved.items():
                    if values not in seen and (not presets or preset in presets):
                        seen.append(values)
                        found.append(Setting(name, algorithm, preset, has_presets))
    if unknown := set(algorithms) - offered:
        lacking = min(unknown)
        raise SpecError(
            f"algorithm: {', '.join(backends)} has no {lacking!r}; allowed: {', '.join(sorted(offered))}"
            f"{optical.elsewhere(lacking)}"
        )
    return found


def measure(
    chosen: Iterable[Setting],
    pairs: Sequence[Pair],
    storages: Sequence[str] = STORAGES,
    *,
    rounds: int = 5,
    on_field: Callable[[Pair, Setting, FlowField], None] | None = None,
) -> list[Quality]:
    """Compute, store and compare.

    ``ms`` is what a further pair of a stream costs: the time of a stream of five pairs less that of a stream of one,
    over four; the median of the rounds, after a warm-up. So starting an engine or a process does not count, and a
    backend may work in batches. Where that would take longer than about three seconds a pair, there are fewer rounds,
    and at last only one of two pairs less one.

    Args:
        chosen: From ``settings``.
        pairs: What to measure on.
        storages: Some of ``STORAGES``.
        rounds: How often to time each pair.
        on_field: Called with each field as it is computed; the field is the caller's to keep.

    Returns:
        One element per setting and pair, setting by setting in the order given.

    Raises:
        ClipError: A pair's frames are too small for a setting.
        SpecError: No such storage.
    """
    if unknown := set(storages) - set(STORAGES):
        raise SpecError(f"storage: {min(unknown)!r} is not one; allowed: {', '.join(STORAGES)}")
    results = []
    for setting in chosen:
        for pair in pairs:
            field, ms = _run(setting, pair, rounds)
            if on_field is not None:
                on_field(pair, setting, field)
            stored = {name: errors(store(field, name), pair.flow, pair.valid) for name in storages}
            computed = errors(field, pair.flow, pair.valid)
            height, width = pair.first.shape
            results.append(Quality(setting, pair.kind, pair.name, 1, width, height, ms, computed, stored))
    return results


def means(results: Iterable[Quality]) -> list[Quality]:
    """Average over the pairs of each kind, each pair with the same weight."""
    groups: dict[tuple[Setting, str], list[Quality]] = {}
    for result in results:
        groups.setdefault((result.setting, result.kind), []).append(result)
    averaged = []
    for (setting, kind), group in groups.items():
        sizes = {(one.width, one.height) for one in group}
        width, height = sizes.pop() if len(sizes) == 1 else (None, None)
        stored = {name: _mean([one.stored[name] for one in group]) for name in group[0].stored}
        computed = _mean([one.computed for one in group])
        ms = fmean(one.ms for one in group)
        averaged.append(Quality(setting, kind, None, len(group), width, height, ms, computed, stored))
    return averaged


def errors(flow: FlowField, truth: FlowField, valid: Mask) -> Errors:
    """Compare a field with the truth.

    Args:
        flow: float32, (height, width, 2), pixels per frame.
        truth: The same.
        valid: bool, (height, width): where to compare.

    Raises:
        ValueError: The shapes differ, or no pixel is valid.
    """
    if flow.shape != truth.shape or valid.shape != truth.shape[:2] or not valid.any():
        raise ValueError(
            f"cannot compare {flow.shape} with {truth.shape} on {int(valid.sum())} pixels of {valid.shape}"
        )
    difference = flow[valid].astype(np.float64) - truth[valid]
    error = np.sqrt((difference * difference).sum(axis=1))
    over_1, over_3, over_5 = (100.0 * float((error > limit).mean()) for limit in (1, 3, 5))
    return Errors(float(error.mean()), over_1, over_3, over_5)


def store(flow: FlowField, storage: str) -> FlowField:
    """Store a field and recover it, at the defaults of araflow's settings (bound 20, JPEG quality 95).

    Args:
        flow: float32, (height, width, 2), pixels per frame.
        storage: One of ``STORAGES``.
    """
    if storage == "png16":
        return decode_flow_png(encode_flow_png(flow))[0]
    u, v, radius = quantize(flow, "bound" if storage == "bound" else "max_radius", BOUND)
    files = (cv2.imencode(".jpg", plane, (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))[1] for plane in (u, v))
    u, v = (cast("NDArray[np.uint8]", cv2.imdecode(file, cv2.IMREAD_GRAYSCALE)) for file in files)
    return dequantize(u, v, bound=BOUND if radius is None else None, radius=radius)


def _run(setting: Setting, pair: Pair, rounds: int) -> tuple[FlowField, float]:
    """Return the field of a pair, and milliseconds per pair."""
    backend = optical.load(setting.backend)

    def stream(count: int) -> tuple[FlowField, float]:
        """The first field of ``count`` pairs, which go there and back, and the seconds that all of them took."""
        frames = ((pair.first, pair.second)[index % 2] for index in range(count + 1))
        start, first = perf_counter(), None
        for field in backend.compute(frames, setting.algorithm, setting.preset):
            first = field.copy() if first is None else first  # the next one may overwrite it
        if first is None:
            raise AssertionError(f"{setting.backend} returned no field")
        return first, perf_counter() - start

    field, _ = stream(1)  # libraries are imported and compiled, memory is warm
    with _one_thread():
        alone = stream(1)[1]
        if alone > _SECONDS / 3:
            return field, 1000 * max(0.0, stream(2)[1] - alone)
        rounds = min(rounds, max(1, int(_SECONDS / (alone * (2 + _FURTHER)))))
        times = [(stream(1 + _FURTHER)[1] - stream(1)[1]) / _FURTHER for _ in range(rounds)]
    return field, 1000 * max(0.0, median(times))


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Keep OpenCV, and PyTorch where something has imported it, to one thread."""
    torch = sys.modules.get("torch")
    before, before_torch = cv2.getNumThreads(), torch.get_num_threads() if torch else None
    cv2.setNumThreads(1)
    if torch:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)
        if torch:
            torch.set_num_threads(before_torch)


def _mean(group: Sequence[Errors]) -> Errors:
    return Errors(*(fmean(values) for values in zip(*map(dataclasses.astuple, group), strict=True)))
