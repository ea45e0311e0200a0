"""Pictures of a dataset: frames with their optical flow beneath, as colour."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from araflow.core.clip import Outcome
from araflow.core.errors import ManifestError, OutputError
from araflow.core.files import replace
from araflow.media.colours import flow_colours
from araflow.media.quantize import dequantize
from araflow.store.manifest import Manifest
from araflow.store.places import reached, scan

CONTACT_SHEET = "contact_sheet.jpg"
_CELL = 240
"""Width of one picture in pixels."""
_COLUMNS = 4
_MOST_CLIPS = 6


def write_contact_sheet(manifest: Manifest) -> Path | None:
    """Draw the first finished clip of each class: four frames, and the flow from each to the next beneath it.

    Returns:
        The picture's path, ``contact_sheet.jpg`` beside the manifest; ``None`` if no clip is finished.

    Raises:
        ManifestError: A frame does not decode.
        OutputError: The picture cannot be written, or the manifest lies at an address, which cannot be reached.
    """
    with reached(manifest.folder):
        return _write_contact_sheet(manifest)


def _write_contact_sheet(manifest: Manifest) -> Path | None:
    chosen: dict[Any, dict[str, Any]] = {}
    for row in manifest.rows():
        if row["outcome"] == Outcome.DONE:
            chosen.setdefault(row["label"] or row["key"], row)
    path = manifest.folder / CONTACT_SHEET
    if not chosen:
        path.unlink(missing_ok=True)  # it would show clips that are not there
        return None
    shown = list(chosen.values())[:_MOST_CLIPS]
    height = min(max(round(_CELL * row["height"] / row["width"]) for row in shown), 3 * _CELL)
    strips = [_strip(manifest.folder, row, height) for row in shown]
    sheet = cv2.cvtColor(np.vstack(strips), cv2.COLOR_RGB2BGR)
    try:
        replace(path, cv2.imencode(".jpg", sheet, (cv2.IMWRITE_JPEG_QUALITY, 88))[1].tobytes())
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error
    return path


def _strip(folder: Path, row: dict[str, Any], height: int) -> NDArray[np.uint8]:
    """One clip: a caption, frames above, flow below."""
    clip = folder / row["path"]
    names = [found.path.stem for found in scan(clip).get("u", ())]
    if not names:
        raise ManifestError(f"{clip}: holds no flow; `araflow manifest validate` finds all such clips")
    frames, flows = [], []
    for position in range(_COLUMNS):
        index = (2 * position + 1) * len(names) // (2 * _COLUMNS)
        rgb = _read(clip / "rgb" / f"{names[index]}.png", cv2.IMREAD_COLOR_RGB)
        u, v = (_read(clip / kind / f"{names[index]}.jpg", cv2.IMREAD_GRAYSCALE) for kind in ("u", "v"))
        radius = row["radii"][index] if row["radii"] else None
        flows.append(dequantize(u, v, bound=row["bound"] if radius is None else None, radius=radius))
        frames.append(_fit(rgb, height))
    # One scale per clip, so that its pictures can be compared; at least 2 pixels, or rest would show as coloured noise.
    fastest = max(2.0, float(np.percentile(np.linalg.norm(np.stack(flows), axis=-1), 99)))
    colours = [_fit(flow_colours(flow, fastest), height) for flow in flows]
    picture = np.vstack([np.hstack(frames), np.hstack(colours)])
    caption = np.full((24, picture.shape[1], 3), 32, np.uint8)
    text = f"{row['label'] or ''}  {row['key'].rpartition('/')[2]}  {row['frames']} frames  {row['split'] or ''}"
    ascii_text = text.encode("ascii", "replace").decode()  # OpenCV's built-in font has nothing else
    cv2.putText(caption, ascii_text, (6, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (235, 235, 235), 1, cv2.LINE_AA)
    return np.vstack([caption, picture])


def _read(path: Path, flags: int) -> NDArray[np.uint8]:
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
    except FileNotFoundError:
        data = np.empty(0, np.uint8)
    image = cv2.imdecode(data, flags) if data.size else None
    if image is None:
        raise ManifestError(f"{path}: does not decode; `araflow manifest validate` finds all such files")
    return cast(NDArray[np.uint8], image)


def _fit(image: NDArray[np.uint8], height: int) -> NDArray[np.uint8]:
    """Scale to the cell's width and pad below to the common height."""
    own = min(max(1, round(_CELL * image.shape[0] / image.shape[1])), height)
    small = cv2.resize(image, (_CELL, own), interpolation=cv2.INTER_AREA)
    padded = cv2.copyMakeBorder(small, 0, height - own, 0, 0, cv2.BORDER_CONSTANT, value=(32, 32, 32))
    return cast(NDArray[np.uint8], padded)
