"""What a recogniser sees: its streams, and the window of each."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from araflow.core.spec import Settings

Stream = Literal["rgb", "flow"]
Modality = Literal["rgb", "flow", "joint"]
Layout = Literal["NCTHW", "N(CT)HW"]
"""Order of a network's axes; in ``N(CT)HW`` all frames of a channel, then all of the next, are one image's channels."""
CHANNELS = {"rgb": 3, "flow": 2}
"""Channels of each stream: R, G, B and u, v."""
CHANNEL_NAMES = {"rgb": ("R", "G", "B"), "flow": ("u", "v")}
"""Their names, in order."""
STREAMS: dict[str, tuple[Stream, ...]] = {"rgb": ("rgb",), "flow": ("flow",), "joint": ("rgb", "flow")}
"""The streams of each modality, in the order in which a network takes them."""
MOST_PIXELS = 1 << 27
"""Pixels of a window, all its frames together; as float32 in three channels they take 1.6 GB."""


class StreamSpec(Settings):
    """What one stream's tensor is: (batch, channels, frames, height, width), ``(x / 255 - mean) / std``.

    In an experiment the defaults are those of the window that the architecture was published with.
    """

    frames: int = Field(32, ge=1, le=4096, description="Frames (or flow fields) in a window.")
    width: int = Field(224, ge=16, le=4096, description="Width in pixels.")
    height: int = Field(224, ge=16, le=4096, description="Height in pixels.")
    mean: tuple[float, ...] = Field(
        (0.5,), min_length=1, description="Mean per channel after division by 255; one value for all."
    )
    std: tuple[float, ...] = Field((0.5,), min_length=1, description="Standard deviation per channel likewise.")

    @model_validator(mode="after")
    def _normalisation(self) -> Self:
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, 2, 3):
                raise ValueError(f"{name}: give one value, or one per channel (found {len(values)})")
        if min(self.std) <= 0:
            raise ValueError("std: must be greater than 0")
        if self.frames * self.width * self.height > MOST_PIXELS:
            raise ValueError(f"a window of more than {MOST_PIXELS:,} pixels in all its frames")
        return self

    def per_channel(self, stream: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return mean and std with one value per channel of ``stream``."""
        count = CHANNELS[stream]
        mean, std = (v * count if len(v) == 1 else v for v in (self.mean, self.std))
        return mean, std
