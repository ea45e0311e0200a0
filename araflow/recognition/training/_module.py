"""What is trained, for Lightning: loss, optimiser, schedule, loaders. ``trainer`` runs it.

Nothing random depends on what happened before an epoch: windows and their order come from (seed, epoch, index), dropout
from a generator that is seeded at each epoch's start. So a run that was killed continues from its last whole epoch
exactly as it would have gone on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader

from araflow.core.errors import AraflowError, SpecError, TrainingError
from araflow.recognition._training_spec import OptimizerSpec, TrainingSpec
from araflow.recognition.data.loading import loader
from araflow.recognition.data.windows import EvaluationWindows, TrainingWindows
from araflow.recognition.streams import Stream

_PLATEAU_MONITOR = {True: "val_loss", False: "train_loss"}


class Recogniser(LightningModule):
    """A network with its loss and optimiser.

    Args:
        network: The network; see ``araflow.recognition.models.Network``.
        streams: The streams that it takes, in order.
        training: Settings.
        keys: Keys of the training clips, for messages.
        class_weights: float32 (classes,), or ``None``.
        freeze: Beginnings of the names of parameters to keep fixed.
        validated: Whether there are clips to validate on.

    Raises:
        SpecError: ``freeze`` names no parameter.
    """

    def __init__(
        self,
        network: nn.Module,
        streams: Sequence[Stream],
        training: TrainingSpec,
        keys: Sequence[str],
        *,
        class_weights: Tensor | None = None,
        freeze: Sequence[str] = (),
        validated: bool = False,
    ) -> None:
        super().__init__()
        self.network = network
        self._streams, self._training, self._keys = tuple(streams), training, tuple(keys)
        self._validated = validated
        self._class_weights: Tensor | None
        self.register_buffer("_class_weights", class_weights, persistent=False)
        self._frozen = keep_fixed(network, freeze)
        self.train()  # Lightning leaves modes as they are

    def train(self, mode: bool = True) -> Recogniser:
        """Set training mode; frozen parts keep their running statistics and drop nothing."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self

    def training_step(self, batch: dict[str, Any], _index: int) -> Tensor:
        """Return the batch's loss.

        Raises:
            TrainingError: It is not a number; names the clips.
        """
        streams = [batch[stream] for stream in self._streams]
        try:
            logits = self.network(*streams)
        except ValueError as error:  # of a batch normalisation that has one value per channel
            raise TrainingError(
                f"a step of {len(streams[0])} windows of {streams[0].shape[-1]}x{streams[0].shape[-2]} pixels leaves "
                f"nothing to normalise over ({error}): take a training.batch_size that does not leave one clip over, "
                "or larger windows"
            ) from error
        loss = functional.cross_entropy(
            logits, batch["label"], weight=self._class_weights, label_smoothing=self._training.label_smoothing
        )
        if not torch.isfinite(loss):
            shown = ", ".join(self._keys[int(clip)] for clip in batch["clip"][:4])
            raise TrainingError(
                f"the loss is {loss.item()} in epoch {self.current_epoch + 1}, with {shown} …: lower "
                "training.optimizer.lr, set training.clip_gradient or training.precision=32, or look at these clips"
            )
        self.log("train_loss", loss, on_step=False, on_epoch=True, sync_dist=True, batch_size=len(logits))
        right = (logits.argmax(1) == batch["label"]).float().mean()
        self.log("train_top1", right, on_step=False, on_epoch=True, sync_dist=True, batch_size=len(logits))
        return loss

    def validation_step(self, batch: dict[str, Any], _index: int) -> None:
        """Log loss and top-1 of the centre windows."""
        logits = self.network(*(batch[stream] for stream in self._streams))
        loss = functional.cross_entropy(logits, batch["label"])
        if not torch.isfinite(loss):
            raise TrainingError(
                f"the validation loss is {loss.item()} in epoch {self.current_epoch + 1}: lower training.optimizer.lr, "
                "or set training.clip_gradient or training.precision=32"
            )
        self.log("val_loss", loss, sync_dist=True, batch_size=len(logits))
        right = (logits.argmax(1) == batch["label"]).float().mean()
        self.log("val_top1", right, sync_dist=True, batch_size=len(logits))

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:  # noqa: ANN401 - Lightning's
        """Raise what went wrong while the batch was loaded."""
        if isinstance(batch, AraflowError):
            raise batch
        return batch

    def on_train_epoch_start(self) -> None:
        """Seed what is random within the network, such as dropout."""
        torch.manual_seed((self._training.seed * 1_000_003 + self.current_epoch) * 4099 + self.global_rank)

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:  # noqa: ANN401 - Lightning's
        """Step a schedule; but ``plateau`` is stepped by ``on_train_epoch_end``."""
        if not isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
            scheduler.step()

    def on_train_epoch_end(self) -> None:
        """Step ``plateau``: Lightning would do so after the checkpoint is written, and forget it on going on."""
        scheduler = self.lr_schedulers()
        if not isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
            return
        if not self._validated or (self.current_epoch + 1) % self._training.validate_every == 0:
            scheduler.step(float(self.trainer.callback_metrics[_PLATEAU_MONITOR[self._validated]]))

    def configure_optimizers(self) -> Any:  # noqa: ANN401 - one of a dozen forms, says Lightning
        """Return optimiser and schedule; the learning rate changes between epochs."""
        spec = self._training.optimizer
        parameters = [parameter for parameter in self.parameters() if parameter.requires_grad]
        optimizer: torch.optim.Optimizer
        if spec.name == "sgd":
            optimizer = torch.optim.SGD(parameters, lr=spec.lr, momentum=spec.momentum, weight_decay=spec.weight_decay)
        else:
            optimizer = torch.optim.AdamW(parameters, lr=spec.lr, weight_decay=spec.weight_decay)
        if spec.schedule == "plateau":
            scheduler: Any = torch.optim.lr_scheduler.ReduceLROnPlateau(
                optimizer, factor=spec.decay, patience=spec.patience, min_lr=spec.min_lr
            )
            every = self._training.validate_every if self._validated else 1
            monitored = {"monitor": _PLATEAU_MONITOR[self._validated], "frequency": every}
        else:
            epochs = self._training.epochs
            scheduler = torch.optim.lr_scheduler.LambdaLR(
                optimizer, lambda epoch: learning_rate_factor(spec, epochs, epoch)
            )
            monitored = {}
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "epoch", **monitored}}


def learning_rate_factor(spec: OptimizerSpec, epochs: int, epoch: int) -> float:
    """Return the learning rate of an epoch over ``spec.lr``.

    Linear warm-up from 1 / (warmup_epochs + 1) (Goyal et al., arXiv:1706.02677, section 2.2), then ``multi_step``
    (times ``decay`` from each of ``steps`` on), ``cosine`` (half a cosine down to ``min_lr``; Loshchilov and Hutter,
    arXiv:1608.03983, equation 5 without restarts) or ``constant``.

    Args:
        spec: Settings.
        epochs: Number of epochs.
        epoch: 0-based.
    """
    if epoch < spec.warmup_epochs:
        return (epoch + 1) / (spec.warmup_epochs + 1)
    if spec.schedule == "multi_step":
        return float(spec.decay ** sum(epoch >= step for step in spec.steps))
    if spec.schedule == "cosine":
        done = (epoch - spec.warmup_epochs) / max(1, epochs - spec.warmup_epochs)
        least = min(1.0, spec.min_lr / spec.lr)
        return least + (1 - least) * (1 + math.cos(math.pi * done)) / 2
    return 1.0


def keep_fixed(network: nn.Module, beginnings: Sequence[str]) -> list[nn.Module]:
    """Fix the parameters whose names begin so; return the modules that hold nothing else."""
    names = [name for name, _ in network.named_parameters()]
    for beginning in beginnings:
        if not any(_begins(name, beginning) for name in names):
            tops = sorted({name.partition(".")[0] for name in names})
            raise SpecError(f"network.freeze: no parameter begins with {beginning!r}; there are {', '.join(tops)}")
    for name, parameter in network.named_parameters():
        if any(_begins(name, beginning) for beginning in beginnings):
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise SpecError(f"network.freeze: {', '.join(beginnings)} is the whole network; nothing would be trained")
    return [
        module
        for name, module in network.named_modules()
        if name and any(_begins(name, beginning) for beginning in beginnings)
    ]


def _begins(name: str, beginning: str) -> bool:
    return name == beginning or name.startswith(beginning.rstrip(".") + ".")


class Loaders(LightningDataModule):
    """Loaders of the training and validation windows.

    Args:
        training: Training windows.
        validation: Centre windows to validate on, or ``None``.
        batch_size: Windows per step and device.
        seed: Seed of the order.
        workers: Loading processes.
    """

    def __init__(
        self,
        training: TrainingWindows,
        validation: EvaluationWindows | None,
        *,
        batch_size: int,
        seed: int,
        workers: int,
    ) -> None:
        super().__init__()
        self._training, self._validation = training, validation
        self._batch_size, self._seed, self._workers = batch_size, seed, workers

    def train_dataloader(self) -> DataLoader[Any]:
        """Return the loader of this process's share of an epoch."""
        assert self.trainer is not None
        # Loading processes are given their first items before Lightning says which epoch it is.
        epoch = self.trainer.fit_loop.epoch_progress.current.processed  # type: ignore[attr-defined]
        sampler = self._training.order(self._seed, self.trainer.global_rank, self.trainer.world_size, epoch)
        return loader(self._training, self._batch_size, self._workers, sampler=sampler)

    def val_dataloader(self) -> DataLoader[Any] | list[Any]:
        """Return the loader of the validation windows."""
        if self._validation is None:
            return []
        return loader(self._validation, self._batch_size, self._workers)
