"""An evaluation: one answer per video, how good they are, and what is written about it.

The folder of an evaluation::

    metrics.json          every figure; see araflow.recognition.evaluation.metrics
    predictions.parquet   one row per video; ``read_predictions`` reads it back, for ``fuse_streams``
    confusion.csv, .png   true class down, predicted class across
    summary.md            the tables

Nothing in them names a time or a machine: the same scores give the same bytes.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from araflow.core.errors import OutputError, SourceError
from araflow.core.files import parquet, replace
from araflow.core.processes import usable_cores
from araflow.core.splits import Leakage
from araflow.recognition.evaluation import metrics as measuring
from araflow.recognition.evaluation.fusion import fuse_streams
from araflow.recognition.evaluation.metrics import ATTRIBUTES, Metrics
from araflow.recognition.evaluation.scores import Scored, Scores, fuse, score
from araflow.recognition.evaluation.tables import markdown, print_evaluation, side_by_side
from araflow.recognition.spec import EvaluationSpec

if TYPE_CHECKING:
    import pyarrow as pa

    from araflow.recognition.data.clips import VideoClip

__all__ = [
    "PREDICTIONS",
    "Evaluation",
    "Scores",
    "evaluate",
    "fuse",
    "fuse_streams",
    "markdown",
    "print_evaluation",
    "read_predictions",
    "score",
    "side_by_side",
]

PREDICTIONS = "predictions.parquet"
_META = b"araflow-labels"
_KEPT = ("split", "group", *ATTRIBUTES)
_WINDOWS_PER_PROCESS = 64
"""Fewer do not repay the seconds that a loading process takes to start."""


@dataclasses.dataclass(frozen=True, eq=False)
class Evaluation:
    """One answer per video, and how good they are.

    Attributes:
        labels: Class names in label order.
        keys: The videos' names.
        targets: int64, (videos,): true classes.
        probabilities: float64, (videos, classes).
        windows: int64, (videos,): windows that were scored.
        rows: Per video its split, group and attributes.
        metrics: How good they are.
    """

    labels: tuple[str, ...]
    keys: tuple[str, ...]
    targets: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    windows: NDArray[np.int64]
    rows: tuple[Mapping[str, Any], ...]
    metrics: Metrics

    @classmethod
    def of(
        cls,
        probabilities: NDArray[np.float64],
        clips: Sequence[Scored],
        labels: Sequence[str],
        *,
        windows: NDArray[np.int64],
        split: str | None = None,
    ) -> Evaluation:
        """Measure probabilities.

        Args:
            probabilities: float64, (videos, classes).
            clips: The videos, in the same order.
            labels: Class names in label order.
            windows: Number of windows of each.
            split: The split that they are; ``None``: as their rows say.

        Raises:
            SpecError: There is no video, or the arguments do not belong together.
            TrainingError: A probability is not a number; names the clip.
        """
        rows = [{name: clip.row.get(name) for name in _KEPT} for clip in clips]
        if split is not None:
            rows = [{**row, "split": split} for row in rows]
        targets = np.array([clip.label_index for clip in clips], dtype=np.int64)
        return cls.from_parts(labels, [clip.key for clip in clips], targets, probabilities, windows, rows)

    @classmethod
    def from_parts(
        cls,
        labels: Sequence[str],
        keys: Sequence[str],
        targets: NDArray[np.int64],
        probabilities: NDArray[np.float64],
        windows: NDArray[np.int64],
        rows: Sequence[Mapping[str, Any]],
    ) -> Evaluation:
        """Measure probabilities whose clips are not at hand: arguments as the attributes, errors as ``of``."""
        found = measuring.measure(probabilities, targets, labels, keys=keys, rows=rows)
        return cls(tuple(labels), tuple(keys), targets, probabilities, windows, tuple(rows), found)

    def table(self) -> pa.Table:
        """Return one row per video, sorted by key; its metadata names the classes in label order.

        ``probability`` has one value per class in label order; ``top5`` the names of the five most probable classes,
        best first; ``windows`` how many windows were scored.
        """
        import pyarrow as pa

        best = measuring.ranked(self.probabilities)
        rows = [
            {
                "key": key,
                "label": self.labels[target],
                "label_index": target,
                "predicted": self.labels[names[0]],
                "correct": bool(names[0] == target),
                "probability": probability,
                "top5": [self.labels[name] for name in names],
                "windows": windows,
                **row,
            }
            for key, target, names, probability, windows, row in zip(
                self.keys,
                self.targets.tolist(),
                best.tolist(),
                self.probabilities.tolist(),
                self.windows.tolist(),
                self.rows,
                strict=True,
            )
        ]
        schema = _schema().with_metadata({_META: json.dumps(self.labels, ensure_ascii=False)})
        return pa.Table.from_pylist(sorted(rows, key=lambda row: row["key"]), schema=schema)

    def confusion_csv(self) -> str:
        """Return the confusion matrix: a header with the predicted classes, then a line per true class."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["true / predicted", *self.labels])
        writer.writerows([label, *row] for label, row in zip(self.labels, self.metrics.confusion.tolist(), strict=True))
        return text.getvalue()

    def write(self, folder: Path, *, leakage: Leakage | None = None) -> None:
        """Write all of it; each file whole or not at all.

        Args:
            folder: Made where it is not there.
            leakage: For the summary; see ``markdown``.

        Raises:
            OutputError: It cannot be written.
            UnavailableError: matplotlib is not installed.
        """
        from araflow.recognition import pictures

        figures = json.dumps(self.metrics.to_json(), indent=1, ensure_ascii=False) + "\n"
        files = {
            "metrics.json": figures.encode(),
            PREDICTIONS: parquet(self.table()),
            "confusion.csv": self.confusion_csv().encode(),
            "confusion.png": pictures.confusion(self.metrics, self.labels),
            "summary.md": markdown(self, leakage).encode(),
        }
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name, content in files.items():
                replace(folder / name, content)
        except OSError as error:
            raise OutputError(f"{error.filename or folder}: cannot be written: {error.strerror or error}") from error


def _schema() -> pa.Schema:
    import pyarrow as pa

    texts = dict.fromkeys(("key", "label", "predicted", *_KEPT), pa.string())
    others = {
        "label_index": pa.int32(),
        "correct": pa.bool_(),
        "probability": pa.list_(pa.float64()),
        "top5": pa.list_(pa.string()),
        "windows": pa.int32(),
        "people": pa.int16(),
    }
    names = ("key", "label", "label_index", "predicted", "correct", "probability", "top5", "windows", *_KEPT)
    return pa.schema([(name, (texts | others)[name]) for name in names])


def read_predictions(path: Path) -> Evaluation:
    """Read the predictions of an earlier evaluation, and measure them anew.

    Args:
        path: A ``predictions.parquet``, or the folder of an evaluation.

    Raises:
        SourceError: There is none, or it is not what ``Evaluation.write`` wrote.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = path / PREDICTIONS if path.is_dir() else path
    if not file.is_file():
        raise SourceError(f"{file}: no such predictions; `araflow evaluate` writes them")
    try:
        with pa.OSFile(str(file)) as opened:  # as in araflow.store.manifest: no path, no threads
            table = pq.read_table(opened, use_threads=False, pre_buffer=False)
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"{file}: not a readable Parquet file: {error}") from error
    encoded = (table.schema.metadata or {}).get(_META)
    absent = [name for name in _schema().names if name not in table.column_names]
    if encoded is None or absent:
        why = f"without {', '.join(absent) or 'the names of its classes'}"
        raise SourceError(f"{file}: a Parquet file, but not araflow's predictions: {why}")
    rows = table.to_pylist()
    labels = json.loads(encoded)
    wrong = [row["key"] for row in rows if len(row["probability"]) != len(labels)]
    if wrong:
        raise SourceError(f"{file}: {wrong[0]!r} does not have {len(labels)} probabilities, one per class")
    return Evaluation.from_parts(
        labels,
        [row["key"] for row in rows],
        np.array([row["label_index"] for row in rows], dtype=np.int64),
        np.array([row["probability"] for row in rows], dtype=np.float64).reshape(len(rows), len(labels)),
        np.array([row["windows"] for row in rows], dtype=np.int64),
        [{name: row[name] for name in _KEPT} for row in rows],
    )


def evaluate(
    checkpoint: Path,
    clips: Sequence[VideoClip],
    spec: EvaluationSpec,
    *,
    workers: int | None = None,
    split: str | None = None,
    device: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Score clips with a recogniser.

    Args:
        checkpoint: Its file.
        clips: The videos, their labels in its order.
        spec: Settings.
        workers: Loading processes; ``None``: one per usable core, at most 8, and fewer for few windows.
        split: The split that they are; ``None``: as their rows say.
        device: Where to run; ``None``: the GPU where there is one.
        progress: See ``score``.

    Raises:
        SourceError: The checkpoint or a clip cannot be read.
        SpecError: There is no clip.
        TrainingError: The recogniser answers with what is no number.
    """
    import torch

    from araflow.recognition.checkpoint import load
    from araflow.recognition.data.windows import EvaluationWindows

    network, model = load(checkpoint)
    windows = EvaluationWindows(clips, model, spec)
    if workers is None:
        workers = min(8, usable_cores(), len(windows) // _WINDOWS_PER_PROCESS)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    scores = score(network, windows, batch_size=spec.batch_size, workers=workers, device=device, progress=progress)
    fused = fuse(scores, compat=spec.compat)
    return Evaluation.of(fused, clips, model.labels, windows=scores.per_video, split=split)
