"""What a recogniser's classifier sees of each clip: one vector per clip, and a picture of all in the plane."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from araflow.core import written
from araflow.core.clip import Clip, Outcome
from araflow.core.errors import SourceError, SpecError, did_you_mean
from araflow.core.files import parquet
from araflow.recognition.prediction._video_windows import whole
from araflow.recognition.prediction.predict import attempted, batches
from araflow.recognition.prediction.runners import Runner, Tensors
from araflow.recognition.prediction.video_flow import FlowMaker, flow_maker
from araflow.recognition.spec import EvaluationMode, EvaluationSpec, ModelSpec
from araflow.store.manifest import Manifest

if TYPE_CHECKING:
    from araflow.recognition.data.clips import Clips
    from araflow.recognition.data.windows import EvaluationWindows

TABLE, PICTURE = "features.parquet", "features.png"
_BATCH = 4
_UNLABELLED = "(no label)"


@dataclasses.dataclass(frozen=True, eq=False)
class Features:
    """Vectors of clips.

    Attributes:
        keys: The clips' names.
        labels: Their classes; ``None`` where a clip has none.
        splits: ``train``, ``val``, ``test`` …; ``None`` where a clip has none.
        vectors: float32 (clips, features): the mean over the clip's windows.
        failed: Clips that could not be used, by name, with the reason.
        warnings: In what their flow is not that of training, or is not known to be.
    """

    keys: tuple[str, ...]
    labels: tuple[str | None, ...]
    splits: tuple[str | None, ...]
    vectors: NDArray[np.float32]
    failed: dict[str, str] = dataclasses.field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def write(self, out: Path) -> list[Path]:
        """Write ``features.parquet`` and ``features.png``; see ``plane`` for the latter.

        Returns:
            The files.

        Raises:
            OutputError: They cannot be written.
            UnavailableError: matplotlib is not installed.
        """
        import pyarrow as pa

        from araflow.recognition import pictures

        table = pa.table(
            {
                "key": pa.array(self.keys, pa.string()),
                "label": pa.array(self.labels, pa.string()),
                "split": pa.array(self.splits, pa.string()),
                "embedding": pa.array(list(self.vectors), pa.list_(pa.float32())),
            }
        )
        if self.warnings:
            table = table.replace_schema_metadata({"araflow-warnings": json.dumps(self.warnings, ensure_ascii=False)})
        names = sorted({label or _UNLABELLED for label in self.labels})
        targets = np.array([names.index(label or _UNLABELLED) for label in self.labels])
        points = plane(self.vectors)
        varies = self.vectors.var(axis=0, dtype=np.float64).sum()
        shares = points.var(axis=0) / varies if varies else np.zeros(2)
        drawn = pictures.embedding_plot(
            points,
            targets,
            names,
            title=f"features of {len(self.keys):,} clips, in the two directions along which they vary most",
            axes=(f"first direction, {100 * shares[0]:.0f} % of the variance", f"second, {100 * shares[1]:.0f} %"),
        )
        return written.write({out / TABLE: parquet(table), out / PICTURE: drawn}, out)


def plane(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Project vectors onto the two directions along which they vary most (principal components).

    Each direction's sign, which the mathematics leaves open, is such that its largest entry is positive: the same
    vectors give the same picture.

    Args:
        vectors: float32 (clips, features), at least one clip.

    Returns:
        float64 (clips, 2); 0 along a direction that there is not.
    """
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    found = np.zeros((len(vectors), 2))
    for number, direction in enumerate(directions[:2]):
        found[:, number] = centred @ direction * np.sign(direction[np.abs(direction).argmax()])
    return found


def of_manifest(
    runner: Runner,
    manifest: Manifest,
    split: str | None = None,
    *,
    mode: EvaluationMode | None = None,
    segments: int | None = None,
    on_start: Callable[[int], None] = lambda clips: None,
    on_clip: Callable[[], None] = lambda: None,
) -> Features:
    """Return the features of a manifest's finished clips, with or without labels.

    Args:
        runner: The recogniser.
        manifest: The clips.
        split: Only those of this split; ``None`` takes all.
        mode: ``center``, ``conv`` or ``all``; ``None``: as it was evaluated (``ModelSpec.looking``).
        segments: Windows of ``conv``; ``None`` likewise.
        on_start: Called with the number of clips.
        on_clip: Called after each clip.

    Raises:
        SpecError: There is no such clip.
        SourceError: A clip's files cannot be read; names it.
    """
    from araflow.recognition.data.windows import EvaluationWindows

    clips = finished(manifest, split)
    on_start(len(clips))
    views = runner.spec.looking(mode, segments)
    evaluation = EvaluationSpec(mode=views.mode, segments=views.segments)
    vectors = []
    for clip in clips:
        windows = EvaluationWindows([clip], runner.spec, evaluation)
        vectors.append(_mean(runner, _stacked(windows, runner.spec)))
        on_clip()
    rows = [clip.row for clip in clips]
    return Features(
        tuple(clip.key for clip in clips),
        tuple(row["label"] for row in rows),
        tuple(row["split"] for row in rows),
        np.stack(vectors),
    )


def finished(manifest: Manifest, split: str | None) -> Clips:
    """Return a manifest's finished clips, of one split or all.

    Raises:
        SpecError: There are none; says which splits there are.
    """
    import pyarrow.compute as pc

    from araflow.recognition.data.clips import clips_of

    done = manifest.select(outcome=Outcome.DONE)
    wanted = {key: "wanted" for key, own in done.columns("key", "split") if split in (None, own)}
    if not wanted:
        there = sorted({own for (own,) in done.columns("split") if own is not None})
        shown = f"its splits: {', '.join(there)}{did_you_mean(split, there)}" if there else "it has no splits"
        raise SpecError(f"split: {manifest.folder} has no finished clip{f' of {split!r}' if split else ''}; {shown}")
    place = manifest.table.schema.get_field_index("label_index")
    indices = pc.fill_null(manifest.table.column(place), -1)  # for features a clip needs no label
    table = manifest.table.set_column(place, manifest.table.schema.field(place), indices)
    return clips_of(Manifest(table, manifest.metadata, manifest.folder), wanted, "wanted")


def of_videos(
    runner: Runner,
    videos: Sequence[Clip],
    *,
    mode: EvaluationMode | None = None,
    segments: int | None = None,
    flow: FlowMaker | None = None,
    upright: bool | None = None,
    on_clip: Callable[[str, str], None] = lambda key, reason: None,
) -> Features:
    """Return the features of videos; those that cannot be used are left out, and named.

    Args:
        runner: The recogniser.
        videos: What ``predict.list_videos`` returned.
        mode: ``center``, ``conv`` or ``all``; ``None``: as it was evaluated (``ModelSpec.looking``).
        segments: Windows of ``conv``; ``None`` likewise.
        flow: What ``flow_maker`` returned; ``None`` settles it.
        upright: As of ``predict.predict``.
        on_clip: Called after each video with its name, and why it could not be used (empty if it could).

    Raises:
        SourceError: None can be used.
    """
    flow = flow or flow_maker(runner.spec)
    turned = runner.spec.frames.upright if upright is None else upright
    kept: list[tuple[Clip, NDArray[np.float32]]] = []
    failed: dict[str, str] = {}
    views = runner.spec.looking(mode, segments)

    def seen(video: Path) -> NDArray[np.float32]:
        windows = whole(video, runner.spec, flow, views, upright=turned)
        return _mean(runner, (tensors for _, tensors in batches(windows)))

    for clip, vector, reason in attempted(videos, seen):
        if vector is None:
            failed[clip.key] = reason
        else:
            kept.append((clip, vector))
        on_clip(clip.key, reason)
    if not kept:
        first = next((f"; the first, {key}: {reason}" for key, reason in failed.items()), "")
        raise SourceError(f"none of {len(videos)} videos can be used{first}")
    return Features(
        tuple(clip.key for clip, _ in kept),
        tuple(clip.label for clip, _ in kept),
        tuple(clip.subset for clip, _ in kept),
        np.stack([vector for _, vector in kept]),
        failed,
    )


def _mean(runner: Runner, parts: Iterator[dict[str, Tensors]]) -> NDArray[np.float32]:
    """Return the mean over windows, float32 (features,)."""
    found = np.concatenate([runner.features(**tensors) for tensors in parts])
    return np.asarray(found.mean(axis=0, dtype=np.float64), np.float32)


def _stacked(windows: EvaluationWindows, spec: ModelSpec) -> Iterator[dict[str, Tensors]]:
    """Yield the tensors of a few windows at a time."""
    for start in range(0, len(windows), _BATCH):
        items = [windows[number] for number in range(start, min(start + _BATCH, len(windows)))]
        yield {stream: np.stack([np.asarray(item[stream], np.float32) for item in items]) for stream in spec.streams}
