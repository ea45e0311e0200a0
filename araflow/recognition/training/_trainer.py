"""Lightning's trainer for an experiment, and what it keeps after each epoch."""

from __future__ import annotations

import contextlib
import io
import logging
import math
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from araflow.core import errors, written
from araflow.core.errors import TrainingError, UnavailableError
from araflow.recognition.spec import ExperimentSpec
from araflow.recognition.training import _bar
from araflow.recognition.training._resuming import so_far

log = logging.getLogger("araflow")
CHECKPOINTS = "checkpoints"
"""Folder of what a training goes on from."""
_LOUD = ("lightning.pytorch", "lightning.fabric")
"""Lightning's loggers; their level is set where it is first imported, so it must be by then."""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep Lightning's announcements out of the log; ours say what counts."""
    levels = {name: logging.getLogger(name).level for name in _LOUD}
    try:
        with warnings.catch_warnings():
            _hush()
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def _hush() -> None:
    for name in _LOUD:
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(lightning|torch|tensorboard)\b.*")


class History(Callback):
    """Remembers each epoch's figures, in the checkpoint too, and writes them to a file and the log.

    Args:
        file: JSON file, a list with one dict per epoch.
        epochs: Number of epochs.
        on_epoch: Called after each epoch with its figures; not where several processes train.
        identity: Digest of all that makes this training the one it is; a checkpoint of another is not taken up.
    """

    def __init__(
        self,
        file: Path,
        epochs: int,
        on_epoch: Callable[[dict[str, float]], None] | None = None,
        identity: str | None = None,
    ) -> None:
        self.rows: list[dict[str, float]] = []
        self._identity = identity
        self._file, self._epochs, self._on_epoch = file, epochs, on_epoch
        self._lr = 0.0

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_on_epoch": None}  # sent to another process: what it calls stays behind

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Set up the log of a training process, where nobody else does."""
        self.__dict__.update(state)
        _hush()
        if not log.handlers:
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
        written.write_json(self._file, self.rows)
        shown = f"loss {row.get('train_loss', math.nan):.4f}, top-1 {100 * row.get('train_top1', math.nan):.1f} %"
        if "val_top1" in row:
            shown += f"; val loss {row['val_loss']:.4f}, top-1 {100 * row['val_top1']:.1f} %"
        log.info("epoch %d of %d: %s; lr %.2g", row["epoch"], self._epochs, shown, self._lr)
        if self._on_epoch is not None:
            self._on_epoch(row)

    def state_dict(self) -> dict[str, Any]:
        """Return what the checkpoint keeps."""
        return {"rows": self.rows, "identity": self._identity}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up where the checkpoint was written."""
        self.rows = list(state_dict["rows"])


class WholeFiles(TorchCheckpointIO):
    """Writes a checkpoint whole or not at all; Lightning's own is copied to its place from another disk."""

    def save_checkpoint(self, checkpoint: Mapping[str, Any], path: Any, storage_options: Any = None) -> None:  # noqa: ANN401
        """Write it."""
        data, final = io.BytesIO(), Path(path)
        torch.save(checkpoint, data)
        final.parent.mkdir(parents=True, exist_ok=True)
        with written.draft(final) as part:
            part.write_bytes(data.getbuffer())


class Kept(ModelCheckpoint):
    """Lightning's, but a run's folder may be moved: the best score so far holds wherever the folder lies."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up where the checkpoint was written."""
        super().load_state_dict({**state_dict, "dirpath": self.dirpath})


def kept(folder: Path, name: str, monitor: str | None = None) -> ModelCheckpoint:
    """Return what writes ``<folder>/<name>.ckpt`` at the end of an epoch: each, or the best by ``monitor``."""
    # Lightning's own choice is the end of a validation, which not every epoch has, and which comes before History.
    return Kept(folder, name, monitor=monitor, mode="max", save_on_train_epoch_end=True, enable_version_counter=False)


def run(
    spec: ExperimentSpec,
    accelerator: str,
    module: LightningModule,
    loaders: LightningDataModule,
    *,
    validated: bool,
    identity: str,
    on_epoch: Callable[[dict[str, float]], None] | None = None,
) -> int:
    """Train an experiment, or go on after its last whole epoch; return how many epochs there were before.

    Args:
        spec: The experiment.
        accelerator: ``gpu`` or ``cpu``.
        module: What to train.
        loaders: On what.
        validated: Whether there are clips to validate on.
        identity: See ``History``.
        on_epoch: Called after each epoch with its figures.

    Raises:
        AraflowError: See ``fit``.
        OutputError: What an earlier run has left cannot be read, or is of another training.
    """
    out, settings = Path(spec.out), spec.training
    folder = out / CHECKPOINTS
    history = History(out / "history.json", settings.epochs, on_epoch, identity)
    callbacks: list[Callback] = [history]
    if validated:
        callbacks.append(kept(folder, "best", monitor="val_top1"))
        if settings.early_stopping:
            callbacks.append(EarlyStopping("val_loss", patience=settings.early_stopping, mode="min"))
    # Last, so that the file holds what the others have to say of the epoch.
    callbacks.append(kept(folder, "last"))
    before, stopped = so_far(folder / "last.ckpt", identity)
    if before:
        log.info("going on after epoch %d", before)
    if not stopped:
        with quiet():
            fit(trainer(spec, accelerator, callbacks), module, loaders, folder / "last.ckpt" if before else None)
    return before


def fit(trainer: Trainer, module: LightningModule, loaders: LightningDataModule, checkpoint: Path | None) -> None:
    """Train; Ctrl-C and our errors arrive as what they are, from other processes too.

    Args:
        trainer: As ``trainer`` returned it.
        module: What to train.
        loaders: On what.
        checkpoint: Where to go on; ``None``: from the start.

    Raises:
        AraflowError: Raised while training, here or in a process of several.
        TrainingError: A training process ended without a word.
    """
    try:
        trainer.fit(module, datamodule=loaders, ckpt_path=checkpoint, weights_only=True)
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):  # Lightning's way
            raise KeyboardInterrupt from None
        raise
    except ProcessRaisedException as error:
        # The last one: an error that was raised from another one comes after it.
        found = re.findall(rf"^{re.escape(errors.__name__)}\.(\w+): (.*)", str(error), re.MULTILINE)
        if not found:
            raise _explained(error) from error
        name, message = found[-1]
        raise getattr(errors, name)(message.strip()) from None
    except ProcessExitedException as error:
        raise TrainingError(f"a training process ended ({error}); is there memory for training.devices?") from error
    except RuntimeError as error:
        raise _explained(error) from error


def _explained(error: Exception) -> Exception:
    """Return what a person can do about an error of PyTorch's, or the error itself."""
    text = str(error)
    if "out of memory" in text:
        return TrainingError(
            f"the device has too little memory: lower training.batch_size or the window ({text[:200]})"
        )
    if "DataLoader worker" in text and "exited unexpectedly" in text:
        return TrainingError("a loading process died, perhaps for lack of memory: lower data.workers, or set it to 0")
    return error


_PRECISION = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}


def trainer(spec: ExperimentSpec, accelerator: str, callbacks: list[Callback]) -> Trainer:
    """Return Lightning's trainer for an experiment; several devices of one machine are processes that we spawn."""
    settings = spec.training
    if settings.devices == 1 and _bar.wanted():
        callbacks = [*callbacks, _bar.Bar()]
    return Trainer(
        accelerator=accelerator,
        devices=settings.devices,
        # Spawned, since only that works from a library, a notebook and a Prefect worker alike.
        strategy="auto" if settings.devices == 1 else "ddp_spawn",
        max_epochs=settings.epochs,
        precision=_PRECISION[settings.precision],  # type: ignore[arg-type] # Lightning lists every spelling
        gradient_clip_val=settings.clip_gradient or None,
        deterministic=(True if accelerator == "cpu" else "warn") if settings.deterministic else None,
        check_val_every_n_epoch=settings.validate_every,
        num_sanity_val_steps=0,
        callbacks=callbacks,
        plugins=[WholeFiles()],
        logger=_loggers(spec) or False,
        log_every_n_steps=1,
        default_root_dir=spec.out,
        use_distributed_sampler=False,
        enable_model_summary=False,
        enable_progress_bar=False,
    )


def _loggers(spec: ExperimentSpec) -> list[Any]:
    from lightning.pytorch.loggers import MLFlowLogger, TensorBoardLogger

    found: list[Any] = []
    if spec.training.tensorboard:
        try:
            found.append(TensorBoardLogger(spec.out, name="", version="tensorboard"))
        except ModuleNotFoundError as error:
            raise UnavailableError(
                "training.tensorboard: tensorboard is not installed: pip install tensorboard, or set it to false"
            ) from error
    if spec.training.mlflow:
        try:
            found.append(MLFlowLogger(spec.name, tracking_uri=spec.training.mlflow))
        except ModuleNotFoundError as error:
            raise UnavailableError("training.mlflow: mlflow is not installed: pip install 'araflow[mlflow]'") from error
    return found
