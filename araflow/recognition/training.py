"""The training loop, on Lightning: loss, optimiser, schedule, and what is kept after each epoch.

Nothing random depends on what happened before an epoch: windows and their order come from (seed, epoch, index), dropout
from a generator that is seeded at each epoch's start. So a run that was killed continues from its last whole epoch
exactly as it would have gone on.
"""

from __future__ import annotations

import json
import logging
import math
import multiprocessing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader

from araflow.errors import AraflowError, SpecError, TrainingError, UnavailableError
from araflow.recognition.data import EpochSampler, EvaluationWindows, TrainingWindows
from araflow.recognition.scores import Guarded, collate
from araflow.recognition.spec import ExperimentSpec, OptimizerSpec, Stream, TrainingSpec
from araflow.store import replace

log = logging.getLogger("araflow")
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
        self._frozen = _freeze(network, freeze)

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
        logits = self.network(*(batch[stream] for stream in self._streams))
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


def _freeze(network: nn.Module, beginnings: Sequence[str]) -> list[nn.Module]:
    """Fix the parameters whose names begin so; return the modules that hold nothing else."""
    names = [name for name, _ in network.named_parameters()]
    for beginning in beginnings:
        if not any(_begins(name, beginning) for name in names):
            tops = sorted({name.partition(".")[0] for name in names})
            raise SpecError(f"network.freeze: no parameter begins with {beginning!r}; there are {', '.join(tops)}")
    for name, parameter in network.named_parameters():
        if any(_begins(name, beginning) for beginning in beginnings):
            parameter.requires_grad_(False)
    return [
        module
        for name, module in network.named_modules()
        if name and any(_begins(name, beginning) for beginning in beginnings)
    ]


def _begins(name: str, beginning: str) -> bool:
    return name == beginning or name.startswith(beginning.rstrip(".") + ".")


class Windows(LightningDataModule):
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
        sampler = EpochSampler(
            len(self._training), self._seed, rank=self.trainer.global_rank, world=self.trainer.world_size
        )
        return self._loader(self._training, sampler=sampler)

    def val_dataloader(self) -> DataLoader[Any] | list[Any]:
        """Return the loader of the validation windows."""
        if self._validation is None:
            return []
        return self._loader(self._validation)

    def _loader(self, windows: Any, sampler: Any = None) -> DataLoader[Any]:  # noqa: ANN401
        # Spawned: a forked process would share OpenCV's and OpenMP's threads in an unknown state.
        several = {"multiprocessing_context": "spawn", "persistent_workers": True} if self._workers else {}
        return DataLoader(
            Guarded(windows),  # type: ignore[arg-type] # torch wants its own class, but asks for no more than this
            self._batch_size,
            sampler=sampler,
            collate_fn=collate,
            num_workers=self._workers,
            pin_memory=torch.cuda.is_available(),
            **several,  # type: ignore[arg-type]
        )


class History(Callback):
    """Remembers each epoch's figures, in the checkpoint too, and writes them to a file and the log.

    Args:
        file: JSON file, a list with one dict per epoch.
        epochs: Number of epochs.
        on_epoch: Called after each epoch with its figures; not where several processes train.
    """

    def __init__(self, file: Path, epochs: int, on_epoch: Callable[[dict[str, float]], None] | None = None) -> None:
        self.rows: list[dict[str, float]] = []
        self._file, self._epochs, self._on_epoch = file, epochs, on_epoch
        self._lr = 0.0

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_on_epoch": None}  # sent to another process: what it calls stays behind

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Show the log in a process of its own, where nobody else has set it up."""
        if multiprocessing.parent_process() is not None and not log.handlers:
            log.addHandler(logging.StreamHandler())
            log.setLevel(logging.INFO)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take down the learning rate."""
        self._lr = float(trainer.optimizers[0].param_groups[0]["lr"])

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take down the figures; Lightning validates before this is called."""
        names = ("train_loss", "train_top1", "val_loss", "val_top1")
        validated = (trainer.current_epoch + 1) % (trainer.check_val_every_n_epoch or 1) == 0
        row = {"epoch": float(trainer.current_epoch + 1), "lr": self._lr}
        for name in names:
            if name in trainer.callback_metrics and (validated or not name.startswith("val")):
                row[name] = float(trainer.callback_metrics[name])
        self.rows.append(row)
        if not trainer.is_global_zero:
            return
        replace(self._file, (json.dumps(self.rows, indent=1) + "\n").encode())
        shown = f"loss {row.get('train_loss', math.nan):.4f}, top-1 {100 * row.get('train_top1', math.nan):.1f} %"
        if "val_top1" in row:
            shown += f"; val loss {row['val_loss']:.4f}, top-1 {100 * row['val_top1']:.1f} %"
        log.info("epoch %d of %d: %s; lr %.2g", row["epoch"], self._epochs, shown, self._lr)
        if self._on_epoch is not None:
            self._on_epoch(row)

    def state_dict(self) -> dict[str, Any]:
        """Return what the checkpoint keeps."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up where the checkpoint was written."""
        self.rows = list(state_dict["rows"])


_PRECISION = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}


def trainer(spec: ExperimentSpec, accelerator: str, callbacks: list[Callback]) -> Trainer:
    """Return Lightning's trainer for an experiment; several devices of one machine are processes that we spawn."""
    from lightning.pytorch.loggers import MLFlowLogger, TensorBoardLogger

    settings, out = spec.training, Path(spec.out)
    loggers: list[Any] = []
    if settings.tensorboard:
        loggers.append(TensorBoardLogger(out, name="", version="tensorboard"))
    if settings.mlflow:
        try:
            loggers.append(MLFlowLogger(spec.name, tracking_uri=settings.mlflow))
        except ModuleNotFoundError as error:
            raise UnavailableError("training.mlflow: mlflow is not installed: pip install mlflow") from error
    # Spawned, since only that works from a library, a notebook and a Prefect worker alike; over several nodes the
    # cluster's launcher starts each process.
    strategy = "auto" if settings.devices * settings.nodes == 1 else "ddp" if settings.nodes > 1 else "ddp_spawn"
    return Trainer(
        accelerator=accelerator,
        devices=settings.devices,
        num_nodes=settings.nodes,
        strategy=strategy,
        max_epochs=settings.epochs,
        precision=_PRECISION[settings.precision],  # type: ignore[arg-type] # Lightning lists every spelling
        gradient_clip_val=settings.clip_gradient or None,
        deterministic=(True if accelerator == "cpu" else "warn") if settings.deterministic else None,
        check_val_every_n_epoch=settings.validate_every,
        num_sanity_val_steps=0,
        callbacks=callbacks,
        logger=loggers or False,
        log_every_n_steps=1,
        default_root_dir=out,
        use_distributed_sampler=False,
        enable_model_summary=False,
        enable_progress_bar=False,
    )
