"""From manifest rows to labelled clips: which are for training, what they are of, how the classes are balanced.

Nothing here imports torch or looks at a file.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from araflow.core import splits
from araflow.core.clip import Outcome
from araflow.core.errors import ManifestError
from araflow.core.spec import SplitSpec

if TYPE_CHECKING:  # loading processes start sooner without PyArrow
    from araflow.store.manifest import Manifest


KEPT = ("dataset", "label", "split", "group", "body", "camera", "people", "view", "quality")
"""Of a manifest's columns, those that a clip keeps to be described by."""


@dataclasses.dataclass(frozen=True, slots=True)
class VideoClip:
    """One finished, labelled clip of a manifest.

    Attributes:
        key: The clip's key.
        label_index: Its class, 0-based, in the manifest's label order.
        folder: Holds ``rgb``, ``u`` and ``v``.
        frames: Number of frames.
        flows: Number of flow fields; field k is the motion from frame k to frame k + 1.
        quantizer: How flow became 8-bit (``araflow.media.quantize``); ``None`` where that is not known.
        bound: Largest storable |component| in pixels per frame, for ``bound``.
        radii: Per flow field, the speed in pixels per frame at full scale, for ``max_radius``; ``None`` if not known.
        row: What its manifest row says in the columns ``KEPT``.
    """

    key: str
    label_index: int
    folder: Path
    frames: int
    flows: int
    quantizer: str | None
    bound: float | None
    radii: tuple[float, ...] | None
    row: dict[str, Any]

    def length(self, streams: Iterable[str]) -> int:
        """Return how many indices a window of these streams may use: one fewer than frames where flow is shown."""
        return self.flows if "flow" in streams else self.frames


def split_of(manifest: Manifest, spec: SplitSpec | None = None) -> dict[str, str]:
    """Return each clip's split: as the manifest says, or assigned anew to the clips that the manifest lists.

    Assigned anew by the settings of the build, it is the manifest's own again.

    Args:
        manifest: The clips, with those that were not made: a split does not depend on what decodes.
        spec: Protocol and its settings; ``None`` takes the manifest's column.

    Returns:
        Clip key to ``train``, ``val``, ``test`` or ``unused``; clips without a split, or without a label, are not in
        it.

    Raises:
        SpecError: The protocol needs official folds or source groups that these clips do not have.
    """
    if spec is None:
        known = manifest.columns("key", "label", "split")
        return {key: split for key, label, split in known if label is not None and split is not None}
    return splits.assign([clip for clip in manifest.clips() if clip.label is not None], spec)


def leakage(manifest: Manifest, split_of: Mapping[str, str]) -> splits.LeakageReport:
    """Count, per class and in all, the finished test clips whose source group is also in training.

    Args:
        manifest: The clips.
        split_of: What ``split_of`` returned.
    """
    done = manifest.select(outcome=Outcome.DONE).columns("label", "group", "key")
    return splits.leakage((label, group, split_of.get(key)) for label, group, key in done)


def clips_of(manifest: Manifest, split_of: Mapping[str, str], split: str) -> list[VideoClip]:
    """Return the finished clips of one split, sorted by key.

    Args:
        manifest: The clips.
        split_of: What ``split_of`` returned.
        split: ``train``, ``val`` or ``test``.

    Returns:
        As many as there are; clips that could not be made are left out.

    Raises:
        ManifestError: A finished clip's row lacks what must be known of it.
    """
    found = []
    shared: dict[Any, Any] = {}  # of 650,000 clips many have the same label, and few another
    for row in _rows(manifest.select(outcome=Outcome.DONE)):
        if split_of.get(row["key"]) != split:
            continue
        lacking = [name for name in ("label_index", "path", "frames", "flows") if row[name] is None]
        if lacking:
            raise ManifestError(f"clip {row['key']!r} is done, but its row has no {', '.join(lacking)}: build it again")
        found.append(
            VideoClip(
                key=row["key"],
                label_index=row["label_index"],
                folder=manifest.folder / row["path"],
                frames=row["frames"],
                flows=row["flows"],
                quantizer=shared.setdefault(row["quantizer"], row["quantizer"]),
                bound=row["bound"],
                radii=None if row["radii"] is None else tuple(row["radii"]),
                row={name: shared.setdefault(row[name], row[name]) for name in KEPT},
            )
        )
    return found


def _rows(manifest: Manifest) -> Iterator[dict[str, Any]]:
    """Yield what a clip needs of its row."""
    names = ("key", "label_index", "path", "frames", "flows", "quantizer", "bound", "radii", *KEPT)
    return (dict(zip(names, values, strict=True)) for values in manifest.columns(*names))


def shuffled(clips: Sequence[VideoClip], seed: int) -> list[VideoClip]:
    """Return the clips with their labels dealt out at random among them: a control that must not be learnable.

    Each class keeps its number of clips. Rows stay as they are.

    Args:
        clips: Training clips.
        seed: Seed of the permutation.
    """
    order = np.random.default_rng(seed).permutation(len(clips))
    return [
        dataclasses.replace(clip, label_index=clips[other].label_index)
        for clip, other in zip(clips, order.tolist(), strict=True)
    ]


def class_weights(clips: Sequence[VideoClip], classes: int) -> NDArray[np.float32]:
    """Return each class's weight: clips / (classes × clips of the class), whose mean over the clips is 1.

    scikit-learn's ``balanced``, after King and Zeng, "Logistic regression in rare events data" (Political Analysis,
    2001).

    Args:
        clips: Training clips.
        classes: Number of classes.

    Returns:
        float32 (classes,); 0 for a class without a clip.
    """
    counts = np.bincount([clip.label_index for clip in clips], minlength=classes)
    weights = len(clips) / (classes * np.maximum(counts, 1))
    return np.where(counts > 0, weights, 0.0).astype(np.float32)
