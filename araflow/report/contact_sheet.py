"""Pictures of a dataset: frames with their optical flow beneath, as colour."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from araflow.core.clip import Outcome
from araflow.core.errors import ManifestError
from araflow.core.screen import visible
from araflow.media import images
from araflow.media.colours import flow_colours
from araflow.media.quantize import dequantize
from araflow.store.address import open_place
from araflow.store.layout import CONTACT_SHEET, KINDS, is_frame
from araflow.store.manifest import Manifest
from araflow.store.place import Place

log = logging.getLogger(__name__)
_CELL = 240
"""Width of one picture in pixels."""
_COLUMNS = 4
_MOST_CLIPS = 6
_UNKNOWN_RADIUS = 8.0
"""Pixels per frame at full scale that ``max_radius`` is shown with where the radii are lost, as in TAO's folders."""


def write_contact_sheet(manifest: Manifest) -> Path | None:
    """Draw the first finished clip of each class: four frames, and the flow from each to the next beneath it.

    The picture says of itself that araflow drew it. One that does not, or was edited since, is the user's, and stays.

    Returns:
        The picture's path, ``contact_sheet.jpg`` beside the manifest; ``None`` if no clip is finished, or there is one
        of the user's.

    Raises:
        ManifestError: A frame does not decode.
        OutputError: The picture cannot be written, or the manifest lies at an address, which cannot be reached.
    """
    place = open_place(manifest.folder)
    chosen: dict[str, int] = {}
    columns = manifest.columns("label", "key", "outcome", "frames", "flows")
    for number, (label, key, outcome, frames, flows) in enumerate(columns):
        if outcome == Outcome.DONE and frames and flows and len(chosen) < _MOST_CLIPS:
            chosen.setdefault(label or key, number)
    if not chosen:
        if _is_free(place):
            place.remove([CONTACT_SHEET])  # it would show clips that are not there
        return None
    shown = [_Strip.of(place, manifest.row(number)) for number in chosen.values()]
    height = min(max(_height(frame) for strip in shown for frame in strip.frames), 3 * _CELL)
    sheet = cv2.cvtColor(np.vstack([strip.draw(height) for strip in shown]), cv2.COLOR_RGB2BGR)
    picture = cv2.imencode(".jpg", sheet, (cv2.IMWRITE_JPEG_QUALITY, 88))[1].tobytes()
    if not _is_free(place, picture):
        log.warning(
            "%s/%s is not what this araflow drew, so it stays as it is, and no picture is drawn: move it away to have "
            "a new one",
            *(place, CONTACT_SHEET),
        )
        return None
    place.replace(CONTACT_SHEET, _signed(picture))
    return manifest.folder / CONTACT_SHEET


def _is_free(place: Place, picture: bytes | None = None) -> bool:
    """Whether there is no picture, or one that araflow drew: it may be replaced."""
    if place.links("", deep=False) & {CONTACT_SHEET}:
        return False
    if CONTACT_SHEET not in place.sizes("", deep=False):
        return not place.exists(CONTACT_SHEET)  # a folder has that name
    there = place.read(CONTACT_SHEET) or b""
    # One of an older araflow, which did not sign, is known by what it shows.
    return there == picture or there == _signed(there[:2] + there[2 + len(_signature(b"")) :])


def _signed(picture: bytes) -> bytes:
    """Return a JPEG file with a comment behind its first marker: that araflow drew it, and the digest of the rest."""
    return picture[:2] + _signature(picture) + picture[2:]


def _signature(picture: bytes) -> bytes:
    text = f"drawn by araflow; sha256 of the rest: {hashlib.sha256(picture).hexdigest()}".encode()
    return b"\xff\xfe" + (2 + len(text)).to_bytes(2, "big") + text


@dataclasses.dataclass(frozen=True, slots=True)
class _Strip:
    """One clip: a caption, frames above, flow below."""

    caption: str
    frames: list[NDArray[np.uint8]]
    colours: list[NDArray[np.uint8]]

    @classmethod
    def of(cls, place: Place, row: dict[str, Any]) -> _Strip:
        """Read a clip; flow k is beside frame k, whatever their names."""
        files = sorted(filter(is_frame, place.sizes(row["path"])))  # beside which others' files may lie
        own = ([name for name in files if name.startswith(f"{kind}/")] for kind in KINDS)
        pairs = list(zip(*own, strict=False))
        if not pairs:
            raise ManifestError(
                f"{place}/{row['path']}: holds no flow; `araflow manifest validate` finds all such clips"
            )
        frames, flows = [], []
        for position in range(_COLUMNS):
            index = (2 * position + 1) * len(pairs) // (2 * _COLUMNS)
            rgb, *fields = pairs[index]
            radius = row["radii"][index] if row["radii"] else None if row["bound"] else _UNKNOWN_RADIUS
            frames.append(_read(place, f"{row['path']}/{rgb}", cv2.IMREAD_COLOR_RGB))
            u, v = (_read(place, f"{row['path']}/{file}", cv2.IMREAD_GRAYSCALE) for file in fields)
            flows.append(dequantize(u, v, bound=row["bound"] if radius is None else None, radius=radius))
        # One scale per clip, so that its pictures can be compared; at least 2 pixels, or rest would show as coloured
        # noise.
        fastest = max(2.0, float(np.percentile(np.linalg.norm(np.stack(flows), axis=-1), 99)))
        caption = f"{row['label'] or ''}  {row['key'].rpartition('/')[2]}  {row['frames']} frames  {row['split'] or ''}"
        return cls(caption, frames, [flow_colours(flow, fastest) for flow in flows])

    def draw(self, height: int) -> NDArray[np.uint8]:
        """Return it with pictures of this height, RGB."""
        rows = [np.hstack([_fit(image, height) for image in images]) for images in (self.frames, self.colours)]
        caption = np.full((24, rows[0].shape[1], 3), 32, np.uint8)
        text = visible(self.caption).encode("ascii", "replace").decode()  # OpenCV's built-in font has nothing else
        cv2.putText(caption, text, (6, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (235, 235, 235), 1, cv2.LINE_AA)
        return np.vstack([caption, *rows])


def _height(image: NDArray[np.uint8]) -> int:
    """Height of a picture that is as wide as a cell."""
    return int(max(1, round(_CELL * image.shape[0] / image.shape[1])))


def _read(place: Place, name: str, flags: int) -> NDArray[np.uint8]:
    try:
        image = images.decode(place.read(name) or b"", flags)
    except images.ImageError as error:
        raise ManifestError(f"{place}/{name}: {error}; a build with --verify makes it anew") from error
    return cast(NDArray[np.uint8], image)


def _fit(image: NDArray[np.uint8], height: int) -> NDArray[np.uint8]:
    """Scale to the cell's width and pad below to the common height."""
    own = min(_height(image), height)
    small = cv2.resize(image, (_CELL, own), interpolation=cv2.INTER_AREA)
    padded = cv2.copyMakeBorder(small, 0, height - own, 0, 0, cv2.BORDER_CONSTANT, value=(32, 32, 32))
    return cast(NDArray[np.uint8], padded)
