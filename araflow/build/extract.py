"""One pass per clip: decode → RGB PNG → gray → optical flow → 8-bit u and v → JPEG. Runs in a worker process.

N frames give N PNG files and N - 1 u and v files; flow k belongs to frames k and k+1. Frames stream: memory does not
grow with the clip's length, and no video is decoded twice. Flow is that of the frames as they are stored, scaled and
through JPEG where that is asked for, so that whoever computes it from the files gets the same.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from araflow import __version__, optical
from araflow.build.beside import beside
from araflow.build.recipe import Recipe
from araflow.build.source import hash_source, stamp
from araflow.core.clip import ClipRecord, Outcome
from araflow.core.errors import ClipError, OutputError, UnavailableError
from araflow.media import frame_files, quantize, steady, video
from araflow.media.fields import GrayFrame
from araflow.media.png_reader import read_png
from araflow.store.draft import ClipDraft
from araflow.store.layout import LOSSLESS, stem
from araflow.store.store import Store

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """One clip to make.

    Attributes:
        key: The clip's key, which is also its path below ``clips``.
        source: Video file, or folder of frames.
        store: Where, bound to a session.
        recipe: How.
        source_bytes: Size of the source in bytes.
        source_sha256: Digest of the source's bytes.
        keep_rgb: The ``rgb`` files are right already; make flow only.
        source_stamp: The source's ``stamp`` from before its bytes were read for the digest; empty if not known.
    """

    key: str
    source: Path
    store: Store
    recipe: Recipe
    source_bytes: int
    source_sha256: str
    keep_rgb: bool
    source_stamp: str = ""

    def was_touched(self) -> bool:
        """Whether the source was written to, replaced or removed since it was looked at."""
        return bool(self.source_stamp) and stamp(self.source) != self.source_stamp

    def changed(self) -> ClipRecord:
        """Return the record of a clip whose source did not stay as it was."""
        return self.record(Outcome.FAILED, "changed: it changed while it was read")

    def record(self, outcome: Outcome, reason: str) -> ClipRecord:
        """Return a record that says what was asked for; what is measured is filled in later."""
        return ClipRecord(
            key=self.key,
            outcome=outcome,
            reason=reason,
            source_bytes=self.source_bytes,
            source_sha256=self.source_sha256,
            backend=self.recipe.backend,
            algorithm=self.recipe.algorithm,
            preset=self.recipe.preset,
            flow_parameters=self.recipe.flow_parameters,
            quantizer=self.recipe.quantizer,
            bound=self.recipe.bound,
            jpeg_quality=self.recipe.jpeg_quality,
            also=",".join(self.recipe.also) or None,
            rgb_format=self.recipe.frames.format,
            rgb_quality=self.recipe.frames.jpeg_quality,
            short_side=self.recipe.frames.short_side,
            fingerprint=self.recipe.fingerprint,
            rgb_fingerprint=self.recipe.rgb_fingerprint,
            software=software(self.recipe.backend),
        )


def software(backend: str = "opencv") -> str:
    """Return the versions of what makes the files."""
    common = f"araflow {__version__}, OpenCV {cv2.__version__}, PyAV {av.__version__}, NumPy {np.__version__}"
    return common if backend == "opencv" else f"{common}, {optical.load(backend).software()}"


def make(job: Job) -> ClipRecord:
    """Make one clip, or say why it cannot be made.

    The clip's folder appears complete under its final name, or not at all.

    Returns:
        A record with outcome ``done``, ``quarantined`` (the clip's own fault) or ``failed`` (its surroundings').

    Raises:
        OutputError: The disk is full or read-only: no clip can be written.
    """
    cv2.setNumThreads(1)  # the pool uses the cores
    bare = job.record(Outcome.QUARANTINED, "")
    measured: dict[str, Any] = {}
    try:
        draft = job.store.begin(*[LOSSLESS] * job.recipe.lossless, *job.recipe.also)
        try:
            _make(job, draft, measured)
            # Its bytes once more, too: a second write in the same tick of the file system's clock leaves the stamp.
            if job.was_touched() or hash_source(job.source)[1] != job.source_sha256:
                return job.changed()
            done = dataclasses.replace(bare, outcome=Outcome.DONE, reason=_completion(measured), **_fields(measured))
            job.store.commit(draft, done, keep_rgb=job.keep_rgb)
        finally:
            draft.discard()  # nothing is left to remove after a commit
        return done
    except ClipError as error:
        if job.was_touched():
            return job.changed()
        return dataclasses.replace(bare, reason=str(error), **_fields(measured, partial=True))
    except UnavailableError as error:  # the device failed, not the clip: tried again next time
        text = f"error: {error}"
        return dataclasses.replace(bare, outcome=Outcome.FAILED, reason=text, **_fields(measured, partial=True))
    except OSError as error:
        if error.errno in _FULL:
            # The output itself, or the cache folder where the output is in object storage.
            raise OutputError(
                f"{job.store.state.parent}: {error.strerror}: nothing more can be written there"
            ) from error
        if job.was_touched():
            return job.changed()
        text = f"io-error: {error.strerror or error}"
        return dataclasses.replace(bare, outcome=Outcome.FAILED, reason=text, **_fields(measured, partial=True))


def _make(job: Job, draft: ClipDraft, measured: dict[str, Any]) -> None:
    """Write all frames; ``measured`` is filled as far as it gets."""
    recipe = job.recipe
    info, frames = video.read(job.source, upright=recipe.rotation == "apply")
    measured.update(info=info, frames=0, flows=0, radii=[], saturated=0, components=0, cut=False)
    fps = recipe.frames.fps
    expected = steady.count(info.header_frames or 0, info.fps, fps)
    expected = min(expected, recipe.max_frames or expected)
    if fps is not None:
        frames = steady.steady(frames, info, fps)
        measured["rgb_fps"] = fps if info.fps else None
    jpeg = (cv2.IMWRITE_JPEG_QUALITY, recipe.jpeg_quality)
    names: list[str] = []
    lossy = recipe.frames.format == "jpeg"

    def grays() -> Iterator[GrayFrame]:
        encode: Callable[[video.RgbFrame], bytes] | None = None
        for index, rgb in enumerate(frames):
            if index == recipe.max_frames:
                measured["cut"] = True
                break
            names.append(stem(recipe.naming, index, expected))
            seen = frame_files.scaled(rgb, recipe.frames)
            if lossy or not job.keep_rgb:
                encode = encode or frame_files.encoder(recipe.frames, seen.shape[1], seen.shape[0])
                data = encode(seen)
                seen = read_png(data) if lossy else seen
                if not job.keep_rgb:
                    draft.write("rgb", names[-1] + recipe.frames.suffix, data)
            measured.update(frames=index + 1, size=(seen.shape[1], seen.shape[0]))
            # Full-range luma of the RGB frame, as every cv2 script computes it; the decoder's Y plane is limited-range.
            yield cv2.cvtColor(seen, cv2.COLOR_RGB2GRAY)  # type: ignore[misc]

    backend = optical.load(recipe.backend)
    with contextlib.closing(frames), beside(draft, recipe, measured.get("rgb_fps") or info.fps) as add:
        for index, flow in enumerate(backend.compute(grays(), recipe.algorithm, recipe.preset or "balanced")):
            u, v, radius = quantize.quantize(flow, recipe.quantizer, recipe.bound)
            measured["components"] += flow.size
            if recipe.bound is not None:
                measured["saturated"] += quantize.saturated(flow, u, v, recipe.bound)
            for kind, image in (("u", u), ("v", v)):
                draft.write(kind, names[index] + ".jpg", cv2.imencode(".jpg", image, jpeg)[1].tobytes())
            add(names[index], flow)
            measured["flows"] = index + 1
            if radius is not None:
                measured["radii"].append(radius)
    count = measured["frames"]
    if count < 2:
        raise ClipError(
            *(("one-frame", "optical flow needs two") if count else ("no-frames", _noted(info, "none decoded")))
        )
    if names[0] != stem(recipe.naming, 0, count):  # the last one may be right where the first ones are too narrow
        draft.rename_frames(recipe.naming, count)
    measured.update(rgb_bytes=draft.written["rgb"], flow_bytes=draft.written["u"] + draft.written["v"])
    measured["lossless_bytes"] = draft.written.get(LOSSLESS)
    measured["also_bytes"] = sum(draft.written[form] for form in recipe.also) if recipe.also else None
    measured.update(rgb_sha256=draft.digest("rgb"), flow_sha256=draft.digest("u", "v", LOSSLESS, *recipe.also))
    if job.keep_rgb:
        earlier = job.store.read_proof(job.key)  # its files are looked for when they are taken over
        if earlier is None or earlier.frames != count:
            there = "gone" if earlier is None else earlier.frames
            raise OSError(f"the rgb files to keep are {there}, the source has {count} frames")
        # Not a digest of what lies there now: it would make damage to it right.
        measured.update(rgb_bytes=earlier.rgb_bytes, rgb_sha256=earlier.rgb_sha256)


def _fields(measured: Mapping[str, Any], *, partial: bool = False) -> dict[str, Any]:
    """The record's measured fields; of a clip that was not made, only what is known of the source."""
    info: video.VideoInfo | None = measured.get("info")
    if info is None:
        return {}
    known: dict[str, Any] = {"fps": info.fps, "header_frames": info.header_frames, "frames": measured["frames"]}
    width, height = measured.get("size", (info.width, info.height))
    if width > 0 and height > 0:  # a damaged header may say anything
        known |= {"width": width, "height": height}
    if info.applied is not None:
        known |= {"rotation": info.applied.rotation, "mirrored": info.applied.mirrored}
    if measured.get("rgb_fps"):
        known["rgb_fps"] = measured["rgb_fps"]
    if partial:
        return known | {"flows": 0}
    radii = tuple(measured["radii"]) or None
    return (
        known
        | {name: measured[name] for name in ("flows", "rgb_bytes", "flow_bytes", "lossless_bytes", "also_bytes")}
        | {name: measured[name] for name in ("rgb_sha256", "flow_sha256")}
        | {"radii": radii, "saturated": measured["saturated"] / measured["components"]}
        | {"damaged": bool(info.complaints or info.faults)}
    )


def _completion(measured: Mapping[str, Any]) -> str:
    info: video.VideoInfo = measured["info"]
    frames, header = info.decoded or measured["frames"], info.header_frames or 0
    details = []
    # One frame fewer than the header says is usual (every HMDB51 file seen); more means that some were lost in silence.
    if frames < header - 1 and not measured["cut"]:
        details.append(_noted(info, f"{frames} frames, the header says {header}"))
    elif info.complaints or info.faults:
        details.append(_noted(info, f"{frames} frames"))
    return ": ".join(["complete", *filter(None, ["; ".join(details + info.notes)])])


def _noted(info: video.VideoInfo, text: str) -> str:
    """Add what the file lacks, and what the decoder complained of."""
    text = "; ".join([text, *info.faults])
    if not info.complaints:
        return text
    return f"{text}; the decoder reported {len(info.complaints)} errors, first: {info.complaints[0]}"
