"""In what form the frames were kept that a recogniser was trained on, so that new videos are seen in the same.

Flow of scaled frames has smaller numbers, and flow over longer times larger ones; a network knows neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import Field

from araflow.core.clip import Outcome
from araflow.core.errors import ManifestError, SpecError
from araflow.core.reading import problem_of
from araflow.core.spec import FrameFormat, Rotation, Settings
from araflow.media.frame_form import FrameForm

if TYPE_CHECKING:
    from araflow.store.manifest import Manifest

COLUMNS = {"rgb_fps": "fps", "short_side": "short_side", "rgb_format": "format", "rgb_quality": "jpeg_quality"}
"""Columns of a manifest that say so, and the fields that hold them; null stands for a field's default."""


class FrameStorage(Settings):
    """In what form frames were kept; by default as they were decoded, which is all that older versions did.

    Attributes:
        fps: Frames that were taken of a second; ``None``: each as it came.
        short_side: What the shorter side of larger frames was scaled to, in pixels; ``None``: they were not.
        format: Of their files.
        jpeg_quality: Of frames that are JPEG, 1 to 100.
        rotation: Whether they were turned as their videos ask for.
    """

    fps: float | None = Field(None, gt=0, le=10_000)
    short_side: int | None = Field(None, ge=1, le=8192)
    format: FrameFormat = "png"
    jpeg_quality: int | None = Field(None, ge=1, le=100)
    rotation: Rotation = "apply"

    def __str__(self) -> str:
        return str(self.form) + ("" if self.upright else ", not turned as videos ask for")

    @property
    def upright(self) -> bool:
        """As ``araflow.media.video.read`` takes it."""
        return self.rotation == "apply"

    @property
    def form(self) -> FrameForm:
        """The same for those who make frames."""
        return FrameForm(**self.model_dump(exclude={"rotation"}))


def of_manifest(manifest: Manifest, name: str) -> FrameStorage:
    """Return in what form the frames of a manifest's finished clips are kept.

    Args:
        manifest: With the columns ``COLUMNS`` and ``outcome``.
        name: What it is called, for messages.

    Raises:
        SpecError: Not all in one.
        ManifestError: A row says what cannot be.
    """
    table = manifest.select(outcome=Outcome.DONE).table.select(list(COLUMNS))
    rows = table.group_by(list(COLUMNS)).aggregate([]).to_pylist()
    rotation = manifest.settings.get("video", {}).get("rotation", "apply")
    found = {str(one): one for one in (_of_row(row | {"rotation": rotation}, name) for row in rows)}
    if len(found) > 1:
        raise SpecError(f"manifest: frames of {name} are kept in several forms ({'; '.join(found)}): build it again")
    return next(iter(found.values()), FrameStorage())


def _of_row(row: Mapping[str, Any], name: str) -> FrameStorage:
    fields = {**COLUMNS, "rotation": "rotation"}
    try:
        return FrameStorage.model_validate({own: row[its] for its, own in fields.items() if row[its] is not None})
    except ValueError as error:
        raise ManifestError(
            f"manifest: {name}: how its frames are kept: {problem_of(error)}; build it again"
        ) from error
