"""An experiment's file, ours or NVIDIA TAO's, as ``ExperimentSpec``."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from araflow.core import spec_file
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


def read(file: str | Path, overrides: Sequence[str] = (), *, scratch: Path | None = None) -> Read:
    """Read an experiment.

    A TAO file names folders of frames; without ``manifest=`` among the overrides, a manifest of these is written into
    ``<out>/tao``.

    Args:
        file: Path of a YAML file, or the bare name of a shipped one (``sample_flow``).
        overrides: Settings on top, each ``dotted.key=value``: our keys, and for a TAO file its own too.
        scratch: Folder for that manifest instead of the run's, which is then left as it is.

    Raises:
        SpecError: No such file, not YAML, an unknown key, or a value that is not allowed.
        SourceError: A TAO file's folders do not hold what they should.
    """
    from araflow.recognition import tao

    path = spec_file.find_config(file, "train")
    origin = f"{path} with overrides" if overrides else str(path)
    tree = spec_file.read(path)
    if not tao.is_tao(tree):
        spec_file.override(tree, overrides, ExperimentSpec)
        return Read(spec_file.validate(tree, ExperimentSpec, origin), [])
    theirs, ours = tao.split_overrides(overrides)
    their_tree = spec_file.override(tree, theirs, ExperimentSpec)
    tree, fields = tao.translate(their_tree)
    spec_file.override(tree, ours, ExperimentSpec)
    spec = spec_file.validate(tree, ExperimentSpec, origin)
    if not any(text.startswith("manifest=") for text in ours):
        written = tao.folders(their_tree).manifest(scratch or Path(spec.out) / "tao", spec.network.modality)
        spec = spec.model_copy(update={"manifest": str(written)})
    return Read(spec, fields)


def fields_json(read: Read) -> list[dict[str, Any]]:
    """Return what became of each field of a TAO file, JSON-ready."""
    from araflow.recognition import tao

    return tao.to_json(read.fields)
