"""An experiment: its file, ours or NVIDIA TAO's, read once, and its clips looked at once, before any training."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from araflow import __version__
from araflow.core import spec_file
from araflow.core.errors import ManifestError, SpecError
from araflow.core.leakage import Leakage
from araflow.core.spec import SplitSpec
from araflow.recognition import _checks, frame_storage, same_flow, tao
from araflow.recognition.flow_storage import FlowStorage, one_way
from araflow.recognition.frame_storage import FrameStorage
from araflow.recognition.quick import settle
from araflow.recognition.spec import ExperimentSpec, ModelSpec, Views
from araflow.recognition.streams import STREAMS
from araflow.store.address import is_remote
from araflow.store.manifest import Manifest

if TYPE_CHECKING:
    from araflow.recognition.data.clips import Clips


SPLIT = "split"
"""Name of the result of an experiment without protocols."""


@dataclasses.dataclass(frozen=True, slots=True)
class Experiment:
    """What an experiment's file says, with overrides; nothing has been looked at or written yet.

    Attributes:
        spec: Its settings.
        fields: Of a TAO file, what became of each of its fields; else empty.
        folders: The clips that a TAO file names; ``None`` where a manifest is there.
        labels: The classes that a TAO file numbers, where a manifest stands for its folders.
        chosen: What was chosen for it and why, a line each; empty where it has a file.
    """

    spec: ExperimentSpec
    fields: list[tao.Field] = dataclasses.field(default_factory=list)
    folders: tao.Folders | None = None
    labels: tuple[str, ...] | None = None
    chosen: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Say what is trained on what, as in ``sample_flow-arn_2d-flow``."""
        return f"{self.spec.name}-{self.spec.network.architecture}-{self.spec.network.modality}"

    def key_of(self, own: Prepared) -> str:
        """Return under which name one of its results stands: its protocol, or ``SPLIT`` where it has but one split."""
        return own.spec.split.protocol if self.spec.protocols and own.spec.split else SPLIT


@dataclasses.dataclass(frozen=True, slots=True)
class Prepared:
    """An experiment whose data have been looked at.

    Attributes:
        spec: Its settings.
        out: Folder of the run.
        manifest: The clips.
        model: What the recogniser will know of itself.
        train: Training clips.
        val: Clips to choose the best epoch by; may be none.
        test: Clips to evaluate on.
        leakage: Test clips, of all classes together, whose source is also in training.
        notes: What a person should know before training.
        chosen: See ``Experiment``.
    """

    spec: ExperimentSpec
    out: Path
    manifest: Manifest
    model: ModelSpec
    train: Clips
    val: Clips
    test: Clips
    leakage: Leakage
    notes: list[str]
    chosen: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class _Clips:
    """What all protocols have in common."""

    manifest: Manifest
    sha256: str
    labels: tuple[str, ...]
    frames: FrameStorage
    flow: FlowStorage | None


def read(file: str | Path, overrides: Sequence[str] = ()) -> Experiment:
    """Read an experiment's file; its data are not looked at (but by ``quick``), and nothing is written.

    Args:
        file: Path of a YAML file, or the bare name of a shipped one (``sample_flow``); ``quick``: no file, and what is
            not set follows from the manifest.
        overrides: Settings on top, each ``dotted.key=value``: our keys, and for a TAO file its own too.

    Raises:
        SpecError: No such file, not YAML, an unknown key, or a value that is not allowed.
        ManifestError: Of ``quick``: there is no such manifest.
    """
    if str(file) == settle.NAME:
        settled = settle.settle(overrides)
        return Experiment(settled.spec, chosen=settled.chosen)
    path = spec_file.find_config(file, "train")
    origin = f"{path} with overrides" if overrides else str(path)
    tree = spec_file.read(path)
    if not tao.is_tao(tree):
        spec_file.override(tree, overrides, ExperimentSpec)
        return Experiment(spec_file.validate(tree, ExperimentSpec, origin))
    theirs, ours = tao.split_overrides(overrides)
    their_tree = spec_file.override(tree, theirs, ExperimentSpec)
    tree, fields = tao.translate(their_tree)
    spec_file.override(tree, ours, ExperimentSpec)
    spec = spec_file.validate(tree, ExperimentSpec, origin)
    if any(text.startswith("manifest=") for text in ours):
        return Experiment(spec, tao.replaced(fields, spec.manifest), labels=tao.labels(their_tree))
    spec = spec.model_copy(update={"manifest": str(Path(spec.out) / "tao" / "manifest.parquet")})
    return Experiment(spec, fields, tao.folders(their_tree))


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


def prepare_all(experiment: Experiment, scratch: Path | None = None) -> list[Prepared]:
    """Look at an experiment's clips once, and deal them out under each of its protocols.

    The clips in a TAO file's folders are listed in a manifest, ``<out>/tao/manifest.parquet``. Nothing else is written,
    and nothing is trained.

    Args:
        experiment: What was read.
        scratch: Folder for that manifest instead of the run's, which is then left as it is.

    Raises:
        ManifestError: There is no such manifest, or it contradicts itself.
        SpecError: The settings do not fit the clips or this machine.
        SourceError: A clip is not what its row says, or a TAO file's folders do not hold what they should.
    """
    spec, written = experiment.spec, None
    if experiment.folders is not None:
        written = experiment.folders.manifest(scratch or Path(spec.manifest).parent, spec.network.modality)
    clips = _clips(spec, written or Path(spec.manifest))
    if experiment.labels is not None and experiment.labels != clips.labels:
        raise SpecError(
            f"dataset.label_map: numbers the classes {', '.join(experiment.labels)}; {spec.manifest} has "
            f"{', '.join(clips.labels)}; leave label_map out (dataset.label_map=null), or build the manifest for it"
        )
    return [dataclasses.replace(_dealt(own, clips), chosen=experiment.chosen) for own in under_protocols(spec)]


def prepare(spec: ExperimentSpec) -> Prepared:
    """Look at the clips of an experiment with one split; see ``prepare_all``."""
    return _dealt(spec, _clips(spec, Path(spec.manifest)))


def _clips(spec: ExperimentSpec, path: Path) -> _Clips:
    """Read the manifest, and refuse what suits no split of it."""
    from araflow.recognition.data import clips

    for name, file in spec.network.weights.model_dump().items():
        if file is not None and not Path(file).is_file():
            raise SpecError(f"network.weights.{name}: {file}: no such file")
    if is_remote(spec.manifest):
        raise SpecError(
            f"manifest: {spec.manifest} is in object storage, and training reads each frame many times: copy it to a "
            "folder first (aws s3 sync), which is then a dataset like any other"
        )
    manifest = Manifest.read(path, clips.COLUMNS)
    labels = labels_of(manifest)
    if len(labels) < 2:
        raise SpecError(f"manifest: {spec.manifest} has {len(labels)} classes; a recogniser needs at least 2")
    flow = None
    if "flow" in STREAMS[spec.network.modality]:
        if remade := same_flow.made_anew(manifest):
            raise SpecError(f"manifest: {spec.manifest}: {remade}")
        flow = one_way(manifest, spec.manifest).model_copy(update={"scale": spec.data.flow_scale})
    return _Clips(manifest, same_flow.sha256(path), labels, frame_storage.of_manifest(manifest, spec.manifest), flow)


def _dealt(spec: ExperimentSpec, known: _Clips) -> Prepared:
    """Settle the split, and hold the settings against the clips of each side."""
    from araflow.recognition.data import clips

    split_of = _split_of(known.manifest, spec.split)
    model = ModelSpec(
        network=spec.network,
        labels=known.labels,
        sampler=spec.data.sampler,
        sample_rate=spec.data.sample_rate,
        short_clip=spec.data.short_clip,
        short_side=spec.data.short_side,
        center_crop=spec.data.center_crop,
        frames=known.frames,
        flow=known.flow,
        views=Views(mode=spec.evaluation.mode, segments=spec.evaluation.segments),
        split=spec.split,
        manifest_sha256=known.sha256,
        software=_software(),
    )
    sides = {side: clips.clips_of(known.manifest, split_of, side) for side in ("train", "val", "test")}
    if spec.shuffle_labels:
        sides["train"] = clips.shuffled(sides["train"], spec.training.seed)
    notes = _checks.split_anew(spec.split, split_of, clips.split_of(known.manifest))
    notes += _checks.notes(spec, model, sides)
    leakage = clips.leakage(known.manifest, split_of).total
    own = (sides["train"], sides["val"], sides["test"])
    return Prepared(spec, Path(spec.out), known.manifest, model, *own, leakage=leakage, notes=notes)


def _split_of(manifest: Manifest, split: SplitSpec | None) -> dict[str, str]:
    """Deal the clips out; where that cannot be, say how it can."""
    from araflow.recognition.data import clips

    try:
        return clips.split_of(manifest, split)
    except SpecError as error:
        raise SpecError(f"{error}; split=null takes the split that the manifest has") from None


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


def _software() -> dict[str, str]:
    return {"araflow": __version__} | {name: metadata.version(name) for name in ("torch", "lightning")}
