"""An experiment's settings held against its clips, before anything is trained."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from araflow import __version__
from araflow.core.clip import Outcome
from araflow.core.errors import ManifestError, SpecError
from araflow.core.splits import Leakage
from araflow.recognition import _checks
from araflow.recognition.spec import ExperimentSpec, FlowStorage, ModelSpec
from araflow.recognition.streams import STREAMS
from araflow.store.address import is_remote
from araflow.store.layout import MANIFEST
from araflow.store.manifest import Manifest

if TYPE_CHECKING:
    from araflow.recognition.data.clips import Clips

log = logging.getLogger("araflow")


@dataclasses.dataclass(frozen=True, slots=True)
class Prepared:
    """An experiment whose data have been looked at.

    Attributes:
        spec: Its settings.
        manifest: The clips.
        model: What the recogniser will know of itself.
        train: Training clips.
        val: Clips to choose the best epoch by; may be none.
        test: Clips to evaluate on.
        leakage: Test clips, of all classes together, whose source is also in training.
        notes: What a person should know before training.
    """

    spec: ExperimentSpec
    manifest: Manifest
    model: ModelSpec
    train: Clips
    val: Clips
    test: Clips
    leakage: Leakage
    notes: list[str]

    @property
    def out(self) -> Path:
        """Folder of the run."""
        return Path(self.spec.out)


def under_protocols(spec: ExperimentSpec) -> list[ExperimentSpec]:
    """Return one experiment per protocol, each in its own folder; the experiment itself where none is asked for."""
    if spec.protocols is None:
        return [spec]
    found = []
    for protocol in spec.protocols:
        split = {**(spec.split.model_dump() if spec.split else {}), "protocol": protocol}
        own = {"split": split, "protocols": None, "out": str(Path(spec.out) / protocol)}
        found.append(ExperimentSpec.model_validate({**spec.model_dump(), **own}))
    return found


def prepare(spec: ExperimentSpec) -> Prepared:
    """Read the manifest, settle the split, and refuse what cannot work; trains nothing and writes nothing.

    Raises:
        ManifestError: There is no such manifest, or it contradicts itself.
        SpecError: The settings do not fit the clips or this machine.
        SourceError: A clip is not what its row says.
    """
    from araflow.recognition.data import clips

    for name, file in spec.network.weights.model_dump().items():
        if file is not None and not Path(file).is_file():
            raise SpecError(f"network.weights.{name}: {file}: no such file")
    if is_remote(spec.manifest):
        raise SpecError(
            f"manifest: {spec.manifest} is in object storage, and training reads each frame many times: copy it to a "
            "folder first (aws s3 sync), which is then a dataset like any other"
        )
    manifest = Manifest.read(Path(spec.manifest), clips.COLUMNS)
    labels = labels_of(manifest)
    if len(labels) < 2:
        raise SpecError(f"manifest: {spec.manifest} has {len(labels)} classes; a recogniser needs at least 2")
    split_of = clips.split_of(manifest, spec.split)
    model = ModelSpec(
        network=spec.network,
        labels=labels,
        sampler=spec.data.sampler,
        sample_rate=spec.data.sample_rate,
        short_clip=spec.data.short_clip,
        short_side=spec.data.short_side,
        center_crop=spec.data.center_crop,
        flow=flow_storage(manifest, spec) if "flow" in STREAMS[spec.network.modality] else None,
        split=spec.split,
        manifest_sha256=_sha256(Path(spec.manifest)),
        software=_software(),
    )
    sides = {side: clips.clips_of(manifest, split_of, side) for side in ("train", "val", "test")}
    if spec.shuffle_labels:
        sides["train"] = clips.shuffled(sides["train"], spec.training.seed)
    notes = _checks.deviations(spec) + _checks.check(spec, model, sides)
    leakage = clips.leakage(manifest, split_of).total
    return Prepared(spec, manifest, model, sides["train"], sides["val"], sides["test"], leakage, notes)


def labels_of(manifest: Manifest) -> tuple[str, ...]:
    """Return a manifest's class names in label order.

    Raises:
        ManifestError: A finished clip's label and its number are not each other's.
    """
    found = manifest.labels
    for key, label, index in manifest.columns("key", "label", "label_index"):
        if label is not None and index is not None and found[index : index + 1] != (label,):
            raise ManifestError(
                f"clip {key!r} is of class {label}, number {index}, but the manifest's classes are "
                f"{', '.join(found)}: build it again"
            )
    return found


def flow_storage(manifest: Manifest, spec: ExperimentSpec) -> FlowStorage:
    """Return how the manifest's flow was made.

    Raises:
        SpecError: Not all of it in one way, or in a way that is not known where it must be.
    """
    names = ("backend", "algorithm", "preset", "quantizer", "bound")
    ways = set(manifest.select(outcome=Outcome.DONE).columns(*names))
    if len(ways) != 1:
        shown = "; ".join(sorted(" ".join(map(str, way)) for way in ways)) or "no finished clip"
        raise SpecError(f"manifest: flow of {spec.manifest} was not made in one way ({shown}): build it again")
    way = dict(zip(names, ways.pop(), strict=True))
    way = {
        name: value or {"quantizer": "max_radius", "backend": "unknown", "algorithm": "unknown"}.get(name)
        for name, value in way.items()
    }
    settings = manifest.settings.get("optical", {})
    return FlowStorage(**way, jpeg_quality=settings.get("jpeg_quality", 95), scale=spec.data.flow_scale)


def _sha256(path: Path) -> str:
    return hashlib.sha256((path / MANIFEST if path.is_dir() else path).read_bytes()).hexdigest()


def _software() -> dict[str, str]:
    return {"araflow": __version__} | {name: metadata.version(name) for name in ("torch", "lightning")}
