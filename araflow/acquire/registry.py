"""What is known of each dataset: ``data_manifests/<name>.yaml`` with addresses, checksums, licence and class counts."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

import yaml
from pydantic import BaseModel, ConfigDict, Field

from araflow.core import resources
from araflow.core.errors import SourceError, SpecError

ENVIRONMENT = "ARAFLOW_REGISTRY"
"""Environment variable that names another folder of registry files, for private mirrors and tests."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Artefact(_Frozen):
    """One downloadable file.

    Attributes:
        mirrors: Addresses of the very same bytes, tried in order.
        name: The file's name; ``None`` takes the last part of its first address.
        size: Bytes, or ``None`` where unknown.
        sha256: Hexadecimal digest, or ``None`` where unknown: then the first download is trusted, and its digest kept.
        holds: What the archive holds, for a person; unpacking looks inside and does not depend on it.
        source: Where these facts were read, and when.
        note: What the user should know before it is downloaded.
    """

    mirrors: tuple[str, ...] = Field(min_length=1)
    name: str | None = Field(None, pattern=r"^[\w.-]*\w$")
    size: int | None = None
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")
    holds: str | None = None
    source: str
    note: str | None = None

    @property
    def file_name(self) -> str:
        """The name that the file is kept under."""
        return self.name or file_name(self.mirrors[0])


class Subset(_Frozen):
    """One of the subsets (train, val, test) of a dataset that comes in parts.

    Attributes:
        parts: Address of the list of archives, one address per line.
        annotations: Addresses of the list of clips, the most complete one first.
        archives: Number of archives.
        size: Bytes of all of them together.
        listed: Clips that the list of clips names.
        present: Clips that the archives hold; fewer, since videos have vanished.
        source: Where these facts were read, and when.
    """

    parts: str
    annotations: tuple[str, ...] = Field(min_length=1)
    archives: int | None = None
    size: int | None = None
    listed: int | None = None
    present: int | None = None
    source: str


class Registry(_Frozen):
    """One dataset's facts.

    Attributes:
        videos: Ways to get all videos, the best first; each is tried until one works.
        splits: Ways to get the official split files.
        subsets: Of a dataset that comes in parts, instead of ``videos`` and ``splits``.
        replacement: Archive of videos that replace broken ones of the parts.
        classes: Class name to its number of clips, or to ``None`` where that is not known.
        classes_source: Where the class list was read.
    """

    name: str
    title: str
    page: str
    citation: str
    licence: str
    videos: tuple[Artefact, ...] = ()
    splits: tuple[Artefact, ...] = ()
    subsets: dict[str, Subset] = {}
    replacement: Artefact | None = None
    classes: dict[str, int | None]
    classes_source: str


def names() -> list[str]:
    """Return the datasets that have a file."""
    return sorted(path.stem for path in _folder().glob("*.yaml"))


def _folder() -> Path:
    return Path(os.environ[ENVIRONMENT]) if ENVIRONMENT in os.environ else resources.folder("data_manifests")


def load(name: str) -> Registry:
    """Read the facts of one dataset.

    Raises:
        SourceError: The file is absent or malformed.
    """
    path = _folder() / f"{name}.yaml"
    try:
        return _parse(path, path.stat().st_mtime_ns)
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: pydantic's ValidationError, and text that is not UTF-8
        raise SourceError(f"{path}: not a dataset registry file: {error}") from error


@functools.lru_cache(maxsize=16)
def _parse(path: Path, changed: int) -> Registry:
    return Registry.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))


def file_name(url: str) -> str:
    """Return the file name at the end of an address, decoded; never one that leads elsewhere."""
    name = unquote(urlsplit(url).path).replace("\\", "/").rpartition("/")[2].replace("\0", "")
    return name if name not in ("", ".", "..") else "download"


def is_address(text: str) -> bool:
    """Whether a source is an http(s) address, and not a path."""
    return text.lower().startswith(("http://", "https://"))


def choose(artefacts: Sequence[Artefact], mirror: str | None) -> list[Artefact]:
    """Return the ways to get a file that ``dataset.mirror`` allows; an address stands for itself.

    Raises:
        SpecError: It is part of no known host's name.
    """
    if mirror is None:
        return list(artefacts)
    if is_address(mirror):
        known = [artefact for artefact in artefacts if mirror in artefact.mirrors]
        return [a.model_copy(update={"mirrors": (mirror,)}) for a in known] or [
            Artefact(mirrors=(mirror,), source="the user")
        ]
    fitting = (
        [url for url in artefact.mirrors if mirror.lower() in (urlsplit(url).hostname or "")] for artefact in artefacts
    )
    chosen = [
        artefact.model_copy(update={"mirrors": tuple(urls)})
        for artefact, urls in zip(artefacts, fitting, strict=True)
        if urls
    ]
    if not chosen:
        hosts = sorted({urlsplit(url).hostname or "" for artefact in artefacts for url in artefact.mirrors})
        raise SpecError(f"dataset.mirror: {mirror!r} is part of no known host; known: {', '.join(hosts)}")
    return chosen


def ways(known: Registry, what: str, mirror: str | None) -> list[Artefact]:
    """Return the ways to get ``videos`` or ``splits``; a mirror is for the big files, lists come from wherever.

    Raises:
        SpecError: The mirror is part of no known host's name.
    """
    return choose(known.videos, mirror) if what == "videos" else list(known.splits)
