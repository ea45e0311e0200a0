"""Windows to compare a recogniser's files on: real ones of clips, or drawn ones where there are no clips."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from araflow.core.errors import SpecError
from araflow.recognition.prediction.runners import Tensors
from araflow.recognition.spec import ModelSpec
from araflow.recognition.streams import CHANNELS

if TYPE_CHECKING:
    from araflow.recognition.data.clips import VideoClip

Streams: TypeAlias = Mapping[str, Tensors]
"""float32 (windows, channels, frames, height, width) for each of a recogniser's streams, by its name."""


def of_clips(clips: Sequence[VideoClip], spec: ModelSpec, most: int) -> Iterator[dict[str, Tensors]]:
    """Read the centre windows of clips, spread evenly over them.

    Args:
        clips: At least one.
        spec: What the recogniser knows of itself.
        most: How many windows at most.

    Yields:
        float32 (channels, frames, height, width) for each stream, by its name.

    Raises:
        SourceError: A clip's file is absent or damaged.
        SpecError: A clip does not suit the recogniser.
    """
    from araflow.recognition.data.windows import EvaluationWindows

    chosen = np.linspace(0, len(clips) - 1, min(most, len(clips))).round().astype(int)
    windows = EvaluationWindows([clips[index] for index in chosen], spec)
    for index in range(len(windows)):
        item = windows[index]
        yield {name: np.asarray(item[name]) for name in spec.streams}


def of_manifest(
    path: Path,
    spec: ModelSpec,
    most: int,
    *,
    allow_other_flow: bool = False,
    on_warning: Callable[[str], object] = lambda warning: None,
) -> Iterator[dict[str, Tensors]]:
    """Read the windows of a manifest's clips: of its test clips, or else of val or train; see ``of_clips``.

    Args:
        path: A manifest, or a build's folder.
        spec: What the recogniser knows of itself.
        most: How many windows at most.
        allow_other_flow: Take flow of another quantiser, bound or algorithm than training's, too.
        on_warning: Is told of flow that is not training's, or not known to be; so is the log.

    Raises:
        ManifestError: It cannot be read.
        SourceError: A clip's file is absent or damaged.
        SpecError: It has no finished clip with a split, or a clip or its flow does not suit the recogniser.
    """
    from araflow.recognition import same_flow
    from araflow.recognition.data.clips import clips_of, split_of
    from araflow.store.manifest import Manifest

    manifest = Manifest.read(path)
    splits = split_of(manifest)
    clips = next((found for side in ("test", "val", "train") if (found := clips_of(manifest, splits, side))), None)
    if clips is None:
        raise SpecError(f"manifest: {path} has no finished clip in test, val or train to compare on")
    for warning in same_flow.hold("the recogniser", spec, manifest, path, allow=allow_other_flow):
        on_warning(warning)
    return of_clips(clips, spec, most)


def stacked(windows: Iterable[Mapping[str, Tensors]], spec: ModelSpec) -> dict[str, Tensors]:
    """Return windows as one batch: float32 (windows, channels, frames, height, width) for each stream."""
    found = list(windows)
    return {name: np.stack([window[name] for window in found]) for name in spec.streams}


def drawn(spec: ModelSpec, count: int, seed: int = 0) -> dict[str, Tensors]:
    """Return windows of drifting random blotches, normalised as the recogniser's own; the same on every machine.

    Returns:
        float32 (count, channels, frames, height, width) for each of ``spec.streams``.
    """
    import cv2

    random = np.random.default_rng(seed)
    found: dict[str, Tensors] = {}
    for stream in spec.streams:
        own, channels = spec.stream(stream), CHANNELS[stream]
        mean, std = own.per_channel(stream)
        window = np.empty((count, channels, own.frames, own.height, own.width), np.float32)
        for index in np.ndindex(count, channels):
            coarse = random.integers(0, 256, (7, 7 + own.frames // 8)).astype(np.float32)
            wide = cv2.resize(coarse, (own.width + own.frames, own.height), interpolation=cv2.INTER_LINEAR)
            level = (np.clip(wide, 0, 255) / 255 - mean[index[1]]) / std[index[1]]
            for frame in range(own.frames):
                window[index][frame] = level[:, frame : frame + own.width]
        found[stream] = window
    return found
