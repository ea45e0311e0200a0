"""Every exception that araflow raises on purpose.

::

    AraflowError                 anything a caller may want to catch as one
    ├── SpecError                a setting is wrong; raised before any work starts
    ├── UnavailableError         a named backend or tool is not on this machine; says how to get it
    ├── SourceError              a dataset source, list or name cannot be read as what it should be
    │   ├── FetchError           a download failed on every mirror
    │   └── ArchiveError         an archive is damaged, unsafe or of a kind that cannot be opened here
    │       └── NoToolError      it needs a tool that is not on this machine, or a better one
    ├── ClipError                one clip cannot be used; becomes a manifest row with its reason
    ├── ManifestError            a manifest is absent, of another schema, or unreadable
    ├── TrainingError            a training cannot go on, such as after a loss that is not a number
    ├── ExportError              an exported file does not compute what the checkpoint does
    ├── EngineError              TensorRT could not build or run an engine, or it is not what was asked for
    ├── OutputError              the output folder cannot be used: locked by another run, full, read-only
    ├── ServerLostError          the Prefect server has gone, which costs history and no data
    └── PoolClosedError          the run is being stopped; nothing is wrong with the clip

A message says what was wrong, where, and what to do about it. A module may narrow an error for what it calls itself;
whoever uses the module catches the error above: MirrorError, PassingError and StartOverError are FetchErrors, NvofError
and CudaError are UnavailableErrors, UnreadableNoteError and such are OutputErrors, and those of the kind
DamagedNoteError are SourceErrors.
"""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterable

_LONGEST_NAME, _MOST_NAMES = 100, 1000
"""What ``did_you_mean`` compares: the time for it grows with both."""


class AraflowError(Exception):
    """Base of every error that araflow raises on purpose."""


class SpecError(AraflowError):
    """A setting is wrong. The message names the key, its value and the allowed ones."""


class UnavailableError(AraflowError):
    """A backend or tool that was asked for by name is not on this machine. The message says how to get it."""


class SourceError(AraflowError):
    """A dataset source, split list or clip name cannot be read as what it should be."""


class FetchError(SourceError):
    """A download failed on every address that was tried."""


class ArchiveError(SourceError):
    """An archive is damaged, unsafe, or of a kind that cannot be opened here."""


class NoToolError(ArchiveError):
    """An archive may be good, but no tool on this machine unpacks it. The message says which one would."""


class ClipError(AraflowError):
    """One clip cannot be used; the stage turns this into a manifest row.

    Args:
        code: Short reason that counts can be grouped by, such as ``"truncated"`` (see ``araflow.core.clip.REASONS``).
        detail: What was seen, for a person.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail

    def __reduce__(self) -> tuple[type[ClipError], tuple[str, str]]:
        return ClipError, (self.code, self.detail)  # the default would pass the whole message as code


class ManifestError(AraflowError):
    """A manifest is absent, unreadable, or written by another schema version."""


class TrainingError(AraflowError):
    """A training cannot go on. The message names the clips or the setting."""


class ExportError(AraflowError):
    """An exported file does not compute what the checkpoint does. The message has the figures."""


class EngineError(AraflowError):
    """TensorRT could not build or run an engine, or the engine is not what was asked for."""


class OutputError(AraflowError):
    """The output folder cannot be used: another run holds it, it is read-only, or the disk is full."""


class ServerLostError(AraflowError):
    """The Prefect server no longer answers. What is done is kept."""


class PoolClosedError(AraflowError):
    """The run is being stopped, because it was cancelled or another shard failed; nothing is wrong with the clip."""


def did_you_mean(value: object, names: Iterable[str]) -> str:
    """Return ``; did you mean <name>?`` for the nearest of ``names``, or nothing where none is near."""
    text = str(value)
    if len(text) > _LONGEST_NAME:
        return ""
    close = difflib.get_close_matches(text, list(itertools.islice(names, _MOST_NAMES)), n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else ""


def brief(text: str, most: int = 200) -> str:
    """Return text for a message; of a longer one, its beginning and the count of what was left out."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text) - most:,} characters more)"
