"""The types that flow through the stages: ``Clip`` in, ``ClipRecord`` out.

Indices are 0-based, sizes are pixels, rates are frames per second. Nothing here imports NumPy or OpenCV.
"""

from __future__ import annotations

import dataclasses
import enum
from pathlib import Path
from typing import Any

from araflow.core import _record


class Outcome(enum.StrEnum):
    """What became of a listed clip. Listed = done + filtered + quarantined + failed, always."""

    DONE = "done"
    """The clip's folder is whole."""
    FILTERED = "filtered"
    """The clip was left out by a rule that the user set."""
    QUARANTINED = "quarantined"
    """The clip itself cannot be used. An answer: it is not tried again until its source or the settings change."""
    FAILED = "failed"
    """Something around the clip went wrong (a killed process, a full disk). The next run tries it again."""


REASONS: dict[str, str] = {
    "complete": "decoded to the end",
    "missing": "listed, but not in the source",
    "not-a-file": "a pipe, a socket, a device, or a link that leads in a circle",
    "empty": "the file has no bytes",
    "not-a-video": "no video stream could be opened",
    "no-frames": "opened, but not one frame decoded",
    "one-frame": "a single frame has no motion",
    "truncated": "the file ends before its container says it does",
    "decode-error": "decoding stopped with an error before the end",
    "size-change": "the frame size changes within the clip",
    "frame-size": "frames too small for the flow algorithm, or too large to be a video",
    "crashed": "the decoding process died on this clip, twice",
    "timeout": "the clip took longer than run.clip_timeout seconds",
    "changed": "the source was changed, replaced or removed while it was read",
    "io-error": "the source could not be read or the output could not be written",
    "error": "an unexpected error; the text names it",
}
"""Every reason code, with its meaning. A reason reads ``code: detail``, or just ``code``."""
_BROKEN = {"not-a-file", "empty", "not-a-video", "no-frames", "truncated", "decode-error", "crashed"}


@dataclasses.dataclass(frozen=True, slots=True)
class Attributes:
    """What a dataset says about how a clip was filmed; ``None`` where it says nothing.

    HMDB51 writes these into the file name (Kuehne et al., ICCV 2011): visible body part, camera motion, number of
    people, viewpoint, quality.
    """

    body: str | None = None
    """``head``, ``upper``, ``full`` or ``lower``."""
    camera: str | None = None
    """``moving`` or ``static``."""
    people: int | None = None
    view: str | None = None
    """``front``, ``back``, ``left`` or ``right``."""
    quality: str | None = None
    """``bad``, ``medium`` or ``good``."""


@dataclasses.dataclass(frozen=True, slots=True)
class Clip:
    """One listed, labelled video.

    Attributes:
        dataset: Name of the dataset plug-in that listed it.
        key: Unique and stable within the dataset: ``<label>/<file name without suffix>``.
        label: Class name, or ``None`` for a clip without one.
        group: What it was cut from (film, video, recording session); clips of one group look alike.
        folds: Official split tags for folds 1, 2, 3: 0 unused, 1 train, 2 test; ``None`` where there are none.
        subset: The dataset's own ``train``, ``val`` or ``test``, where it has these instead of folds.
        attributes: How it was filmed.
        name: Expected path below the source folder, with ``/``.
        source: Where the file or frame folder lies; ``None`` if it is listed but absent.
        replaced: The file is the dataset's replacement for a broken one.
    """

    dataset: str
    key: str
    label: str | None
    group: str | None = None
    folds: tuple[int | None, int | None, int | None] = (None, None, None)
    subset: str | None = None
    attributes: Attributes = Attributes()
    name: str = ""
    source: Path | None = None
    replaced: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class ClipRecord:
    """What was measured and made for one clip: the clip's own part of a manifest row.

    Stored as JSON beside the data, where it is the proof of completion: it is bound to the source's bytes
    (``source_sha256``) and to every setting that changes the output (``fingerprint``).

    Attributes:
        key: The clip's key.
        outcome: What became of it.
        reason: ``code: detail``; the codes are ``REASONS``.
        source_bytes: Size of the source file in bytes.
        source_sha256: SHA-256 of the source's bytes, hexadecimal; of its frame files for a folder of frames.
        width: Frame width in pixels.
        height: Frame height in pixels.
        rotation: Degrees counterclockwise, 0, 90, 180 or 270, by which coded frames were rotated to be upright;
            ``None`` where an older araflow made them, or the source asks for more and that was to be ignored.
        mirrored: Left and right were exchanged before that; ``None`` as above.
        fps: Frames per second as the container states it.
        header_frames: Frame count that the container states. Often wrong, never used to decode.
        rgb_fps: Frames that were taken of a second; ``None``: each as it was decoded, ``fps``.
        short_side: What the shorter side of larger frames was scaled to, in pixels; ``None``: they are as decoded.
        rgb_format: Of the frames' files, ``png`` or ``jpeg``; ``None`` where an older araflow made them: ``png``.
        rgb_quality: Of frames that are JPEG, 1 to 100.
        frames: Frames made, which is the number of their files.
        flows: Flow fields computed: ``frames - 1``, the number of files in ``u`` and in ``v``.
        rgb_bytes: Total size of the frames' files.
        flow_bytes: Total size of the u and v JPEG files.
        lossless_bytes: Total size of the 16-bit flow files, where they were asked for.
        also: Further files that hold the flow, such as ``flo,film`` (``araflow.media.flow_forms``); ``None``: there are
            none.
        also_bytes: Their total size; ``None`` likewise.
        rgb_sha256: Digest of names and bytes of the frames' files; ``None`` where an older araflow made them.
        flow_sha256: Digest of names and bytes of all files of flow; ``None`` as above.
        backend: Optical-flow backend that ran.
        algorithm: Its algorithm.
        preset: Its preset.
        flow_parameters: The numbers that algorithm and preset stood for, as JSON; ``None`` where an older araflow
            made it.
        quantizer: How flow became 8-bit (``araflow.media.quantize``).
        bound: Largest storable |component| in pixels per frame, for the ``bound`` quantizer.
        jpeg_quality: Of the u and v images, 1 to 100; ``None`` where an older araflow made it.
        radii: Per flow field, the speed in pixels per frame that maps to full scale, for ``max_radius``.
        saturated: Share of all flow components that lie beyond ±bound, 0 to 1; 0 for ``max_radius``; ``None`` where it
            was not counted.
        damaged: The decoder reported errors, or the file seems to be shorter than it says, as ``reason`` tells;
            ``None`` where the clip is not done, or an older araflow made it.
        fingerprint: Fingerprint of every setting that changes rgb or flow.
        rgb_fingerprint: Fingerprint of the settings that change rgb alone.
        software: Versions of what made the files.
    """

    key: str
    outcome: Outcome
    reason: str
    source_bytes: int | None = None
    source_sha256: str | None = None
    width: int | None = None
    height: int | None = None
    rotation: int | None = None
    mirrored: bool | None = None
    fps: float | None = None
    header_frames: int | None = None
    rgb_fps: float | None = None
    short_side: int | None = None
    rgb_format: str | None = None
    rgb_quality: int | None = None
    frames: int | None = None
    flows: int | None = None
    rgb_bytes: int | None = None
    flow_bytes: int | None = None
    lossless_bytes: int | None = None
    also: str | None = None
    also_bytes: int | None = None
    rgb_sha256: str | None = None
    flow_sha256: str | None = None
    backend: str | None = None
    algorithm: str | None = None
    preset: str | None = None
    flow_parameters: str | None = None
    quantizer: str | None = None
    bound: float | None = None
    jpeg_quality: int | None = None
    radii: tuple[float, ...] | None = None
    saturated: float | None = None
    damaged: bool | None = None
    fingerprint: str | None = None
    rgb_fingerprint: str | None = None
    software: str | None = None

    @property
    def reason_code(self) -> str:
        """The part of ``reason`` that counts are grouped by."""
        return self.reason.partition(":")[0]

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict: fields in declaration order, and a digest of them, so that edits are found."""
        fields = {name: getattr(self, name) for name in _FIELDS}  # asdict copies each value, for each clip
        return {**fields, _record.SELF: _record.digest(fields)}

    @classmethod
    def from_json(cls, data: Any, *, edited: bool = False) -> ClipRecord:  # noqa: ANN401 - whatever a JSON file holds
        """Rebuild a record from ``to_json``'s dict, as JSON gives it back.

        Args:
            data: The dict, or anything else.
            edited: Take it also if it was edited since it was written.

        Raises:
            ValueError: It is none: of other types, beyond what a manifest can hold, of another version, or edited.
        """
        _record.check(data, edited=edited)
        radii = data.get("radii")
        fields = {**data, "outcome": Outcome(data["outcome"]), "radii": None if radii is None else tuple(radii)}
        fields.pop(_record.SELF, None)
        return cls(**fields)


_FIELDS = tuple(field.name for field in dataclasses.fields(ClipRecord))


def source_status(clip: Clip, record: ClipRecord) -> str | None:
    """Say how the dataset's copy of a clip was found.

    Returns:
        ``missing`` (no file), ``corrupt`` (it cannot be decoded to its end, or not without errors), ``replaced`` (by
        the dataset's own replacement, and good), ``ok``, or ``None`` where that is not known, because its making
        failed.
    """
    if record.reason_code == "missing":
        return "missing"
    if record.reason_code in _BROKEN and record.outcome is Outcome.QUARANTINED:
        return "corrupt"
    if record.outcome is Outcome.FAILED:
        return None
    if record.damaged:
        return "corrupt"
    return "replaced" if clip.replaced else "ok"
