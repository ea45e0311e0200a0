"""What a training goes on from: its own checkpoints, which say whose they are."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from araflow.core.errors import OutputError


def so_far(last: Path, identity: str) -> tuple[int, bool]:
    """Return how many epochs a checkpoint has seen, and whether early stopping has ended its training.

    Args:
        last: The checkpoint; there may be none.
        identity: Digest of all that makes this training the one it is.

    Raises:
        OutputError: See ``read``.
    """
    if not last.is_file():
        return 0, False
    found = read(last, identity)
    try:
        states = found["callbacks"].values()
        stops = [state["stopped_epoch"] for state in states if "stopped_epoch" in state]
        return len(next(state["rows"] for state in states if "rows" in state)), any(stops)
    except (LookupError, TypeError, AttributeError, StopIteration) as error:
        raise _unreadable(last) from error


def read(file: Path, identity: str) -> dict[str, Any]:
    """Return what a checkpoint of a training holds, which an earlier version may have written without an identity.

    Args:
        file: The checkpoint.
        identity: Digest of all that makes this training the one it is.

    Raises:
        OutputError: It cannot be read, or is of another training.
    """
    try:
        found: dict[str, Any] = torch.load(file, weights_only=True, map_location="cpu")
        whose = [state.get("identity") for state in found["callbacks"].values() if "rows" in state]
    except (RuntimeError, LookupError, TypeError, AttributeError, pickle.UnpicklingError, EOFError) as error:
        raise _unreadable(file) from error
    if whose not in ([identity], [None]):
        raise OutputError(f"{file}: is of another training; remove {file.parent} to train anew, or choose another out")
    return found


def _unreadable(file: Path) -> OutputError:
    return OutputError(f"{file}: not a readable checkpoint; remove {file.parent} to train anew")
