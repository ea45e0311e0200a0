"""Runs side by side: what differs in their settings, and in their figures, on the same clips where there are such."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from araflow.core.errors import SourceError, brief
from araflow.core.reading import SMALL, read_file
from araflow.core.table import Table, figures, names
from araflow.recognition.evaluation.answers import Evaluation
from araflow.recognition.evaluation.paired import Pair, pair
from araflow.recognition.evaluation.tables import figure_cells
from araflow.recognition.evaluation.write import PREDICTIONS, read_predictions

_EVALUATION = "evaluation"
_OWN = ("name", "out")
"""Settings that differ in any two runs."""
_ABSENT = "–"


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """A run that was evaluated.

    Attributes:
        name: As it was named.
        evaluation: Its figures and predictions.
        settings: By dotted key; empty where only the evaluation is there.
        epochs: Trained; ``None`` likewise.
    """

    name: str
    evaluation: Evaluation
    settings: Mapping[str, Any]
    epochs: int | None


class _Note(BaseModel):
    """What is read of a run's ``run.json``."""

    spec: dict[str, Any]
    identity: dict[str, Any]
    finished: int


@dataclasses.dataclass(frozen=True, eq=False)
class Comparison:
    """Runs side by side.

    Attributes:
        runs: In the order in which they were named.
        differing: Settings that are not the same in all of them, by dotted key, each with a value per run.
        pairs: The first run with each other one, clip by clip.
    """

    runs: tuple[Run, ...]
    differing: Mapping[str, tuple[Any, ...]]
    pairs: tuple[Pair, ...]

    def tables(self) -> list[Table]:
        """Return the figures, the pairs, and the settings that differ."""
        shown = [
            (run.name, _ABSENT if run.epochs is None else str(run.epochs), *figure_cells(run.evaluation.metrics))
            for run in self.runs
        ]
        columns = (*names("run"), *figures("epochs", "videos", "top-1", "95 % interval", "mean class"))
        beside = [(run.name, *_pair_cells(one)) for run, one in zip(self.runs[1:], self.pairs, strict=True)]
        headings = ("videos of both", "top-1", "95 % interval", "this alone", "the first alone", "chance")
        found = [
            Table(columns, shown, title="figures"),
            Table((*names("run"), *figures(*headings)), beside, title=f"clip by clip, against {self.runs[0].name}"),
        ]
        if self.differing:
            rows = [(key, *map(_shown, values)) for key, values in self.differing.items()]
            found.append(Table(names("setting", *(run.name for run in self.runs)), rows, title="settings that differ"))
        return found

    def to_json(self) -> dict[str, Any]:
        """Return all of it, JSON-ready."""
        return {
            "runs": [
                {"name": run.name, "epochs": run.epochs, "metrics": run.evaluation.to_json()} for run in self.runs
            ],
            "pairs": [
                {"first": self.runs[0].name, "second": run.name, **one.to_json()}
                for run, one in zip(self.runs[1:], self.pairs, strict=True)
            ],
            "settings": {key: list(values) for key, values in self.differing.items()},
        }


def compare(paths: Sequence[Path]) -> Comparison:
    """Read runs and hold them side by side.

    Args:
        paths: Folders of runs, of which each is a row; a folder of several runs, as of an experiment under several
            protocols or of a sweep, stands for these; the folder of an evaluation has no settings.

    Raises:
        SourceError: There are fewer than two runs, one is not evaluated, or it cannot be read.
    """
    found = tuple(map(read, itertools.chain.from_iterable(map(evaluated, paths))))
    if len(found) < 2:
        raise SourceError(f"compare: {len(found)} evaluated run in {', '.join(map(str, paths))}; give two or more")
    keys = sorted({key for run in found for key in run.settings})
    every = {key: tuple(run.settings.get(key) for run in found) for key in keys if key not in _OWN}
    differing = {key: values for key, values in every.items() if any(value != values[0] for value in values)}
    return Comparison(found, differing, tuple(pair(found[0].evaluation, run.evaluation) for run in found[1:]))


def evaluated(path: Path) -> list[Path]:
    """Return the folders of evaluated runs that a path stands for: those in it, or itself."""
    if not path.is_dir() or _is_evaluated(path):
        return [path]
    within = sorted(folder for folder in path.iterdir() if folder.is_dir() and _is_evaluated(folder))
    return [folder for folder in within if folder.name != _EVALUATION] or [path]


def _is_evaluated(folder: Path) -> bool:
    return (folder / PREDICTIONS).is_file() or (folder / _EVALUATION / PREDICTIONS).is_file()


def read(path: Path) -> Run:
    """Read one run.

    Raises:
        SourceError: It is not evaluated, or cannot be read.
    """
    inside = path / _EVALUATION
    if (path / "run.json").is_file() and not inside.is_dir():
        raise SourceError(f"{path}: a run that is not evaluated yet; train-eval goes on with it")
    evaluation = read_predictions(inside if inside.is_dir() else path)
    note = _note(path / "run.json")
    if note is None:
        return Run(str(path), evaluation, {}, None)
    settings = {**_flat(note.spec), "manifest's SHA-256": note.identity.get("manifest_sha256")}
    return Run(str(path), evaluation, settings, note.finished)


def _note(file: Path) -> _Note | None:
    try:
        return _Note.model_validate_json(read_file(file, SMALL))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValidationError) as error:
        raise SourceError(f"{file}: not what a run of araflow writes: {brief(str(error).splitlines()[0])}") from error


def _flat(tree: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found |= _flat(value, f"{path}{key}.") if isinstance(value, dict) and value else {f"{path}{key}": value}
    return found


def _pair_cells(one: Pair) -> tuple[str, ...]:
    if not one.count:
        return "0", *(_ABSENT,) * 5
    low, high = one.interval
    return (
        f"{one.count:,}",
        f"{100 * one.difference:+.1f}",
        f"{100 * low:+.1f} to {100 * high:+.1f}",
        f"{one.second:,}",
        f"{one.first:,}",
        f"p = {one.chance:.2g}",
    )


def _shown(value: object) -> str:
    if value is None:
        return _ABSENT
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 40 else f"{text[:39]}…"
