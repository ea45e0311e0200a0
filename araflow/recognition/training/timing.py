"""How long a training will take here: a few of its steps, timed before it begins."""

from __future__ import annotations

import time
from collections.abc import Iterator

from araflow.core.processes import usable_cores
from araflow.core.words import counted
from araflow.recognition.experiment import Prepared
from araflow.recognition.training.run import accelerator_of, is_done

_STEPS = 3
"""Timed, after one that is not."""
_FORWARD = 1 / 3
"""Of a step's computing: what a window costs that is only looked at."""


def opening(prepared: Prepared) -> Iterator[str]:
    """Yield what was chosen for an experiment, a line each, and about how long it takes; of others nothing."""
    if prepared.chosen and not is_done(prepared):
        yield from prepared.chosen
        yield told(seconds(prepared), prepared.spec.training.epochs)


def told(duration: float, epochs: int) -> str:
    """Return a duration for a person, in the largest unit of which there are two."""
    name, unit = next((one for one in (("hours", 3600), ("minutes", 60)) if duration >= 2 * one[1]), ("seconds", 1))
    shown = f"{max(1, round(duration / unit))} {name}"
    return f"about {shown} for {counted(epochs, 'epoch')} and the evaluation, as {_STEPS} timed steps tell"


def seconds(prepared: Prepared) -> float:
    """Return about how many seconds training and evaluating take on this machine; it leaves no trace in either.

    Args:
        prepared: The experiment.
    """
    import torch
    from torch.nn import functional

    from araflow.recognition.data.loading import collate
    from araflow.recognition.data.windows import TrainingWindows
    from araflow.recognition.networks import create

    spec = prepared.spec
    windows = TrainingWindows(prepared.train, prepared.model, spec.data, seed=spec.training.seed)
    size = min(spec.training.batch_size, len(windows))
    device = torch.device("cuda" if accelerator_of(spec) == "gpu" else "cpu")
    loading = computing = 0.0
    with torch.random.fork_rng():
        network = create(prepared.model).to(device).train()
        for step in range(_STEPS + 1):
            begun = time.perf_counter()
            batch = collate([windows[0, (step * size + item) % len(windows)] for item in range(size)])
            loaded = time.perf_counter()
            logits = network(*(batch[stream].to(device) for stream in prepared.model.streams))
            functional.cross_entropy(logits, batch["label"].to(device)).backward()  # type: ignore[no-untyped-call]
            if device.type == "cuda":
                torch.cuda.synchronize()
            if step:
                loading += (loaded - begun) / _STEPS
                computing += (time.perf_counter() - loaded) / _STEPS
    workers = min(8, usable_cores()) if spec.data.workers is None else spec.data.workers
    segments = spec.evaluation.segments if spec.evaluation.mode == "conv" else 1
    epochs = spec.training.epochs
    trained, looked_at = (
        len(windows) * epochs / size,
        (len(prepared.val) * epochs + len(prepared.test) * segments) / size,
    )
    return (trained + looked_at * _FORWARD) * computing + (trained + looked_at) * loading / max(1, workers)
