"""What is known of each dataset: ``data_manifests/<name>.yaml`` with addresses, checksums, licence and class counts."""

from __future__ import annotations

import os
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field

from araflow import resources
from araflow.errors import SourceError

ENVIRONMENT = "ARAFLOW_REGISTRY"
"""Environment variable that names another folder of registry files, for private mirrors and tests."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Artefact(_Frozen):
    """One downloadable archive.

    Attributes:
        size: Bytes, or ``None`` where unknown.
        sha256: Hexadecimal digest, or ``None`` where unknown.
        mirrors: Addresses to try, in order.
        note: What the user should know before it is downloaded.
    """

    size: int | None = None
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")
    mirrors: tuple[str, ...] = Field(min_length=1)
    note: str | None = None


class Registry(_Frozen):
    """One dataset's facts; ``classes`` maps each class name to its number of clips."""

    name: str
    title: str
    citation: str
    licence: str
    videos: Artefact
    splits: Artefact
    classes: dict[str, int]


def load(name: str) -> Registry:
    """Read the facts of one dataset.

    Raises:
        SourceError: The file is absent or malformed.
    """
    folder = Path(os.environ[ENVIRONMENT]) if ENVIRONMENT in os.environ else resources.folder("data_manifests")
    path = folder / f"{name}.yaml"
    try:
        return Registry.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: pydantic's ValidationError, and text that is not UTF-8
        raise SourceError(f"{path}: not a dataset registry file: {error}") from error
