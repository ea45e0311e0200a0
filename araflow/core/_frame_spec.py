"""The settings of frames and their optical flow: how videos are read, and what is written of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator

from araflow.core.kinds import plugin

if TYPE_CHECKING:
    BackendName = str
else:  # the names are found by listing folders, which a type checker cannot follow
    BackendName = plugin("optical/backends", "auto")
Algorithm = Literal["auto", "dis", "farneback", "tvl1", "deepflow", "brox", "hardware"]
Preset = Literal["fastest", "fast", "balanced", "accurate"]
Rotation = Literal["apply", "ignore"]
Quantizer = Literal["bound", "max_radius"]
Naming = Literal["card", "recipe"]
FrameFormat = Literal["png", "jpeg"]
FlowFormat = Literal["flo", "npy16", "npy32", "film"]


class Settings(BaseModel):
    """Base of every group of settings: frozen, no unknown keys, no infinities."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class VideoSpec(Settings):
    """How videos are read."""

    rotation: Rotation = Field(
        "apply", description="apply: frames are rotated and mirrored as the file asks; ignore: they stay as coded."
    )


class RgbSpec(Settings):
    """How frames are written."""

    naming: Naming = Field(
        "card", description="card: 0000.png from 0, wider where a clip needs it; recipe: 000001.png from 1."
    )
    max_frames: int | None = Field(None, ge=2, description="Stop after this many frames; null takes all.")
    short_side: int | None = Field(
        None,
        ge=16,
        le=8192,
        description="Scale frames so that the shorter side has this many pixels; smaller ones, and null, stay as they "
        "are. Flow is that of the scaled frames.",
        examples=[256],
    )
    format: FrameFormat = Field(
        "png", description="png: lossless; jpeg: a quarter to a tenth of the bytes. Flow is that of the stored frames."
    )
    jpeg_quality: int = Field(95, ge=1, le=100, description="Quality of frames as JPEG, 4:2:0; read for jpeg only.")

    fps: float | None = Field(
        None,
        gt=0,
        le=1000,
        description="Take so many frames of each second: those that a player shows then, some left out or twice; null "
        "takes each as it comes.",
        examples=[15],
    )

    def changes(self) -> dict[str, Any]:
        """Return the settings of this group that change a file; of those that came later, only what is switched on."""
        found = self.model_dump()
        if self.format == "png":
            del found["format"], found["jpeg_quality"]
        for name in ("short_side", "fps"):
            if found[name] is None:
                del found[name]
        return found


class OpticalSpec(Settings):
    """How optical flow is computed and stored."""

    backend: BackendName = Field("auto", description="auto takes the best one present and says which.")
    algorithm: Algorithm = Field(
        "auto", description="Optical-flow algorithm; auto takes the backend's own best: its engine, or dis on a CPU."
    )
    preset: Preset = Field("balanced", description="Speed against error; see `araflow flow --list`.")
    quantizer: Quantizer = Field(
        "bound", description="bound: fixed ±bound pixels per frame; max_radius: NVIDIA's per-frame scale."
    )
    bound: float = Field(20.0, gt=0, le=4096, description="Largest storable |u|, |v| in pixels per frame.")
    jpeg_quality: int = Field(95, ge=1, le=100, description="JPEG quality of the u and v images.")
    lossless: bool = Field(
        False, description="Also store each flow field as a 16-bit PNG (KITTI's convention, steps of 1/64 pixel)."
    )
    also: tuple[FlowFormat, ...] = Field(
        (),
        description="Also store flow as these: flo: Middlebury's, float32; npy16, npy32: NumPy's, float16 or float32; "
        "film: a film of each clip to look at, direction as hue.",
        examples=[["flo", "film"]],
    )

    @field_validator("also")
    @classmethod
    def _in_order(cls, value: tuple[FlowFormat, ...]) -> tuple[FlowFormat, ...]:
        """In one order, so that another one is no other setting."""
        return tuple(sorted(set(value), key=get_args(FlowFormat).index))
