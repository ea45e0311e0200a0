"""Optical-flow backends: each file here that does not begin with an underscore is one, named as the file is.

A backend module offers three functions (``Backend`` spells them out). One contract suite, ``tests/contract``, holds
for all of them. A flow field belongs to the first frame of its pair: ``field[y, x]`` is how far, in pixels, the point
at (x, y) of frame k has moved in frame k+1; u is to the right, v is down.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from araflow import resources
from araflow.errors import SpecError, UnavailableError

FlowField = NDArray[np.float32]
"""float32, (height, width, 2): u and v in pixels per frame, anchored at the first frame of the pair."""
GrayFrame = NDArray[np.uint8]
"""uint8, (height, width)."""

_PREFERENCE = ("nvof", "vpi", "cuda", "opencv")
"""Order in which ``auto`` looks: hardware engines first, then any backend that is not named here."""


@dataclasses.dataclass(frozen=True, slots=True)
class Availability:
    """Whether a backend can run here.

    Attributes:
        present: It can.
        detail: What was found, or why not and how to get it.
    """

    present: bool
    detail: str


class Backend(Protocol):
    """What a backend module offers."""

    def available(self) -> Availability:
        """Look for the backend's library or device, without side effects and without raising."""
        ...

    def parameters(self, algorithm: str, preset: str) -> Mapping[str, float]:
        """Return the algorithm's resolved parameters, which become part of the fingerprint.

        Raises:
            SpecError: The backend has no such algorithm or preset.
        """
        ...

    def compute(self, frames: Iterable[GrayFrame], algorithm: str, preset: str) -> Iterator[FlowField]:
        """Yield the flow field of each pair of neighbouring frames, as soon as the second frame has come.

        A field is valid until the next one is asked for. N frames give N - 1 fields.

        Raises:
            ClipError: The frames are too small for the algorithm.
        """
        ...


def load(name: str) -> Backend:
    """Import the backend called ``name``, whether or not it can run here.

    Raises:
        SpecError: There is no such backend.
    """
    names = resources.plugins("optical")
    if name not in names:
        raise SpecError(f"optical.backend: {name!r} is not a backend; allowed: auto, {', '.join(names)}")
    return cast(Backend, importlib.import_module(f"araflow.optical.{name}"))


def choose(name: str) -> tuple[str, str]:
    """Settle which backend runs.

    Args:
        name: A backend's name, or ``auto``.

    Returns:
        The backend's name, and a sentence that says why it was chosen.

    Raises:
        SpecError: There is no such backend.
        UnavailableError: The named backend (or, for ``auto``, every one) is absent; says how to get it.
    """
    if name != "auto":
        found = load(name).available()
        if not found.present:
            raise UnavailableError(f"optical.backend: {name} cannot run here: {found.detail}")
        return name, f"{name}, as asked: {found.detail}"
    absent: list[str] = []
    names = resources.plugins("optical")
    for candidate in [*(n for n in _PREFERENCE if n in names), *(n for n in names if n not in _PREFERENCE)]:
        found = load(candidate).available()
        if found.present:
            return candidate, f"{candidate}, chosen by auto: {found.detail}" + "".join(absent)
        absent.append(f"; not {candidate}: {found.detail}")
    raise UnavailableError("optical.backend: auto found no backend that can run here" + "".join(absent))
