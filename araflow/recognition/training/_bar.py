"""How far a training is, on a terminal: the epoch, of how many, the loss, and the time left of all epochs."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from araflow.core import json_log, telling

_EVERY = 10
"""Steps between looks at the loss: on a GPU each waits for what is being computed."""
_PERIOD = 24 * 3600.0
"""Seconds whose speed tells the time left; all of the run, since validations come between epochs."""


def wanted() -> bool:
    """Whether somebody is looking."""
    return Console(stderr=True).is_terminal and not json_log.wanted() and telling.amount() > telling.Amount.QUIET


class Bar(Callback):
    """Shows one bar over all epochs; gone when the training ends."""

    def __init__(self) -> None:
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TimeElapsedColumn(),
            TextColumn("left:"),
            TimeRemainingColumn(),
        )
        self._bar = Progress(*columns, console=Console(stderr=True), transient=True, speed_estimate_period=_PERIOD)
        self._task: TaskID | None = None
        self._loss = ""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show it; epochs of an earlier run count as done."""
        steps = int(trainer.num_training_batches)
        total = (trainer.max_epochs or 0) * steps
        self._task = self._bar.add_task(self._text(trainer), total=total, completed=trainer.current_epoch * steps)
        self._bar.start()

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,  # noqa: ANN401 - Lightning's
        batch: Any,  # noqa: ANN401
        batch_idx: int,
    ) -> None:
        """Count a step."""
        if batch_idx % _EVERY == 0:
            self._loss = f", loss {float(outputs['loss'] if isinstance(outputs, dict) else outputs):.3f}"
        if self._task is not None:
            self._bar.update(self._task, advance=1, description=self._text(trainer))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take it away."""
        self._bar.stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Take it away; what is said next stands on a line of its own."""
        self._bar.stop()

    def _text(self, trainer: Trainer) -> str:
        return f"epoch {trainer.current_epoch + 1} of {trainer.max_epochs}{self._loss}"
