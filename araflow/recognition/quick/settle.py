"""Fill in what an experiment was not told: from its manifest, this machine, and what a run that has begun was told."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from araflow.core import spec_file
from araflow.core.clip import Outcome
from araflow.core.errors import SpecError
from araflow.core.processes import usable_cores
from araflow.core.reading import SMALL, read_file
from araflow.core.spec import SplitSpec
from araflow.recognition.data import clips
from araflow.recognition.quick import choices
from araflow.recognition.quick.choices import Choice, Facts
from araflow.recognition.spec import ExperimentSpec
from araflow.recognition.streams import STREAMS, Modality
from araflow.store.address import is_remote
from araflow.store.manifest import Manifest

NAME = "quick"
_MODALITY: Modality = "flow"
"""From random weights and few clips, motion is learned better than looks."""


@dataclasses.dataclass(frozen=True, slots=True)
class Settled:
    """An experiment with all its settings.

    Attributes:
        spec: The settings.
        chosen: What was chosen and why, a line each.
    """

    spec: ExperimentSpec
    chosen: tuple[str, ...]


def settle(overrides: Sequence[str]) -> Settled:
    """Return the settings for a manifest: as told, else as in the run that has begun, else as the clips suggest.

    Args:
        overrides: Settings, each ``dotted.key=value``; ``manifest`` among them.

    Raises:
        SpecError: No manifest is named, a setting is wrong, or a class has too few clips.
        ManifestError: There is no such manifest, or it contradicts itself.
    """
    tree = spec_file.override({}, overrides, ExperimentSpec)
    if "manifest" not in tree:
        raise SpecError("manifest: missing: araflow train-eval manifest=data/mine, or --spec with a file or a name")
    place = Path(str(tree["manifest"]))
    name = name_of(place.parent if place.suffix == ".parquet" else place)
    tree = {"name": name, "out": str(Path("runs") / name)} | tree
    begun = _begun(Path(str(tree["out"])) / "run.json")
    if begun is not None:
        again = spec_file.override(dict(begun.spec), overrides, ExperimentSpec)
        return Settled(spec_file.validate(again, ExperimentSpec, f"{NAME} with overrides"), tuple(begun.chosen))
    told = spec_file.validate(tree, ExperimentSpec, f"{NAME} with overrides")  # what is wrong now is the user's
    if is_remote(str(tree["manifest"])):
        return Settled(told, ())  # which is refused, as of any experiment
    chosen = []
    for choice in _choices(Manifest.read(place, (*clips.COLUMNS, "width", "height")), tree):
        unset = {key: value for key, value in choice.values.items() if not _is_set(tree, key)}
        for key, value in unset.items():
            spec_file.put(tree, key, value)
        if unset or not choice.values:
            chosen.append(choice.why)
    return Settled(spec_file.validate(tree, ExperimentSpec, NAME), tuple(chosen))


def name_of(folder: Path) -> str:
    """Return a name for what lies in a folder."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", folder.resolve().name).strip("_.-") or NAME


class _Begun(BaseModel):
    """What is read of a run's note that quick settings were chosen for."""

    spec: dict[str, Any]
    chosen: list[str]


def _begun(note: Path) -> _Begun | None:
    try:
        return _Begun.model_validate_json(read_file(note, SMALL))
    except (OSError, ValidationError):  # none, or none of ours: the training says what is wrong with it
        return None


def _choices(manifest: Manifest, tree: dict[str, Any]) -> list[Choice]:
    found = []
    if not _is_set(tree, "split") and not _is_set(tree, "protocols"):
        found = _split(manifest)
    split = {key.removeprefix("split."): value for one in found for key, value in one.values.items()}
    split = split or tree.get("split") or {}
    split_of = clips.split_of(manifest, spec_file.validate(split, SplitSpec, "split") if split else None)
    train, val = (clips.clips_of(manifest, split_of, side) for side in ("train", "val"))
    modality = _get(tree, "network.modality")
    modality = modality if modality in get_args(Modality) else _MODALITY
    streams = STREAMS[modality]
    counts = Counter(train.column("label_index"))
    if not counts:
        return found  # what lacks training clips is told so, as any experiment is
    done = manifest.select(outcome=Outcome.DONE).columns("width", "height")
    epochs = _get(tree, "training.epochs")
    facts = Facts(
        train=[counts[label] for label in sorted(counts)],
        val=len(val),
        lengths=[clip.length(streams) for clip in train],
        short_side=min((min(size) for size in done if None not in size), default=224),
        modality=modality,
        cores=usable_cores(),
        gpu=_gpu(tree),
        architecture=_get(tree, "network.architecture"),
        epochs=epochs if isinstance(epochs, int) else None,
    )
    return [*found, *choices.choose(facts)]


def _split(manifest: Manifest) -> list[Choice]:
    """Take the manifest's own split where it serves; set val clips aside where there are enough."""
    done = manifest.select(outcome=Outcome.DONE)
    split_of = clips.split_of(manifest)
    counted = Counter((label, split_of.get(key)) for key, label in done.columns("key", "label") if label is not None)
    labels = sorted({label for label, _ in counted})
    totals = {label: sum(count for (own, _), count in counted.items() if own == label) for label in labels}
    own = _own(manifest, split_of)
    shown = f"split: the manifest's own{f' ({own.protocol})' if own else ''}"
    if why := _why_anew(manifest, split_of, counted, own):
        if few := [label for label, count in totals.items() if count < 2]:
            raise SpecError(
                f"manifest: {few[0]} has 1 finished clip; each class needs 2 at least, to train and to test"
            )
        anew = choices.split_anew(totals, grouped=_grouped(manifest))
        return [Choice(anew.values, f"{anew.why}: {why}")]
    if any(counted[label, "val"] for label in labels):
        return [Choice({}, shown)]
    if own is None or not choices.with_val([counted[label, "train"] for label in labels]):
        lacks = "its classes have too few training clips" if own else "it is not known how it was drawn"
        return [Choice({}, f"{shown}; no val clips are set aside: {lacks}")]
    with_val = choices.with_val_of(own)
    return [Choice(with_val.values, f"{shown}, {with_val.why}")]


def _why_anew(
    manifest: Manifest, split_of: dict[str, str], counted: Counter[tuple[str, str | None]], own: SplitSpec | None
) -> str:
    """Say what is wrong with a manifest's own split; empty where it serves."""
    for label in sorted({label for label, _ in counted}):
        if not (counted[label, "train"] and counted[label, "test"]):
            return f"the manifest's own has no clips of {label} on both sides"
    leaked = clips.leakage(manifest, split_of).total
    if own is not None and own.protocol == "random" and _grouped(manifest) and leaked.any_class:
        return (
            f"of the manifest's own (random), {leaked.told(leaked.any_class)} test clips have their source in training "
            "(split=null takes it)"
        )
    return ""


def _grouped(manifest: Manifest) -> bool:
    return all(group is not None for (group,) in manifest.select(outcome=Outcome.DONE).columns("group"))


def _own(manifest: Manifest, split_of: dict[str, str]) -> SplitSpec | None:
    """Return the settings that give the manifest's own split again; ``None`` where they are not known."""
    try:
        own = SplitSpec.model_validate(manifest.settings.get("split"))
        again = clips.split_of(manifest, own)
    except (ValidationError, SpecError):
        return None
    return own if all(again.get(key) == side for key, side in split_of.items()) else None


def _gpu(tree: dict[str, Any]) -> bool:
    import torch

    return _get(tree, "training.accelerator") != "cpu" and torch.cuda.is_available()


def _get(tree: dict[str, Any], key: str) -> Any:  # noqa: ANN401 - a setting
    found: Any = tree
    for part in key.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _is_set(tree: dict[str, Any], key: str) -> bool:
    found: Any = tree
    for part in key.split("."):
        if not isinstance(found, dict):
            return True  # a group that was set as a whole, such as to null
        if part not in found:
            return False
        found = found[part]
    return True
