"""In what form frames are kept: how large, and as PNG or JPEG. ``frame_files`` has what makes and scales them."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # worker processes start sooner without the settings' machinery
    from araflow.core.spec import FrameFormat, RgbSpec


@dataclasses.dataclass(frozen=True, slots=True)
class FrameForm:
    """In what form frames are kept.

    Attributes:
        short_side: Of larger frames, the pixels of the shorter side once they are scaled; ``None``: they stay as they
            are.
        format: Of their files.
        jpeg_quality: 1 to 100, for ``jpeg``.
        fps: Frames that are taken of a second; ``None``: each as it comes.
    """

    short_side: int | None = None
    format: FrameFormat = "png"
    jpeg_quality: int | None = None
    fps: float | None = None

    @classmethod
    def of(cls, spec: RgbSpec) -> FrameForm:
        """Return the form that settings ask for."""
        return cls(spec.short_side, spec.format, spec.jpeg_quality if spec.format == "jpeg" else None, spec.fps)

    def changes(self) -> dict[str, Any]:
        """Return, JSON-ready, in what frames kept so are not as they were decoded; nothing by default."""
        found = {name: value for name, value in dataclasses.asdict(self).items() if value is not None}
        if self.format == "png":
            del found["format"]
        return {f"frame_{name}": value for name, value in found.items()}

    def __str__(self) -> str:
        """Name it for people, such as ``15 per second, short side 256, JPEG 95``."""
        rate = None if self.fps is None else f"{self.fps:g} per second"
        side = None if self.short_side is None else f"short side {self.short_side}"
        file = None if self.format == "png" else f"JPEG {self.jpeg_quality or 'of unknown quality'}"
        return ", ".join(filter(None, (rate, side, file))) or "as decoded"

    @property
    def suffix(self) -> str:
        """How the files end, such as ``.png``."""
        return ".jpg" if self.format == "jpeg" else ".png"

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Return how wide and high frames of a size are kept, in pixels."""
        shorter = min(width, height)
        if self.short_side is None or shorter <= self.short_side:
            return width, height
        wide, high = ((2 * side * self.short_side + shorter) // (2 * shorter) for side in (width, height))
        return wide, high


AS_DECODED = FrameForm()
"""The form of frames of which nothing else is asked."""
