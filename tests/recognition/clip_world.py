"""A small manifest with its files, written by hand: known pictures, known flow."""

from pathlib import Path

import cv2
import numpy as np

from araflow.core.clip import Clip, ClipRecord, Outcome
from araflow.media.png import PngEncoder
from araflow.store.manifest import Manifest

LABELS = ("walk", "run", "push")
HEIGHT, WIDTH = 24, 32


def write_clip(folder, rgb, u, v):
    """Write pictures as a build does: rgb (n, height, width, 3), u and v (n - 1, height, width), all uint8."""
    for kind in ("rgb", "u", "v"):
        (folder / kind).mkdir(parents=True)
    encoder = PngEncoder(*rgb.shape[1:3])
    for number, picture in enumerate(rgb):
        (folder / "rgb" / f"{number:04d}.png").write_bytes(encoder.encode(picture))
    for kind, fields in (("u", u), ("v", v)):
        for number, field in enumerate(fields):
            done, data = cv2.imencode(".jpg", field, [cv2.IMWRITE_JPEG_QUALITY, 95])
            assert done
            (folder / kind / f"{number:04d}.jpg").write_bytes(data.tobytes())


def make(folder: Path, per_class=4, frames=12, quantizer="bound"):
    """Make a manifest: frame k is grey k + 10, u of field k is 100 + k, v is 200 - k; every fourth clip is for test.

    One clip more of each class could not be made.
    """
    clips, records, split_of = [], [], {}
    for label in LABELS:
        for number in range(per_class + 1):
            key, good = f"{label}/{number}", number < per_class
            count = frames + number
            folds = tuple(2 if number % 4 == fold else 1 for fold in range(3))
            clips.append(Clip("sample", key, label, group=f"film{number // 2}", folds=folds, name=f"{key}.avi"))
            split_of[key] = "test" if number % 4 == 0 else "train"
            if not good:
                records.append(ClipRecord(key, Outcome.QUARANTINED, "truncated: it ends early"))
                continue
            grey = np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None], (count, HEIGHT, WIDTH))
            write_clip(folder / "clips" / key, np.stack([grey + 10] * 3, -1), grey[:-1] + 100, 200 - grey[:-1])
            records.append(
                ClipRecord(
                    key,
                    Outcome.DONE,
                    "complete",
                    width=WIDTH,
                    height=HEIGHT,
                    frames=count,
                    flows=count - 1,
                    backend="opencv",
                    algorithm="dis",
                    preset="balanced",
                    quantizer=quantizer,
                    bound=20.0 if quantizer == "bound" else None,
                    radii=None if quantizer == "bound" else tuple(2.0 + k for k in range(count - 1)),
                )
            )
    return Manifest.of(clips, records, labels=LABELS, split_of=split_of, metadata={"labels": LABELS}, folder=folder)
