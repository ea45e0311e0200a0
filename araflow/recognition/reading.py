"""An experiment's file, ours or NVIDIA TAO's, as ``ExperimentSpec``."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from araflow import spec_file
from araflow.recognition.spec import ExperimentSpec

if TYPE_CHECKING:
    from araflow.recognition.tao import Field


@dataclasses.dataclass(frozen=True, slots=True)
class Read:
    """What was read.

    Attributes:
        spec: The experiment.
        fields: Of a TAO file, what became of each of its fields; else empty.
    """

    spec: ExperimentSpec
    fields: list[Field]


def read(file: str | Path, overrides: Sequence[str] = ()) -> Read:
    """Read an experiment.

    Args:
        file: Path of a YAML file, or the bare name of a shipped one (``sample_flow``).
        overrides: Settings on top, each ``dotted.key=value`` with our keys, for TAO's files too.

    Raises:
        SpecError: No such file, not YAML, an unknown key, or a value that is not allowed.
    """
    path = spec_file.find_config(file, "train")
    tree, fields = spec_file.read(path), []
    from araflow.recognition import tao

    if tao.is_tao(tree):
        tree, fields = tao.translate(tree)
    spec_file.override(tree, overrides, ExperimentSpec)
    return Read(spec_file.validate(tree, ExperimentSpec, f"{path} with overrides" if overrides else str(path)), fields)


def fields_json(read: Read) -> list[dict[str, Any]]:
    """Return what became of each field of a TAO file, JSON-ready."""
    return [dataclasses.asdict(field) for field in read.fields]
