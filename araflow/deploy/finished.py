"""Whether an experiment has nothing to do: what it made is all there, of this manifest and these settings.

``<out>/finished.json`` is the last that a run writes: its settings, what stages said, and digests of what they made.
Where anything is otherwise now, the run does what is to be done as ever.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from araflow.core import written
from araflow.core.errors import OutputError, SourceError
from araflow.core.installed import version_of
from araflow.core.reading import SMALL, read_file
from araflow.deploy.products import Product
from araflow.recognition.evaluation.write import PREDICTIONS, read_predictions
from araflow.recognition.experiment import Experiment, Prepared
from araflow.recognition.results import Result
from araflow.recognition.training import run as training

log = logging.getLogger("araflow")
NAME = "finished.json"
_FIGURES = ("metrics.json", PREDICTIONS, "confusion.csv", "confusion.png", "summary.md")


class _Stage(BaseModel):
    name: str
    file: str | None
    line: str
    figures: dict[str, Any]


class _Record(BaseModel):
    settings: dict[str, Any]
    files: dict[str, str]
    stages: list[_Stage]


def record(results: Mapping[str, Result]) -> None:
    """Take down that all is made.

    Raises:
        OutputError: It cannot be written.
    """
    for result in results.values():
        stages = [
            _Stage(name=made.name, file=made.file and made.file.name, line=made.line, figures=dict(made.figures))
            for made in result.deployed
            if isinstance(made, Product)
        ]
        own = result.prepared
        found = _Record(settings=_settings(own), files=_digests(own, result.trained.checkpoint), stages=stages)
        written.write_json(own.out / NAME, found.model_dump(mode="json"))


def read(found: Experiment, prepared: Sequence[Prepared]) -> dict[str, Result] | None:
    """Return the results of an experiment that has nothing to do, as ``run.carry_out`` does; ``None`` of others."""
    results: dict[str, Result] = {}
    for own in prepared:
        try:
            result = _read(own)
        except (OSError, ValueError, OutputError, SourceError):
            result = None  # the run says what is wrong, or makes it anew
        if result is None:
            return None
        results[found.key_of(own)] = result
    for result in results.values():
        log.info("trained already: %s, %d epochs", result.trained.checkpoint, result.trained.epochs)
        for note in result.prepared.notes:
            log.warning("%s", note)
    return results


def _read(prepared: Prepared) -> Result | None:
    trained = training.finished(prepared)
    if trained is None:
        return None
    known = _Record.model_validate_json(read_file(prepared.out / NAME, SMALL))
    if known.settings != _settings(prepared) or known.files != _digests(prepared, trained.checkpoint):
        return None
    deployed = tuple(
        Product(made.name, None if made.file is None else prepared.out / Path(made.file).name, made.line, made.figures)
        for made in known.stages
    )
    return Result(prepared, trained, read_predictions(prepared.out / "evaluation"), deployed, stored=True)


def _settings(prepared: Prepared) -> dict[str, Any]:
    """What the stages after a training depend on: settings, and what is installed here to make engines with."""
    import torch

    return {
        "out": str(prepared.out),  # as it is named in lines
        "manifest_sha256": prepared.model.manifest_sha256,
        "evaluation": prepared.spec.evaluation.model_dump(mode="json"),
        "deploy": prepared.spec.deploy.model_dump(mode="json"),
        "installed": {name: version_of(name) for name in ("onnx", "onnxruntime", "tensorrt")},
        "gpu": torch.cuda.is_available(),
    }


def _digests(prepared: Prepared, checkpoint: Path) -> dict[str, str]:
    found = {}
    for name in (checkpoint.name, *(f"evaluation/{one}" for one in _FIGURES), *training.MADE):
        if (prepared.out / name).is_file():
            with (prepared.out / name).open("rb") as file:
                found[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found
