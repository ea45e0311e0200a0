"""Whether the frames of a made clip are turned as is wanted: its fingerprint does not say, its record does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from araflow.core.clip import ClipRecord

if TYPE_CHECKING:
    from araflow.core.spec import Rotation


def as_wanted(record: ClipRecord, rotation: Rotation, source: Path | None) -> bool:
    """Return whether a clip need not be made anew for ``video.rotation``.

    Where the record does not say what was done, its frames are as they are coded, and the source is asked.

    Args:
        record: Of a clip that is made, from a source with the bytes of ``source``.
        rotation: What is wanted.
        source: The clip's source; ``None`` where it is not at hand, which leaves what is made as it is.
    """
    if record.rotation is not None:
        return rotation == "apply" or not (record.rotation or record.mirrored)
    if rotation == "ignore" or source is None:
        return True
    from araflow.media import video  # most runs ask no source

    return not video.orientation(source)
