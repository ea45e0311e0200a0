"""What scaling frames and keeping them as JPEG costs: bytes, and how far their flow is from that of the decoded frames.

``python -m benchmarks.frame_forms FOLDER`` takes videos of a folder, computes the flow of some pairs of frames in each
form, and compares it with the flow of the frames as they are decoded, in pixels of those: the mean end-point
difference, of all pairs, with a 95 % interval by resampling clips (1,000 times). ``--known`` takes the folder's pairs
of frames in Middlebury's naming instead, whose flow is known, and gives the mean end-point error in each form.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from araflow import optical
from araflow.media import frame_files, video
from araflow.media.fields import FlowField
from araflow.media.flow_files import read_flo
from araflow.media.frame_form import AS_DECODED, FrameForm
from araflow.media.png_reader import read_png
from araflow.media.source_files import VIDEO_SUFFIXES
from araflow.optical.quality.pairs import MIDDLEBURY

FORMS = {
    "png": AS_DECODED,
    "jpeg 95": FrameForm(format="jpeg", jpeg_quality=95),
    "jpeg 90": FrameForm(format="jpeg", jpeg_quality=90),
    "jpeg 75": FrameForm(format="jpeg", jpeg_quality=75),
    "short side 160": FrameForm(short_side=160),
    "short side 160, jpeg 95": FrameForm(160, "jpeg", 95),
    "short side 120": FrameForm(short_side=120),
}
_RESAMPLED = 1000


def flow_of(pair: tuple[NDArray[np.uint8], NDArray[np.uint8]], form: FrameForm) -> tuple[FlowField, int]:
    """Return the flow of a pair in a form, in pixels of the decoded frames and as large as they are, and its bytes."""
    height, width = pair[0].shape[:2]
    small = frame_files.scaled(pair[0], form)
    size = len(frame_files.encoder(form, small.shape[1], small.shape[0])(small))
    grays = (np.asarray(cv2.cvtColor(frame_files.seen(one, form), cv2.COLOR_RGB2GRAY), np.uint8) for one in pair)
    (flow,) = optical.load("opencv").compute(grays, "dis", "balanced")
    if flow.shape[:2] != (height, width):
        scale = np.float32([width / flow.shape[1], height / flow.shape[0]])
        flow = np.asarray(cv2.resize(flow, (width, height), interpolation=cv2.INTER_LINEAR) * scale, np.float32)
    return flow, size


def measure(path: Path, pairs: int) -> NDArray[np.float64]:
    """Return per form: bytes, speed, end-point difference, share beyond a pixel; means over a clip's pairs."""
    with_gaps = itertools.islice(itertools.pairwise(frame.copy() for frame in video.read(path)[1]), 0, None, 5)
    rows = []
    for pair in itertools.islice(with_gaps, pairs):
        plain = flow_of(pair, AS_DECODED)[0]
        row = []
        for form in FORMS.values():
            flow, size = flow_of(pair, form)
            apart = np.linalg.norm(flow - plain, axis=2)
            row.append((size, np.linalg.norm(plain, axis=2).mean(), apart.mean(), (apart > 1).mean()))
        rows.append(row)
    return np.mean(rows, axis=0)


def known(folder: Path) -> None:
    """Print the errors on pairs whose flow is known."""
    print("| pair | " + " | ".join(FORMS) + " |\n|---|" + "--:|" * len(FORMS))
    rows = []
    for path in sorted(folder.iterdir()):
        first, second = (read_png(path / name) for name in MIDDLEBURY[:2])
        truth, valid = read_flo(path / MIDDLEBURY[2])
        flows = (flow_of((first, second), form)[0] for form in FORMS.values())
        rows.append([np.linalg.norm(flow - truth, axis=2)[valid].mean() for flow in flows])
        print(f"| {path.name} | " + " | ".join(f"{error:.3f}" for error in rows[-1]) + " |")
    print("| mean | " + " | ".join(f"{error:.3f}" for error in np.mean(rows, axis=0)) + " |")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--known", action="store_true")
    parser.add_argument("--clips", type=int, default=60)
    parser.add_argument("--pairs", type=int, default=6)
    given = parser.parse_args()
    cv2.setNumThreads(1)
    if given.known:
        known(given.folder)
        return
    every = sorted(path for path in given.folder.rglob("*") if path.suffix.lower() in VIDEO_SUFFIXES)
    chosen = every[:: max(1, len(every) // given.clips)][: given.clips]
    found = np.stack([measure(path, given.pairs) for path in chosen])
    draws = np.random.default_rng(0).integers(0, len(found), (_RESAMPLED, len(found)))
    print(f"{len(found)} clips, mean speed {found[:, 0, 1].mean():.2f} pixels per frame\n")
    print("| frames | bytes | difference, px | 95 % interval | > 1 px, % |\n|---|--:|--:|--:|--:|")
    for number, name in enumerate(FORMS):
        size, _, apart, beyond = found[:, number].mean(0)
        low, high = np.percentile(found[:, number, 2][draws].mean(1), (2.5, 97.5))
        print(f"| {name} | {size:,.0f} | {apart:.3f} | {low:.3f} to {high:.3f} | {100 * beyond:.1f} |")


if __name__ == "__main__":
    main()
