"""What is written about an evaluation, and its predictions read back.

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
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import TypeAdapter

from araflow.core import written
from araflow.core.errors import SourceError, brief
from araflow.core.files import parquet
from araflow.core.leakage import Leakage
from araflow.recognition.evaluation.answers import DESCRIPTION, Evaluation
from araflow.recognition.evaluation.metrics import ranked
from araflow.recognition.evaluation.tables import markdown

if TYPE_CHECKING:
    import pyarrow as pa

PREDICTIONS = "predictions.parquet"
_META, _WARNINGS = b"araflow-labels", b"araflow-warnings"


def table(evaluation: Evaluation) -> pa.Table:
    """Return one row per video, sorted by key; its metadata names the classes in label order.

    ``probability`` has one value per class in label order; ``top5`` the names of the five most probable classes,
    best first; ``windows`` how many windows were scored.
    """
    import pyarrow as pa

    best = ranked(evaluation.probabilities)
    rows = [
        {
            "key": key,
            "label": evaluation.labels[target],
            "label_index": target,
            "predicted": evaluation.labels[names[0]],
            "correct": bool(names[0] == target),
            "probability": probability,
            "top5": [evaluation.labels[name] for name in names],
            "windows": windows,
            **row,
        }
        for key, target, names, probability, windows, row in zip(
            evaluation.keys,
            evaluation.targets.tolist(),
            best.tolist(),
            evaluation.probabilities.tolist(),
            evaluation.windows.tolist(),
            evaluation.rows,
            strict=True,
        )
    ]
    metadata = {_META: json.dumps(evaluation.labels, ensure_ascii=False)}
    if evaluation.warnings:
        metadata[_WARNINGS] = json.dumps(evaluation.warnings, ensure_ascii=False)
    schema = _schema().with_metadata(metadata)
    return pa.Table.from_pylist(sorted(rows, key=lambda row: row["key"]), schema=schema)


def confusion_csv(evaluation: Evaluation) -> str:
    """Return the confusion matrix: a header with the predicted classes, then a line per true class."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["true / predicted", *evaluation.labels])
    writer.writerows(
        [label, *row] for label, row in zip(evaluation.labels, evaluation.metrics.confusion.tolist(), strict=True)
    )
    return text.getvalue()


def write(evaluation: Evaluation, folder: Path, *, leakage: Leakage | None = None) -> None:
    """Write all of it; each file whole or not at all.

    Args:
        evaluation: What to write.
        folder: Made where it is not there.
        leakage: For the summary; see ``markdown``.

    Raises:
        OutputError: It cannot be written.
        UnavailableError: matplotlib is not installed.
    """
    from araflow.recognition import pictures

    figures = json.dumps(evaluation.to_json(), indent=1, ensure_ascii=False) + "\n"
    files = {
        "metrics.json": figures.encode(),
        PREDICTIONS: parquet(table(evaluation)),
        "confusion.csv": confusion_csv(evaluation).encode(),
        "confusion.png": pictures.confusion(evaluation.metrics.confusion, evaluation.labels, _title(evaluation)),
        "summary.md": markdown(evaluation, leakage).encode(),
    }
    contents = {folder / name: content for name, content in files.items()}
    written.check(contents, folder, adopt=_is_ours(folder / PREDICTIONS))
    written.write(contents, folder)


def _is_ours(predictions: Path) -> bool:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return _META in (pq.read_schema(predictions).metadata or {})
    except (OSError, pa.ArrowException):
        return False


def _title(evaluation: Evaluation) -> str:
    top1 = evaluation.metrics.top1
    low, high = top1.interval
    return f"top-1 {100 * top1.value:.1f} % ({100 * low:.1f} to {100 * high:.1f}), {top1.count:,} videos"


def _schema() -> pa.Schema:
    import pyarrow as pa

    texts = dict.fromkeys(("key", "label", "predicted", *DESCRIPTION), pa.string())
    others = {
        "label_index": pa.int32(),
        "correct": pa.bool_(),
        "probability": pa.list_(pa.float64()),
        "top5": pa.list_(pa.string()),
        "windows": pa.int32(),
        "people": pa.int16(),
    }
    names = ("key", "label", "label_index", "predicted", "correct", "probability", "top5", "windows", *DESCRIPTION)
    return pa.schema([(name, (texts | others)[name]) for name in names])


_MOST_ROWS = 10_000_000
"""Videos of an evaluation; Kinetics-700 has 35,000 to validate on."""


def read_predictions(path: Path) -> Evaluation:
    """Read the predictions of an earlier evaluation, and measure them anew.

    Args:
        path: A ``predictions.parquet``, or the folder of an evaluation.

    Raises:
        SourceError: There is none, or it is not what ``write`` wrote.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = path / PREDICTIONS if path.is_dir() else path
    if not file.is_file():
        raise SourceError(f"{file}: no such predictions; `araflow evaluate` writes them")
    try:
        with pa.OSFile(str(file)) as opened:  # as in araflow.store.manifest: no path, no threads
            found = pq.ParquetFile(opened, pre_buffer=False)
            if found.metadata.num_rows > _MOST_ROWS:
                raise SourceError(f"{file}: has {found.metadata.num_rows:,} rows, which no evaluation has")
            table = found.read(use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"{file}: not a readable Parquet file: {brief(str(error))}") from error
    encoded = (table.schema.metadata or {}).get(_META)
    absent = [name for name in _schema().names if name not in table.column_names]
    if encoded is None or absent:
        why = f"without {', '.join(absent) or 'the names of its classes'}"
        raise SourceError(f"{file}: a Parquet file, but not araflow's predictions: {why}")
    try:
        rows = table.select(_schema().names).cast(_schema()).to_pylist()
        labels = TypeAdapter(list[str]).validate_json(encoded)
        wrong = [row["key"] for row in rows if len(row["probability"] or ()) != len(labels)]
        if wrong:
            raise SourceError(f"{file}: {wrong[0]!r} does not have {len(labels)} probabilities, one per class")
        found = Evaluation.from_parts(
            labels,
            [row["key"] for row in rows],
            np.array([row["label_index"] for row in rows], dtype=np.int64),
            np.array([row["probability"] for row in rows], dtype=np.float64).reshape(len(rows), len(labels)),
            np.array([row["windows"] for row in rows], dtype=np.int64),
            [{name: row[name] for name in DESCRIPTION} for row in rows],
        )
        warnings = TypeAdapter(tuple[str, ...]).validate_json((table.schema.metadata or {}).get(_WARNINGS, b"[]"))
        return dataclasses.replace(found, warnings=warnings)
    except (pa.ArrowException, ValueError, TypeError, IndexError) as error:
        raise SourceError(
            f"{file}: its rows are not araflow's predictions: {brief(str(error).splitlines()[0])}"
        ) from error
