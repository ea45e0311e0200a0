"""An experiment's settings held against its clips and its weights: what is refused, and what a person should know."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from araflow.core.errors import SourceError, SpecError
from araflow.core.spec import SplitSpec
from araflow.recognition import checkpoint, models
from araflow.recognition.flow_storage import FlowStorage
from araflow.recognition.spec import ExperimentSpec, ModelSpec
from araflow.recognition.streams import STREAMS, StreamSpec

if TYPE_CHECKING:
    from araflow.recognition.data.clips import Clips


def _deviations(spec: ExperimentSpec) -> list[str]:
    """Note where weights are to see another window than they were made for: no error would say so."""
    network, found = spec.network, []
    for stream in STREAMS[network.modality]:
        file = getattr(network.weights, stream) or network.weights.joint
        if file is None:
            continue
        whose, window = _made_for(Path(file), network.architecture, stream)
        own, theirs = _numbers(getattr(network, stream), stream), _numbers(window, stream)
        changed = [f"{name} {own[name]} instead of {theirs[name]}" for name in own if own[name] != theirs[name]]
        if changed:
            found.append(
                f"network.{stream}: another window than {whose}: {'; '.join(changed)}; its weights may need that"
            )
    return found


def _made_for(weights: Path, architecture: str, stream: str) -> tuple[str, StreamSpec]:
    """Return for which window a file of weights was made, and in words who says so."""
    family = models.load(architecture)
    published = f"{architecture} was published with", models.published(family, stream)
    try:
        trained = checkpoint.read_spec(weights)
    except SourceError:  # not ours
        return published
    windows = {str(name): window for name, window in trained.windows.items()}
    return (f"{weights.name} was trained on", windows[stream]) if stream in windows else published


def _numbers(window: StreamSpec, stream: str) -> dict[str, Any]:
    mean, std = window.per_channel(stream)
    return {**window.model_dump(), "mean": list(mean), "std": list(std)}


def _other_flow(spec: ExperimentSpec, model: ModelSpec) -> list[str]:
    """Note where weights are to see flow of another making than they were trained on, which training may mend."""
    found = []
    for branch in ("flow", "joint"):
        file = getattr(spec.network.weights, branch)
        if file is None or model.flow is None:
            continue
        try:
            trained = checkpoint.read_spec(Path(file))
        except SourceError:  # not ours
            trained = None
        if trained is not None and "flow" not in trained.streams:
            continue
        storage = (trained and trained.flow) or FlowStorage()
        differ = storage.differs(model.flow)
        where = f"network.weights.{branch}: {Path(file).name}"
        if lines := (*differ.wrong, *differ.lesser):
            found.append(f"{where} was trained on flow of {storage}; here it is {model.flow}: {'; '.join(lines)}")
        if differ.unknown:
            unknown = ", ".join(differ.unknown)
            found.append(f"{where}: it is not known of the flow that it was trained on: {unknown}; here: {model.flow}")
    return found


def split_anew(split: SplitSpec | None, split_of: Mapping[str, str], own: Mapping[str, str]) -> list[str]:
    """Note where an experiment's clips are dealt out otherwise than its manifest says.

    Args:
        split: How the experiment deals them out.
        split_of: Each clip's split, thus.
        own: That of the manifest.
    """
    if split is None or all(split_of.get(key) in (side, side.replace("train", "val")) for key, side in own.items()):
        return []
    how = f"fold {split.fold}" if split.protocol == "official" else f"{100 * split.test_fraction:.0f} % for test"
    return [f"split anew by {split.protocol}, {how}; the manifest's own split is not used (split=null takes it)"]


def notes(spec: ExperimentSpec, model: ModelSpec, sides: dict[str, Clips]) -> list[str]:
    """Return notes on an experiment's clips.

    Args:
        spec: The experiment.
        model: What the recogniser will know of itself.
        sides: Clips for ``train``, ``val`` and ``test``.

    Raises:
        SpecError: Training or evaluating would be pointless.
    """
    found = [*_deviations(spec), *_other_flow(spec, model)]
    for side in ("train", "test"):
        clips = sides[side]
        if not clips:
            raise SpecError(
                f"split: {spec.manifest} has no finished clip for {side}; set split.protocol (official, random, "
                "group), or split.test_fraction higher, or take the split that the manifest has: split=null"
            )
        shown_classes = set(clips.column("label_index"))
        absent = [label for index, label in enumerate(model.labels) if index not in shown_classes]
        if not absent:
            continue
        shown = f"split: no {side} clip shows {', '.join(absent)} (of {len(clips)} clips)"
        if side == "train" or spec.evaluation.absent_classes == "refuse":
            allow = "" if side == "train" else ", or set evaluation.absent_classes=report"
            raise SpecError(f"{shown}; choose another split, or build from more clips{allow}")
        found.append(f"{shown}; means over classes leave them out")
    if spec.data.sampler == "consecutive":
        found += _short(spec, sides)
    in_pixels = "flow" in STREAMS[spec.network.modality] and spec.data.flow_scale == "pixels"
    if in_pixels or spec.data.short_clip == "refuse":
        from araflow.recognition.data.windows import EvaluationWindows  # it knows what pixels, and other samplers, need

        for clips in sides.values():
            EvaluationWindows(clips, model)
    if not sides["val"]:
        found.append("no val clips: the last epoch counts, and nothing is chosen by its accuracy")
        if spec.training.early_stopping:
            raise SpecError("training.early_stopping: there are no val clips to stop by; set split.val_fraction")
    return found


def _short(spec: ExperimentSpec, sides: dict[str, Clips]) -> list[str]:
    """Note the clips that are shorter than a window; raise where that is refused."""
    streams = STREAMS[spec.network.modality]
    specs: list[StreamSpec] = [getattr(spec.network, stream) for stream in streams]
    span = (max(one.frames for one in specs) - 1) * spec.data.sample_rate + 1
    counted, what = ("flows", "flow fields") if "flow" in streams else ("frames", "frames")
    found = (zip(side.column("key"), side.column(counted), strict=True) for side in sides.values())
    short = [(key, length) for key, length in itertools.chain(*found) if length < span]
    if not short:
        return []
    shown = f"{short[0][0]} has {short[0][1]} {what}, a window spans {span}"
    if spec.data.short_clip == "refuse":
        raise SpecError(f"data.short_clip: refuse: {len(short)} clips are shorter than a window: {shown}")
    verb = "looped" if spec.data.short_clip == "loop" else "held on their last frame"
    return [f"{len(short)} clips are shorter than a window and are {verb}: {shown}"]
