"""The flow fields of one clip: frames onto the engine, its vectors back, in pixels and at full size."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from araflow.core.errors import ClipError
from araflow.media.fields import FlowField, GrayFrame
from araflow.optical.backends import _blocks
from araflow.optical.backends._checks import checked
from araflow.optical.backends.nvof.hardware import Engine
from araflow.optical.backends.nvof.session import Session, SessionSettings


def stream(
    open_engine: Callable[[], Engine], frames: Iterable[GrayFrame], settings: SessionSettings
) -> Iterator[FlowField]:
    """Yield the field of each pair of neighbouring frames, from one session.

    Args:
        open_engine: Called when the first frame has come and is large enough.
        frames: uint8, (height, width).
        settings: Of the session.

    Raises:
        ClipError: The frames are too small, too large, or not all of one size.
        UnavailableError: The driver or the engine refused.
    """
    with contextlib.ExitStack() as stack:
        session: Session | None = None
        for index, frame in enumerate(checked(frames, _blocks.SMALLEST, "hardware")):
            height, width = frame.shape
            if session is None:
                session = stack.enter_context(_session(open_engine(), width, height, settings))
                padded = np.empty((session.height, session.width), np.uint8)
            _pad(frame, padded)
            session.upload(index % 2, padded)
            if index:
                session.execute((index - 1) % 2)
                yield _blocks.pixels(session.vectors(), session.grid, height, width)


def _session(engine: Engine, width: int, height: int, settings: SessionSettings) -> Session:
    most = engine.caps.largest
    if width > most[0] or height > most[1]:
        raise ClipError(
            "frame-size", f"{width}x{height} frames; hardware takes at most {most[0]}x{most[1]} on this GPU"
        )
    return Session(engine, width, height, settings)


def _pad(frame: GrayFrame, into: NDArray[np.uint8]) -> None:
    """Copy a frame into the upper left of ``into`` and repeat its last column and row over the rest."""
    height, width = frame.shape
    into[:height, :width] = frame
    into[:height, width:] = frame[:, -1:]
    into[height:] = into[height - 1]
