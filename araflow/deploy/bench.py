"""How fast recognisers answer: engines, ONNX files and checkpoints, timed in one way and reported as trtexec does.

Latency is from the first byte copied in to the last copied out. Of an engine it is measured on the device, between CUDA
events; of everything else by the host's clock around a call that returns only when the logits are there. Clocks of the
GPU are not locked, and one batch is done at a time, so throughput is what one stream gives.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from araflow.core.errors import SpecError
from araflow.deploy import windows
from araflow.deploy.windows import Streams
from araflow.recognition.spec import ModelSpec

Run = Callable[[], Mapping[str, float]]
"""Does one batch; returns seconds: ``latency`` and, where known, its parts."""


@dataclass(frozen=True)
class CardFigure:
    """One row of NVIDIA's table for ActionRecognitionNet.

    Attributes:
        model: ``2d`` or ``3d``, of rgb; 32 frames of 224 × 224.
        device: What it ran on.
        batch: Windows at once.
        clips: Windows per second.
    """

    model: str
    device: str
    batch: int
    clips: float


CARD = (
    CardFigure("2d", "Jetson Nano", 1, 30.0),
    CardFigure("2d", "Jetson Xavier NX", 16, 250.0),
    CardFigure("2d", "Jetson AGX Xavier", 16, 490.0),
    CardFigure("2d", "T4", 16, 1818.0),
    CardFigure("3d", "Jetson Nano", 1, 0.57),
    CardFigure("3d", "Jetson Xavier NX", 4, 4.9),
    CardFigure("3d", "Jetson AGX Xavier", 4, 33.0),
    CardFigure("3d", "T4", 4, 137.0),
)
"""Windows per second in float16 by trtexec, inference alone. Source: NVIDIA NGC, model card of ActionRecognitionNet."""
CARD_CAVEAT = (
    "NVIDIA's figures are of other hardware (named there), float16, the network alone by trtexec, rgb, 32 frames of "
    "224 × 224; read them as a scale, not as a comparison"
)


@dataclass(frozen=True)
class Latency:
    """What was measured at one batch size; times in milliseconds.

    Attributes:
        batch: Windows at once.
        runs: Batches timed.
        median: And so on: statistics of the latency; ``p90`` is what 90 per cent of the batches stayed within.
        throughput: Windows per second, by the host's clock.
        parts: Medians of the latency's parts, where known: ``h2d``, ``compute``, ``d2h``.
    """

    batch: int
    runs: int
    median: float
    mean: float
    min: float
    max: float
    p90: float
    p95: float
    p99: float
    throughput: float
    parts: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, int | float]:
        """Return all of it, flat, for JSON; times in milliseconds."""
        names = ("batch", "runs", "median", "mean", "min", "max", "p90", "p95", "p99", "throughput")
        return {**{name: getattr(self, name) for name in names}, **self.parts}


def percentile(ordered: Sequence[float], per_cent: float) -> float:
    """Return the value that a share of the values stays within, as trtexec picks it: one of them, never between two.

    Args:
        ordered: Values in rising order, at least one.
        per_cent: 0 to 100.
    """
    beyond = math.floor(len(ordered) * (100 - per_cent) / 100)
    return ordered[max(len(ordered) - 1 - beyond, 0)]


def summarise(samples: Sequence[Mapping[str, float]], batch: int, seconds: float) -> Latency:
    """Return the statistics of runs.

    Args:
        samples: Seconds of each run, with the key ``latency`` and the same parts in each; at least one.
        batch: Windows in each.
        seconds: What all of them took together.
    """
    times = sorted(1000 * sample["latency"] for sample in samples)
    middle = len(times) // 2
    parts = {
        name: float(np.median([1000 * sample[name] for sample in samples])) for name in samples[0] if name != "latency"
    }
    return Latency(
        batch=batch,
        runs=len(times),
        median=times[middle] if len(times) % 2 else (times[middle - 1] + times[middle]) / 2,
        mean=math.fsum(times) / len(times),
        min=times[0],
        max=times[-1],
        p90=percentile(times, 90),
        p95=percentile(times, 95),
        p99=percentile(times, 99),
        throughput=len(times) * batch / seconds if seconds > 0 else math.inf,
        parts=parts,
    )


def bench(
    runner: Callable[..., object],
    make_inputs: Callable[[int], Streams],
    batch: int,
    *,
    warm_up_ms: float = 200,
    seconds: float = 3,
    min_runs: int = 10,
    clock: Callable[[], float] = time.perf_counter,
    cuda_graph: bool = False,
) -> Latency:
    """Time a recogniser at one batch size, as long as trtexec does by default.

    Args:
        runner: Called with the streams by name; returns when the logits are there. One that has a ``stopwatch``
            (an engine) is timed by that.
        make_inputs: Gives the streams for a number of windows.
        batch: Windows at once.
        warm_up_ms: Milliseconds to run before anything counts; it runs at least once.
        seconds: Least seconds to measure for.
        min_runs: Least batches to measure.
        clock: The host's, in seconds.
        cuda_graph: See ``EngineRunner.stopwatch``.

    Raises:
        SpecError: ``cuda_graph`` for something else than an engine.
    """
    run = _timer(runner, make_inputs(batch), clock, cuda_graph=cuda_graph)
    start = clock()
    run()
    while (clock() - start) * 1000 < warm_up_ms:
        run()
    samples: list[Mapping[str, float]] = []
    start = now = clock()
    while now - start < seconds or len(samples) < min_runs:
        samples.append(run())
        now = clock()
    return summarise(samples, batch, now - start)


def _timer(runner: Callable[..., object], inputs: Streams, clock: Callable[[], float], *, cuda_graph: bool) -> Run:
    stopwatch = getattr(runner, "stopwatch", None)
    if stopwatch is not None:
        run: Run = stopwatch(cuda_graph=cuda_graph, **inputs)
        return run
    if cuda_graph:
        raise SpecError("cuda_graph: for engines only; leave it out for ONNX files and checkpoints")

    def timed() -> Mapping[str, float]:
        start = clock()
        runner(**inputs)
        return {"latency": clock() - start}

    return timed


def inputs_for(spec: ModelSpec) -> Callable[[int], Streams]:
    """Return what makes drawn windows for a recogniser; times do not depend on what the pictures show."""

    def make(batch: int) -> Streams:
        one = windows.drawn(spec, 1)
        return {name: np.ascontiguousarray(np.repeat(tensor, batch, axis=0)) for name, tensor in one.items()}

    return make


def sizes(runner: Any, given: Sequence[int] | None) -> tuple[int, ...]:  # noqa: ANN401 - a Runner
    """Return the batch sizes to time: those given, or those of 1, 4 and 16 that a recogniser takes.

    Raises:
        SpecError: It does not take one that was given.
    """
    least, most = getattr(runner, "least", 1), getattr(runner, "most", math.inf)
    if fixed := getattr(getattr(runner, "model", None), "batch", None):  # an ONNX file for one batch size
        least = most = fixed
    if given is not None:
        if unfit := [size for size in given if not least <= size <= most]:
            raise SpecError(f"batch: {unfit[0]} windows at once are not what this file takes: {least} to {most}")
        return tuple(given)
    return tuple(size for size in (1, 4, 16) if least <= size <= most) or (int(least),)


def card_figures(spec: ModelSpec) -> tuple[CardFigure, ...]:
    """Return the rows of NVIDIA's table that are of the same kind of network; none where no row is."""
    kind = {"arn_2d": "2d", "arn_3d": "3d"}.get(spec.network.architecture)
    return tuple(row for row in CARD if row.model == kind and spec.network.modality == "rgb")
