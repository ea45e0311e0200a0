"""From manifest rows to labelled clips: which are for training, what they are of, how the classes are balanced.

Nothing here imports torch or looks at a file.
"""

from __future__ import annotations

import dataclasses
import itertools
import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from araflow.core import splits
from araflow.core.clip import Outcome
from araflow.core.errors import ManifestError
from araflow.core.leakage import LeakageReport, Seen
from araflow.core.leakage import leakage as count_leakage
from araflow.core.spec import SplitSpec
from araflow.recognition import frame_storage

if TYPE_CHECKING:  # loading processes start sooner without PyArrow
    import pyarrow as pa

    from araflow.store.manifest import Manifest


KEPT = ("dataset", "label", "split", "group", "source", "body", "camera", "people", "view", "quality")
"""Of a manifest's columns, those that a clip keeps to be described by."""
COLUMNS = (
    *("key", "label_index", "outcome", "path", "source_sha256", "frames", "flows", "fold1", "fold2", "fold3", "subset"),
    *(
        "backend",
        "algorithm",
        "preset",
        "flow_parameters",
        "quantizer",
        "bound",
        "jpeg_quality",
        "fingerprint",
        "radii",
    ),
    *frame_storage.COLUMNS,
    *KEPT,
)
"""Those that an experiment is prepared from; the others are most of a manifest's bytes."""
_NEEDED = ("label_index", "path", "frames", "flows")
"""Those that no finished clip can be without."""


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


def leakage(manifest: Manifest, split_of: Mapping[str, str]) -> LeakageReport:
    """Count, per class and in all, the finished test clips whose source group, or whose bytes, are also in training.

    Args:
        manifest: The clips.
        split_of: What ``split_of`` returned.
    """
    done = manifest.select(outcome=Outcome.DONE).columns("label", "group", "key", "source_sha256")
    return count_leakage(Seen(label, group, split_of.get(key), sha256) for label, group, key, sha256 in done)


class Clips(Sequence[VideoClip]):
    """Clips of a manifest as columns: each is made where it is asked for.

    Of 540,000 training clips, objects would take seconds and gigabytes, and every loading process gets them all.

    Args:
        folder: Folder that ``path`` is relative to.
        columns: ``key``, ``label_index``, ``path``, ``frames``, ``flows``, ``quantizer``, ``bound`` and those of
            ``KEPT``, a value per clip.
        radii: float32, of all clips one after the other.
        radii_of: Per clip, where its own begin and end; ``None`` where there are none.
    """

    def __init__(
        self,
        folder: Path,
        columns: Mapping[str, list[Any]],
        radii: NDArray[np.float32],
        radii_of: Sequence[tuple[int, int] | None],
    ) -> None:
        self._folder, self._columns, self._radii, self._radii_of = folder, columns, radii, radii_of

    def __len__(self) -> int:
        return len(self._columns["key"])

    def __iter__(self) -> Iterator[VideoClip]:
        return (self[number] for number in range(len(self)))

    @overload
    def __getitem__(self, index: int) -> VideoClip: ...
    @overload
    def __getitem__(self, index: slice) -> Clips: ...
    def __getitem__(self, index: int | slice) -> VideoClip | Clips:
        if isinstance(index, slice):
            columns = {name: values[index] for name, values in self._columns.items()}
            return Clips(self._folder, columns, self._radii, self._radii_of[index])
        row = {name: values[index] for name, values in self._columns.items()}
        place = self._radii_of[index]
        return VideoClip(
            **{name: row[name] for name in ("key", "label_index", "frames", "flows", "quantizer", "bound")},
            folder=self._folder / row["path"],
            radii=None if place is None else tuple(self._radii[slice(*place)].tolist()),
            row={name: row[name] for name in KEPT},
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(operator.eq, self, other))

    __hash__ = None  # type: ignore[assignment]

    def column(self, name: str) -> list[Any]:
        """Return one value per clip, in their order."""
        return self._columns[name]

    def labelled(self, label_index: list[int]) -> Clips:
        """Return the same clips with other labels; their rows stay as they are."""
        return Clips(self._folder, {**self._columns, "label_index": label_index}, self._radii, self._radii_of)


def clips_of(manifest: Manifest, split_of: Mapping[str, str], split: str) -> Clips:
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
    import pyarrow as pa
    import pyarrow.compute as pc

    done = manifest.select(outcome=Outcome.DONE).table
    own = done.filter(pa.array([split_of.get(key) == split for key in done.column("key").to_pylist()], pa.bool_()))
    columns = {name: own.column(name).to_pylist() for name in (*_NEEDED, "key", "bound", "source", "group")}
    columns |= {name: _shared(own.column(name)) for name in ("quantizer", *KEPT) if name not in columns}
    if lacking := [name for name in _NEEDED if own.column(name).null_count]:
        number = columns[lacking[0]].index(None)
        lacking = [name for name in _NEEDED if columns[name][number] is None]
        key = columns["key"][number]
        raise ManifestError(f"clip {key!r} is done, but its row has no {', '.join(lacking)}: build it again")
    counts = pc.list_value_length(own.column("radii")).to_pylist()
    ends = itertools.accumulate(count or 0 for count in counts)
    radii_of = [None if count is None else (end - count, end) for count, end in zip(counts, ends, strict=True)]
    return Clips(manifest.folder, columns, pc.list_flatten(own.column("radii")).to_numpy(), radii_of)


def _shared(column: pa.ChunkedArray) -> list[Any]:
    """Return a column's values, where equal ones are one object: of 540,000 clips few have a label of their own."""
    encoded = column.combine_chunks().dictionary_encode()
    values = [*encoded.dictionary.to_pylist(), None]
    return [values[number] for number in encoded.indices.fill_null(-1).to_pylist()]


def shuffled(clips: Clips, seed: int) -> Clips:
    """Return the clips with their labels dealt out at random among them: a control that must not be learnable.

    Each class keeps its number of clips. Rows stay as they are.

    Args:
        clips: Training clips.
        seed: Seed of the permutation.
    """
    order = np.random.default_rng(seed).permutation(len(clips))
    labels = clips.column("label_index")
    return clips.labelled([labels[other] for other in order.tolist()])


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
