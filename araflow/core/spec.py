"""The build specification: a frozen tree of settings, read from YAML with dotted overrides.

A wrong setting fails here, before any work starts, with its full path, the allowed values and the nearest match.
Fields marked ``_NO_OUTPUT`` say where things lie or how fast to go; every other field changes what is written and so
takes part in ``BuildSpec.fingerprint``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, Field, model_validator

from araflow.core import resources
from araflow.core._frame_spec import Algorithm as Algorithm
from araflow.core._frame_spec import FlowFormat as FlowFormat
from araflow.core._frame_spec import FrameFormat as FrameFormat
from araflow.core._frame_spec import Naming as Naming
from araflow.core._frame_spec import OpticalSpec, VideoSpec
from araflow.core._frame_spec import Preset as Preset
from araflow.core._frame_spec import Quantizer as Quantizer
from araflow.core._frame_spec import RgbSpec as RgbSpec
from araflow.core._frame_spec import Rotation as Rotation
from araflow.core._frame_spec import Settings as Settings
from araflow.core.fingerprint import digest
from araflow.core.kinds import Address, Output, plugin

_NO_OUTPUT: dict[str, Any] = {"changes_output": False}
if TYPE_CHECKING:
    DatasetName = str
else:  # the names are found by listing folders, which a type checker cannot follow
    DatasetName = plugin("datasets")
Protocol = Literal["official", "random", "group", "auto"]
OnError = Literal["quarantine", "stop"]
Executor = Literal["local", "workers", "dask"]
Subset = Literal["train", "val", "test"]


class SampleSpec(Settings):
    """Size of the drawn sample dataset; read only where ``dataset.name`` is ``sample``."""

    clips_per_class: int = Field(24, ge=1, description="Clips drawn per class.")
    sources_per_class: int = Field(24, ge=1, description="Source titles ('films') per class.")
    width: int = Field(320, ge=64, description="Frame width in pixels.")
    height: int = Field(240, ge=64, description="Frame height in pixels.")
    seed: int = Field(0, ge=0, description="Seed of the drawing.")


class DatasetSpec(Settings):
    """Which clips."""

    name: DatasetName = Field("hmdb51", description="Dataset plug-in.")
    classes: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description="Classes to take, in label order; null takes all, sorted by name, 2 before 10.",
        examples=[["walk", "punch"]],
    )
    source: Address | None = Field(
        None,
        min_length=1,
        description="Folder class/clip, an archive (of archives) or a folder of archives in any layout that mirrors "
        "use, or an http(s) address of one; null: download it.",
        json_schema_extra=_NO_OUTPUT,
    )
    splits: Address | None = Field(
        None,
        min_length=1,
        description="Folder, archive or http(s) address of the official split files; null: as source.",
        json_schema_extra=_NO_OUTPUT,
    )
    subsets: tuple[Subset, ...] = Field(
        ("train", "val"), min_length=1, description="Which of Kinetics' own subsets; other datasets have none."
    )
    clips_per_class: int | None = Field(
        None, ge=1, description="Only so many clips of each class, for a trial; null takes all."
    )
    folder: str | None = Field(
        None, min_length=1, description="Where downloads are kept; null: the cache.", json_schema_extra=_NO_OUTPUT
    )
    mirror: Address | None = Field(
        None,
        min_length=1,
        description="Download from this host (part of its name) or this http(s) address only.",
        json_schema_extra=_NO_OUTPUT,
    )
    keep_archives: bool | None = Field(
        None,
        description="Keep downloaded archives; null: yes, but of Kinetics neither a part's archive nor its videos are "
        "kept once its clips are made.",
        json_schema_extra=_NO_OUTPUT,
    )
    youtube: bool = Field(
        False,
        description="Ask YouTube (yt-dlp) for Kinetics clips that no archive holds; its terms apply.",
        json_schema_extra=_NO_OUTPUT,
    )
    sample: SampleSpec = Field(default_factory=lambda: SampleSpec.model_validate({}))

    @model_validator(mode="after")
    def _classes_are_distinct(self) -> Self:
        if self.classes and len(set(self.classes)) < len(self.classes):
            twice = sorted({name for name in self.classes if self.classes.count(name) > 1})
            raise ValueError(f"classes: named twice: {', '.join(twice)}")
        if len(set(self.subsets)) < len(self.subsets):
            raise ValueError(f"subsets: named twice: {', '.join(self.subsets)}")
        return self


class SplitSpec(Settings):
    """Which clips are for training, validation and test."""

    protocol: Protocol = Field(
        "official",
        description="official: the dataset's own folds; random: floor(test_fraction × class size) per class, seeded; "
        "group: as near to that as possible with no source title on both sides; auto: the split that a list or folder "
        "gives a clip, and random for clips without one.",
    )
    fold: int = Field(1, ge=1, le=3, description="Official fold, 1 to 3.")
    test_fraction: float = Field(0.10, gt=0, lt=1, description="Test share of each class (random, group, auto).")
    val_fraction: float = Field(0.0, ge=0, lt=1, description="Share of each class's training clips set aside as val.")
    seed: int = Field(0, ge=0, description="Seed of random and group splits and of val.")


class RunSpec(Settings):
    """How the work is done. Nothing here changes what is written."""

    workers: int | None = Field(
        None, ge=1, description="Decoding processes; null: one per usable core.", json_schema_extra=_NO_OUTPUT
    )
    shard_size: int = Field(64, ge=1, description="Clips per task.", json_schema_extra=_NO_OUTPUT)
    on_error: OnError = Field(
        "quarantine",
        description="quarantine: a bad clip is a row with its reason; stop: end the run at the first one.",
        json_schema_extra=_NO_OUTPUT,
    )
    clip_timeout: float = Field(
        1800.0,
        gt=0,
        le=7 * 86400,
        description="Seconds one clip may take before its process is ended.",
        json_schema_extra=_NO_OUTPUT,
    )
    retries: int = Field(
        2,
        ge=0,
        le=10,
        description="How often a clip that failed (not a quarantined one) is tried again in a run, after 5, 25, ... s.",
        json_schema_extra=_NO_OUTPUT,
    )
    verify: bool = Field(
        False, description="Read every byte of what is made; make damaged clips anew.", json_schema_extra=_NO_OUTPUT
    )
    engine: Executor = Field(
        "local",
        description="Where clips are made: local: on this machine; workers: by every machine that polls the Prefect "
        "work pool araflow; dask: on a Dask cluster.",
        json_schema_extra=_NO_OUTPUT,
    )
    range_size: int = Field(
        2048,
        ge=1,
        description="Clips per run on a worker, for run.engine=workers: about ten minutes of work, since a run takes "
        "ten seconds to start and a dead machine costs one.",
        json_schema_extra=_NO_OUTPUT,
    )
    dask_address: Address | None = Field(
        None,
        min_length=1,
        description="Address of the Dask scheduler, such as tcp://head:8786, for run.engine=dask.",
        json_schema_extra=_NO_OUTPUT,
    )
    parts_at_once: int = Field(
        1,
        ge=1,
        description="Archives of Kinetics whose videos are on disk at once; more keep more machines busy.",
        json_schema_extra=_NO_OUTPUT,
    )

    @model_validator(mode="after")
    def _dask_has_an_address(self) -> Self:
        if self.engine == "dask" and self.dask_address is None:
            raise ValueError(
                "dask_address: run.engine=dask needs the address of a Dask scheduler, such as tcp://head:8786"
            )
        return self


class BuildSpec(Settings):
    """Everything that a dataset build needs to know."""

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9_-]*$",
        description="Name of the build; its Prefect flow is build-<name>.",
        json_schema_extra=_NO_OUTPUT,
    )
    dataset: DatasetSpec = Field(default_factory=lambda: DatasetSpec.model_validate({}))
    split: SplitSpec = Field(default_factory=lambda: SplitSpec.model_validate({}))
    video: VideoSpec = Field(default_factory=lambda: VideoSpec.model_validate({}))
    rgb: RgbSpec = Field(default_factory=lambda: RgbSpec.model_validate({}))
    optical: OpticalSpec = Field(default_factory=lambda: OpticalSpec.model_validate({}))
    run: RunSpec = Field(default_factory=lambda: RunSpec.model_validate({}))
    out: Output = Field(description="Output folder.", min_length=1, json_schema_extra=_NO_OUTPUT)

    def output_settings(self) -> dict[str, Any]:
        """Return the settings that change what is written, as a nested JSON-ready dict.

        Settings that another one switches off are left out: ``optical.bound`` under ``max_radius``, ``optical.preset``
        for an algorithm without presets, ``split.fold`` or else ``split.test_fraction`` (and the seed, where nothing is
        drawn) by protocol, the sample's size unless the dataset is the sample, subsets unless the dataset has some.
        """
        settings = _output_settings(self)
        if self.optical.quantizer == "max_radius":
            del settings["optical"]["bound"]
        if self.optical.algorithm in ("farneback", "deepflow", "brox"):
            del settings["optical"]["preset"]
        if self.video.rotation == "apply":
            del settings["video"]
        settings["rgb"] = self.rgb.changes()
        for name in ("lossless", "also"):
            if not settings["optical"][name]:
                del settings["optical"][name]
        if self.split.protocol == "official":
            del settings["split"]["test_fraction"]
            if not self.split.val_fraction:
                del settings["split"]["seed"]
        elif self.split.protocol != "auto":
            del settings["split"]["fold"]
        for name, value in list(settings["dataset"].items()):
            if (
                isinstance(value, dict) and name != self.dataset.name
            ):  # a group is of the dataset that it is named after
                del settings["dataset"][name]
        if not resources.has_subsets(self.dataset.name):
            del settings["dataset"]["subsets"]
        if self.dataset.clips_per_class is None:
            del settings["dataset"]["clips_per_class"]
        return settings

    def fingerprint(self) -> str:
        """Return a digest of ``output_settings``: builds of the same input differ only where their fingerprints do."""
        return digest(self.output_settings())


def _output_settings(model: BaseModel) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for name, field in type(model).model_fields.items():
        if isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get("changes_output") is False:
            continue
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            if nested := _output_settings(value):
                settings[name] = nested
        else:
            settings[name] = list(value) if isinstance(value, tuple) else value
    return settings
