"""The settings of training: how weights are moved, for how long, and on what."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from araflow.core.kinds import Address
from araflow.core.spec import Settings


class OptimizerSpec(Settings):
    """How weights are moved."""

    name: Literal["sgd", "adamw"] = Field("sgd", description="Optimiser.")
    lr: float = Field(5e-4, gt=0, description="Learning rate.")
    momentum: float = Field(0.9, ge=0, lt=1, description="Momentum of sgd.")
    weight_decay: float = Field(5e-4, ge=0, description="Weight decay.")
    schedule: Literal["multi_step", "cosine", "plateau", "constant"] = Field("multi_step", description="Schedule.")
    steps: tuple[Annotated[int, Field(ge=1)], ...] = Field((15, 25), description="Epochs of multi_step's decays.")
    decay: float = Field(0.1, gt=0, lt=1, description="Factor of multi_step and plateau.")
    patience: int = Field(1, ge=0, description="Epochs without gain before plateau decays.")
    min_lr: float = Field(1e-4, ge=0, description="Least learning rate of plateau and cosine.")
    warmup_epochs: int = Field(0, ge=0, description="Epochs of linear warm-up.")

    @model_validator(mode="after")
    def _warm_up_has_a_formula(self) -> Self:
        if self.warmup_epochs and self.schedule == "plateau":
            raise ValueError(
                "warmup_epochs: plateau has no warm-up; use cosine, multi_step or constant, or set it to 0"
            )
        return self


class TrainingSpec(Settings):
    """How long, how fast, how reproducibly."""

    epochs: int = Field(10, ge=1, description="Passes over the training clips.")
    batch_size: int = Field(8, ge=1, description="Windows per step and device. TAO: 2 or 32.")
    optimizer: OptimizerSpec = Field(default_factory=lambda: OptimizerSpec.model_validate({}))
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="Label smoothing of the cross entropy.")
    class_weights: Literal["none", "balanced"] = Field(
        "none", description="balanced: each class weighs the inverse of its number of training clips."
    )
    clip_gradient: float = Field(0.0, ge=0, description="Largest norm of the gradient; 0: no limit.")
    precision: Literal["32", "bf16", "16"] = Field("32", description="Arithmetic: 32-bit, or mixed.")
    early_stopping: int | None = Field(
        None, ge=1, description="Stop after so many validations without gain; null: never. Needs val clips."
    )
    validate_every: int = Field(1, ge=1, description="Epochs between validations.")
    seed: int = Field(1234, ge=0, lt=2**32, description="Seed of weights, order, windows and augmentation.")
    deterministic: bool = Field(True, description="Same bytes on every run, where the device can.")
    accelerator: Literal["auto", "cpu", "gpu"] = Field("auto", description="Device.")
    devices: int = Field(1, ge=1, description="Devices per node.")
    tensorboard: bool = Field(True, description="Write TensorBoard logs.")
    mlflow: Address | None = Field(None, min_length=1, description="Tracking address of MLflow (pip install mlflow).")
