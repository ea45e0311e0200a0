"""The settings of an experiment, and what a recogniser knows of itself.

``ExperimentSpec`` is what ``araflow train-eval --spec`` reads. ``ModelSpec`` travels inside every checkpoint and
exported file: with it alone a video can be turned into the tensor that the network was trained on.

Field names follow the field's papers; where NVIDIA TAO's experiment file has the same thing under another name,
``araflow.recognition.tao`` maps it. Defaults are TAO's unless the description says otherwise.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from araflow.core.addresses import local
from araflow.core.errors import SpecError
from araflow.core.kinds import plugin
from araflow.core.spec import Protocol, Settings, SplitSpec
from araflow.core.words import counted
from araflow.recognition import models
from araflow.recognition._training_spec import TrainingSpec
from araflow.recognition.flow_storage import FlowScale, FlowStorage
from araflow.recognition.frame_storage import FrameStorage
from araflow.recognition.streams import CHANNELS, STREAMS, Modality, Stream, StreamSpec

if TYPE_CHECKING:
    ArchitectureName = str
else:
    ArchitectureName = plugin("recognition/models")
Sampler = Literal["consecutive", "random_interval", "segments", "dense"]
ShortClip = Literal["loop", "repeat", "refuse"]
Crop = Literal["random", "multi_scale", "none"]
EvaluationMode = Literal["center", "conv", "all"]
Compatibility = Literal["none", "tao"]

_Path = Annotated[str, AfterValidator(local), AfterValidator(os.path.expanduser), Field(min_length=1)]
_Fraction = Annotated[float, Field(ge=0, le=1)]


class WeightsSpec(Settings):
    """Files to start from; null starts from random weights. Nothing is downloaded."""

    rgb: _Path | None = Field(None, description="Weights for the rgb network (or the rgb branch of joint).")
    flow: _Path | None = Field(None, description="Weights for the flow network (or the flow branch of joint).")
    joint: _Path | None = Field(None, description="Weights for a whole joint network.")


class NetworkSpec(Settings):
    """Which network."""

    architecture: ArchitectureName = Field("arn_2d", description="Architecture; see `araflow models`.")
    modality: Modality = Field("rgb", description="rgb, flow, or joint: both networks with a learned late fusion.")
    depth: int | None = Field(None, description="Layers of a residual network; null: the architecture's first (18).")
    dropout: float = Field(0.5, ge=0, lt=1, description="Dropout before the classifier.")
    hidden: int = Field(64, ge=1, le=65536, description="Hidden units of the joint head.")
    rgb: StreamSpec = Field(default_factory=lambda: StreamSpec.model_validate({}))
    flow: StreamSpec = Field(default_factory=lambda: StreamSpec.model_validate({}))
    weights: WeightsSpec = Field(default_factory=lambda: WeightsSpec.model_validate({}))
    freeze: tuple[str, ...] = Field(
        (),
        description="Parameters to keep fixed: beginnings of their names, such as [conv1, bn1, layer1].",
        examples=[["conv1", "bn1", "layer1"]],
    )

    @model_validator(mode="before")
    @classmethod
    def _published(cls, tree: Any) -> Any:  # noqa: ANN401 - whatever is to be validated
        """Fill in what is not set of the windows: as the architecture was published."""
        filled, family = _tree(tree), _architecture(tree)
        if filled is None or family is None:
            return tree
        for stream in CHANNELS:
            given = _tree(filled.get(stream, {}))
            if given is not None:
                filled[stream] = {**models.published(family, stream).model_dump(), **given}
        return filled

    @model_validator(mode="after")
    def _streams(self) -> Self:
        for stream in STREAMS[self.modality]:
            spec: StreamSpec = getattr(self, stream)
            for name, values in (("mean", spec.mean), ("std", spec.std)):
                if len(values) not in (1, CHANNELS[stream]):
                    raise ValueError(f"{stream}.{name}: give 1 or {CHANNELS[stream]} values (found {len(values)})")
        for name in ("rgb", "flow", "joint"):
            if getattr(self.weights, name) is not None and name not in (*STREAMS[self.modality], self.modality):
                raise ValueError(f"weights.{name}: a network for {self.modality} has no use for it")
        return self


def _tree(value: object) -> dict[str, Any] | None:
    """Return settings as they were given; ``None`` where they are no group of settings."""
    if isinstance(value, Settings):
        return value.model_dump(exclude_unset=True)
    return dict(value) if isinstance(value, Mapping) else None


def _architecture(network: object) -> models.Architecture | None:
    """Return the architecture that a network's settings name, if there is one of that name."""
    name = (_tree(network) or {}).get("architecture", NetworkSpec.model_fields["architecture"].default)
    try:
        return models.load(str(name))
    except SpecError:
        return None  # validation says which there are


class DataSpec(Settings):
    """From manifest rows to windows of frames."""

    sampler: Sampler = Field(
        "consecutive",
        description="consecutive: every sample_rate-th frame, random start; dense: likewise with the step at which a "
        "window spans 64 frames; random_interval: one frame of each of equal whole intervals; segments: one frame of "
        "each of equal segments that together are the whole clip.",
    )
    sample_rate: int = Field(1, ge=1, le=10_000, description="Step between frames (consecutive).")
    short_clip: ShortClip = Field(
        "loop", description="Clips shorter than a window: loop, repeat the last frame, or refuse to train."
    )
    clips_per_video: int = Field(1, ge=1, le=10_000, description="Windows of each training clip per epoch.")
    short_side: int = Field(256, ge=16, le=8192, description="Short side in pixels before a random or centre crop.")
    crop: Crop = Field(
        "random", description="Training crop: random; multi_scale: one of `scales` at one of 13 places; none: stretch."
    )
    scales: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(
        (1.0,), min_length=1, description="Side of a multi_scale crop over the short side."
    )
    flip: _Fraction = Field(0.5, description="Probability of mirroring; flow is mirrored with u negated.")
    brightness: float = Field(0.0, ge=0, le=1, description="rgb: brightness factor drawn from 1 ± this, per window.")
    contrast: float = Field(0.0, ge=0, le=1, description="rgb: contrast factor drawn from 1 ± this, per window.")
    saturation: float = Field(0.0, ge=0, le=1, description="rgb: saturation factor drawn from 1 ± this, per window.")
    flow_scale: FlowScale = Field(
        "stored",
        description="stored: the 8-bit levels as they are; pixels: ±20 pixels per frame become 0 and 255, by the "
        "quantiser and radii of the manifest, so that speed is the same in every clip.",
    )
    center_crop: bool = Field(False, description="Evaluate on a centre crop instead of the stretched frame.")
    workers: int | None = Field(None, ge=0, description="Loading processes; null: one per usable core, at most 8.")


class EvaluationSpec(Settings):
    """How clips are scored."""

    mode: EvaluationMode = Field(
        "center", description="center: one window; conv: `segments` windows; all: every window without overlap."
    )
    segments: int = Field(10, ge=1, le=10_000, description="Windows of conv.")
    batch_size: int = Field(
        8, ge=1, description="Windows at once on a GPU; a CPU takes 4. Does not change the answers."
    )
    absent_classes: Literal["refuse", "report"] = Field(
        "refuse", description="What to do where no test clip shows some class: refuse, or leave it out of the means."
    )
    compat: Compatibility = Field(
        "none", description="tao: count each video's first window twice, as NVIDIA TAO's evaluation does."
    )


class Views(Settings):
    """By which windows a recogniser was evaluated, so that it looks at new videos in the same way."""

    mode: EvaluationMode = "conv"
    segments: int = Field(10, ge=1, le=10_000)

    def told(self) -> str:
        """Return a few words that say which windows these are."""
        if self.mode == "conv":
            return f"conv: {counted(self.segments, 'window')} over the whole video"
        return {"center": "center: one window in the middle", "all": "all: every window"}[self.mode]


class DeploySpec(Settings):
    """What is made of the recogniser."""

    export: bool = Field(True, description="Write model.onnx; needs pip install 'araflow[export]'.")
    precision: Literal["fp32", "fp16"] = Field("fp32", description="What the file computes in.")
    opset: Literal[17, 18] = Field(17, description="Version of ONNX's operators.")
    engine: bool = Field(True, description="Build a TensorRT engine, where TensorRT and a GPU are there.")
    batch: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] = Field(
        (1, 4, 16), description="Fewest, usual and most windows that an engine takes at once."
    )
    bench_seconds: float = Field(
        1.0, ge=0, description="Seconds to time each batch size for, two batches at least; 0: not timed."
    )

    @field_validator("batch")
    @classmethod
    def _rises(cls, value: tuple[int, int, int]) -> tuple[int, int, int]:
        if list(value) != sorted(value):
            raise ValueError("give fewest, usual and most, none below the one before")
        return value


class ExperimentSpec(Settings):
    """Everything that ``araflow train-eval`` needs to know."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", description="Name of the experiment.")
    manifest: _Path = Field(description="A manifest, or a build's output folder.")
    out: _Path = Field(description="Folder of the run.")
    network: NetworkSpec = Field(default_factory=lambda: NetworkSpec.model_validate({}))
    data: DataSpec = Field(default_factory=lambda: DataSpec.model_validate({}))
    split: SplitSpec | None = Field(None, description="Split anew by this; null: as the manifest says.")
    protocols: tuple[Protocol, ...] | None = Field(
        None, min_length=1, description="Train and evaluate under each of these, side by side; null: `split` alone."
    )
    training: TrainingSpec = Field(default_factory=lambda: TrainingSpec.model_validate({}))
    evaluation: EvaluationSpec = Field(default_factory=lambda: EvaluationSpec.model_validate({}))
    deploy: DeploySpec = Field(default_factory=lambda: DeploySpec.model_validate({}))
    shuffle_labels: bool = Field(
        False, description="A control: train on labels dealt out at random; accuracy must then be near chance."
    )

    @model_validator(mode="before")
    @classmethod
    def _published(cls, tree: Any) -> Any:  # noqa: ANN401 - whatever is to be validated
        """Fill in the short side that the architecture was published with, where it is not set."""
        family = _architecture(tree.get("network")) if isinstance(tree, Mapping) else None
        data = _tree(tree.get("data", {})) if family is not None else None
        if family is None or data is None:
            return tree
        return {**tree, "data": {"short_side": family.SHORT_SIDE, **data}}

    @field_validator("protocols")
    @classmethod
    def _distinct(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value and len(set(value)) < len(value):
            raise ValueError("named twice")
        return value


class ModelSpec(Settings):
    """What a recogniser knows of itself."""

    network: NetworkSpec
    labels: tuple[Annotated[str, Field(max_length=1000)], ...] = Field(min_length=2, max_length=100_000)
    sampler: Sampler = "consecutive"
    sample_rate: int = Field(1, ge=1, le=10_000)
    short_clip: ShortClip = "loop"
    short_side: int = Field(256, ge=16, le=8192)
    center_crop: bool = False
    frames: FrameStorage = Field(default_factory=FrameStorage)
    flow: FlowStorage | None = None
    views: Views | None = None
    """The windows that it was evaluated by; ``None``: not known, as of recognisers before there was this field."""
    split: SplitSpec | None = None
    """How training clips were told from test clips; ``None``: as the manifest says."""
    manifest_sha256: str | None = None
    """SHA-256 of the manifest's bytes that it was trained on, hexadecimal."""
    software: dict[str, str] = Field(default_factory=dict)

    @property
    def streams(self) -> tuple[Stream, ...]:
        """The streams that it takes, in order."""
        return STREAMS[self.network.modality]

    @property
    def windows(self) -> dict[Stream, StreamSpec]:
        """The window of each of its streams, in order."""
        return {name: getattr(self.network, name) for name in STREAMS[self.network.modality]}

    def looking(self, mode: EvaluationMode | None = None, segments: int | None = None) -> Views:
        """Return the windows by which it looks at a video: as asked for, else as in its evaluation, else ``conv``.

        Args:
            mode: ``center``, ``conv`` or ``all``; ``None``: as in its evaluation.
            segments: Windows of ``conv``; ``None``: as in its evaluation, or 10.
        """
        own = self.views or Views()
        return Views(mode=mode or own.mode, segments=segments or own.segments)

    def stream(self, name: str) -> StreamSpec:
        """Return the stream's own settings."""
        spec: StreamSpec = getattr(self.network, name)
        return spec

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict; ``ModelSpec.model_validate`` reads it back."""
        return self.model_dump(mode="json")
