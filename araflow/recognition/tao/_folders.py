"""A manifest of NVIDIA TAO's dataset folders: ``class/video/{rgb,u,v}``, images in the order of their names.

The layout and how TAO reads it: https://docs.nvidia.com/tao, ActionRecognitionNet, "Preparing the Dataset". NVIDIA's
own sources disagree on names (from 0 or 1, four digits or six) and on whether the last frame has a flow image, so names
do not matter but for their order, and both counts are taken.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import cv2
import pyarrow as pa

from araflow.core import written
from araflow.core.clip import Attributes, Clip, ClipRecord, Outcome
from araflow.core.errors import ClipError, SourceError, SpecError
from araflow.core.files import PROOF
from araflow.core.reading import SMALL, json_of, read_file
from araflow.datasets.hmdb51 import parse_name
from araflow.media import images
from araflow.media.source_files import IMAGE_SUFFIXES
from araflow.recognition.flow_storage import COLUMNS
from araflow.recognition.streams import Modality
from araflow.store.manifest import SCHEMA, Manifest

log = logging.getLogger("araflow")
_SPLITS = ("test", "val", "train")
"""In this order a name that occurs twice is given away, so test clips keep theirs."""


def manifest_of_folders(
    train: Path, test: Path | None, labels: Mapping[str, int], out: Path, *, modality: Modality, val: Path | None = None
) -> Path:
    """List the clips of TAO's folders in a manifest, and return its path, ``out/manifest.parquet``.

    A clip whose images do not fit is quarantined. ``rgb`` needs frames only; ``flow`` needs ``u`` and ``v`` only, with
    the same names; ``joint`` needs all three, and as many flow fields as frames, or one fewer. ``flows`` is the number
    of images in ``u``, as TAO counts, so windows are the same as TAO's; flow k still belongs to frame k.

    How the flow was made is not known, unless araflow made the clips (their records lie in the folders): it is taken
    for NVIDIA's recipe, ``max_radius`` with the radii lost, so speeds in pixels cannot be had (``radii`` is null).
    Groups and attributes come from names, where these are HMDB51's.

    Args:
        train: Folder of training clips.
        test: Folder of test clips.
        labels: Class name to number, as in ``label_map``; numbers are 0, 1, 2 ….
        out: Folder of the run; made if it is not there.
        modality: What the clips are for.
        val: Folder of validation clips.

    Raises:
        SpecError: A path is not a folder, one is given twice, or a folder's class has no number.
        SourceError: There are files where folders should be, or a folder is empty, or no clip of a folder is whole.
    """
    roots = {split: root for split, root in zip(_SPLITS, (test, val, train), strict=True) if root is not None}
    twice = [root for root, count in Counter(root.resolve() for root in roots.values()).items() if count > 1]
    if twice:
        raise SpecError(f"{twice[0]}: is given for two of train, val and test; their clips must differ")
    clips: dict[str, Clip] = {}
    records, splits, paths = [], {}, {}
    shared: list[str] = []
    for split, root in roots.items():
        bad = []
        for label, folder in _videos(root, split, labels):
            key = f"{label}/{folder.name}"
            if key in clips:
                shared.append(key)
                key = f"{split}/{key}"
            clips[key] = _clip(key, label, folder)
            record = _record(key, folder, modality)
            records.append(record)
            splits[key], paths[key] = split, str(folder.absolute())
            if record.outcome is not Outcome.DONE:
                bad.append(f"{folder}: {record.reason}")
        _complain(split, root, bad, sum(found == split for found in splits.values()))
    if shared:
        log.warning("%d clips have the name of one in another split, such as %s", len(shared), shared[0])
    ordered = sorted(labels, key=lambda label: labels[label])
    manifest = Manifest.of(
        list(clips.values()),
        records,
        labels=ordered,
        split_of=splits,
        metadata={"name": "tao", "labels": ordered},
        folder=out,
    )
    places = [path and paths[key] for key, path in manifest.columns("key", "path")]
    number = SCHEMA.get_field_index("path")
    table = manifest.table.set_column(number, SCHEMA.field(number), pa.array(places, pa.string()))
    (path,) = written.write({out / "manifest.parquet": Manifest(table, manifest.metadata, out).encode()}, out)
    return path


def _complain(split: str, root: Path, bad: Sequence[str], count: int) -> None:
    if len(bad) == count:
        raise SourceError(f"{root}: none of the {count} {split} clips can be used; the first: {bad[0]}")
    if bad:
        log.warning("%s: %d of %d clips are left out, such as %s", root, len(bad), count, bad[0])


def _videos(root: Path, split: str, labels: Mapping[str, int]) -> Iterator[tuple[str, Path]]:
    """Yield class and folder of each video."""
    if root.is_file():
        raise SpecError(f"{root}: a file, and the {split} clips must be a folder: unpack it, and give the folder")
    if not root.is_dir():
        raise SpecError(
            f"{root}: no such folder of {split} clips; TAO's paths are often those within its container, so give this "
            "machine's"
        )
    for class_folder in _folders(root, "class"):
        if class_folder.name not in labels:
            raise SpecError(
                f"{class_folder}: dataset.label_map has no class {class_folder.name!r}; it has {', '.join(labels)}"
            )
        for folder in _folders(class_folder, "video"):
            yield class_folder.name, folder


def _folders(folder: Path, kind: str) -> list[Path]:
    """Return the folders in one; hidden things are passed over."""
    found = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    if not found:
        raise SourceError(f"{folder}: empty; expected a folder per {kind}")
    if files := [path for path in found if not path.is_dir()]:
        raise SourceError(f"{files[0]}: a file where only {kind} folders belong; remove it ({len(files)} of them)")
    return found


def _clip(key: str, label: str, folder: Path) -> Clip:
    try:
        group, attributes = parse_name(f"{folder.name}.avi", label)
    except SourceError:
        group, attributes = None, Attributes()
    return Clip("tao", key, label, group, attributes=attributes, name=f"{label}/{folder.name}", source=folder)


def _record(key: str, folder: Path, modality: Modality) -> ClipRecord:
    try:
        frames = _images(folder / "rgb", needed=modality != "flow")
        flows = _flows(folder, needed=modality != "rgb")
        if modality == "joint" and len(flows) not in (len(frames) - 1, len(frames)):
            raise ClipError(
                "error",
                f"{len(frames)} frames in rgb, {len(flows)} flow images in u and v; as many are expected, or one fewer",
            )
        height, width = _size((flows if modality == "flow" else frames)[0])
    except ClipError as error:
        return ClipRecord(key, Outcome.QUARANTINED, str(error))
    made = {"quantizer": "max_radius", "backend": "unknown", "algorithm": "unknown"} if flows else {}
    return ClipRecord(
        key,
        Outcome.DONE,
        "complete",
        width=width,
        height=height,
        frames=len(frames),
        flows=len(flows),
        **(_made_by_araflow(folder, len(flows)) or made),
    )


def _images(folder: Path, *, needed: bool) -> list[Path]:
    """Return the images of a folder in order; none if they are not needed and something is wrong with them."""
    try:
        if not folder.is_dir():
            raise ClipError("missing", f"no folder {folder.name}")
        found = sorted(folder.iterdir())
        if not found:
            raise ClipError("no-frames", f"{folder.name} is empty")
        if strays := [path.name for path in found if path.suffix.lower() not in IMAGE_SUFFIXES]:
            raise ClipError("error", f"{folder.name} holds {strays[0]}, which is no image; remove it")
        numbers = [int(path.stem) for path in found if path.stem.isdecimal()]
        if len(numbers) == len(found) and numbers != sorted(numbers):
            raise ClipError(
                "error", f"names in {folder.name} are not in order, such as 10 before 9; pad them with zeros"
            )
    except ClipError:
        if needed:
            raise
        return []
    return found


def _flows(folder: Path, *, needed: bool) -> list[Path]:
    u, v = (_images(folder / name, needed=needed) for name in ("u", "v"))
    if odd := sorted({path.name for path in u} ^ {path.name for path in v}):
        if needed:
            raise ClipError("error", f"u and v must have the same names, and {odd[0]} is in one only ({len(odd)} such)")
        return []
    return u


def _size(image: Path) -> tuple[int, int]:
    try:
        height, width = images.decode(read_file(image), cv2.IMREAD_UNCHANGED).shape[:2]
    except OSError as error:
        raise ClipError("io-error", f"{image.parent.name}/{image.name}: {error.strerror}") from error
    except images.ImageError as error:
        raise ClipError("decode-error", f"{image.parent.name}/{image.name}: {error}") from error
    return height, width


def _made_by_araflow(folder: Path, flows: int) -> dict[str, object] | None:
    """Return how the flow was made, from the record that araflow leaves beside the images it makes."""
    try:
        record = ClipRecord.from_json(json_of(read_file(folder / PROOF, SMALL)))
    except (OSError, ValueError):
        return None
    if record.quantizer is None or record.flows != flows:
        return None
    return {name: getattr(record, name) for name in (*COLUMNS, "radii")}
