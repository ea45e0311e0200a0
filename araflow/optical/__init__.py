"""Optical-flow backends: each file here that does not begin with an underscore is one, named as the file is.

A backend module offers what ``Backend`` spells out. One contract suite, ``tests/contract``, holds for all of them. A
flow field belongs to the first frame of its pair: ``field[y, x]`` is how far, in pixels, the point at (x, y) of frame k
has moved in frame k+1; u is to the right, v is down.

May import ``core`` and ``media``.
"""

from __future__ import annotations

import dataclasses
import importlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Protocol, cast

from araflow.core import resources
from araflow.core.errors import SpecError, UnavailableError

if TYPE_CHECKING:
    from araflow.media.fields import FlowField, GrayFrame

__all__ = [
    "PRESETS",
    "Availability",
    "Backend",
    "Choice",
    "algorithms",
    "backends",
    "choose",
    "elsewhere",
    "glance",
    "has_presets",
    "load",
    "needs_device",
    "quality",
]

PRESETS = ("fastest", "fast", "balanced", "accurate")
"""What a preset may be called, the fastest first."""


@dataclasses.dataclass(frozen=True, slots=True)
class Availability:
    """Whether a backend can run here.

    Attributes:
        present: It can.
        detail: What was found, or why not and how to get it.
        algorithms: Those of its algorithms that can run here; ``None`` for all.
    """

    present: bool
    detail: str
    algorithms: tuple[str, ...] | None = None


class Backend(Protocol):
    """What a backend module offers.

    Attributes:
        ALGORITHMS: Names of its algorithms, the one that ``auto`` takes first.
        PRESETS: The presets of each algorithm that has any; the others compute the same at every preset.
        PREFERENCE: How soon ``auto`` takes the backend: a number for ``auto``, and for each algorithm that is asked for
            by name where another one holds. The largest that can run is taken; one that states none comes last.
        ONE_DEVICE: It uses a GPU, or an engine of which a machine has one; may be left out where it does not.
    """

    ALGORITHMS: tuple[str, ...]
    PRESETS: Mapping[str, tuple[str, ...]]
    PREFERENCE: Mapping[str, int]
    ONE_DEVICE: bool

    def available(self) -> Availability:
        """Look for the backend's library or device, without side effects and without raising."""
        ...

    def glance(self) -> Availability:
        """Say what can be known at once; may be left out where ``available`` takes no more than a tenth of a second.

        The detail says what was not tried.
        """
        ...

    def software(self) -> str:
        """Return name and version of what computes, down to the driver, for the manifest."""
        ...

    def parameters(self, algorithm: str, preset: str) -> Mapping[str, float | int | str]:
        """Return everything that decides the result; it becomes part of the fingerprint.

        Raises:
            SpecError: The backend has no such algorithm or preset.
        """
        ...

    def compute(self, frames: Iterable[GrayFrame], algorithm: str, preset: str) -> Iterator[FlowField]:
        """Yield the flow field of each pair of neighbouring frames, as soon as the second frame has come.

        A field is valid until the next one is asked for. N frames give N - 1 fields.

        Raises:
            ClipError: The frames are too small for the algorithm.
            UnavailableError: The device or its driver fails.
        """
        ...


def load(name: str) -> Backend:
    """Import the backend called ``name``, whether or not it can run here.

    Raises:
        SpecError: There is no such backend.
    """
    names = resources.plugins("optical/backends")
    if name not in names:
        raise SpecError(f"optical.backend: {name!r} is not a backend; allowed: auto, {', '.join(names)}")
    return cast(Backend, importlib.import_module(f"araflow.optical.backends.{name}"))


def needs_device(name: str) -> bool:
    """Whether a backend uses a GPU or an engine of which a machine has one: its module says ``ONE_DEVICE = True``."""
    return bool(getattr(load(name), "ONE_DEVICE", False))


def glance(name: str) -> Availability:
    """Look for a backend without importing anything that takes long to import; the detail says what was not tried."""
    backend = load(name)
    return getattr(backend, "glance", backend.available)()


@dataclasses.dataclass(frozen=True, slots=True)
class Choice:
    """A backend and an algorithm of it.

    Attributes:
        backend: Name, never ``auto``.
        algorithm: Name, never ``auto``.
        why: A sentence that says why.
        absent: Those that ``auto`` would have taken before it, each with the first words of why it did not.
    """

    backend: str
    algorithm: str
    why: str
    absent: str = ""


def choose(name: str, algorithm: str = "auto") -> Choice:
    """Settle which backend and algorithm run.

    Args:
        name: A backend's name, or ``auto``: the first in the order of preference that has the algorithm and can run.
        algorithm: An algorithm's name, or ``auto``: the backend's first.

    Raises:
        SpecError: There is no such backend, or it has no such algorithm.
        UnavailableError: The named backend (or, for ``auto``, every one) is absent; says how to get it.
    """
    if name != "auto":
        backend = load(name)
        if algorithm not in ("auto", *backend.ALGORITHMS):
            raise SpecError(
                f"optical.algorithm: {name} has no {algorithm!r}; allowed: auto, {', '.join(backend.ALGORITHMS)}"
                f"{elsewhere(algorithm)}"
            )
        found = backend.available()
        if not found.present:
            raise UnavailableError(f"optical.backend: {name} cannot run here: {found.detail}")
        settled = _settle(backend, found, algorithm)
        if settled is None:
            raise UnavailableError(f"optical.algorithm: {name} cannot run {algorithm} here: {found.detail}")
        return Choice(name, settled, f"{name} {settled}, as asked: {found.detail}")
    absent: list[str] = []
    for candidate in _in_order(algorithm):
        backend = load(candidate)
        if algorithm not in ("auto", *backend.ALGORITHMS):
            continue
        found = backend.available()
        if found.present and (settled := _settle(backend, found, algorithm)) is not None:
            # The first words of each reason; `araflow flow --list` has the rest.
            others = ", ".join(_short(reason) for reason in absent)
            return Choice(candidate, settled, f"{candidate} {settled}, chosen by auto: {found.detail}", others)
        lacking = f"no {algorithm} here; " if found.present else ""
        absent.append(f"{candidate}: {lacking}{found.detail}")
    asked = "" if algorithm == "auto" else f" with the algorithm {algorithm}"
    raise UnavailableError(f"optical.backend: auto found no backend{asked} that can run here; " + "; ".join(absent))


def algorithms() -> tuple[str, ...]:
    """Return every algorithm of any backend, in the order of preference of the backends."""
    return tuple(dict.fromkeys(algorithm for name in _in_order("auto") for algorithm in load(name).ALGORITHMS))


def elsewhere(algorithm: str) -> str:
    """Return ``; nvof and vpi have it``, for the message to somebody whose backend lacks it; or nothing: none has."""
    names = [name for name in _in_order(algorithm) if algorithm in load(name).ALGORITHMS]
    return f"; {' and '.join(names)} {'have' if len(names) > 1 else 'has'} it" if names else ""


def has_presets(backend: str, algorithm: str) -> bool:
    """Whether the presets of an algorithm differ."""
    return algorithm in load(backend).PRESETS


def _in_order(algorithm: str) -> list[str]:
    """The names of all backends, those first that ``auto`` takes first; equals by name."""

    def preference(name: str) -> int:
        stated: Mapping[str, int] = getattr(load(name), "PREFERENCE", {})
        return stated.get(algorithm, stated.get("auto", 0))

    return sorted(resources.plugins("optical/backends"), key=lambda name: (-preference(name), name))


def _settle(backend: Backend, found: Availability, algorithm: str) -> str | None:
    """The algorithm to run, or ``None`` where the backend is there but cannot run the one that is asked for."""
    runs = backend.ALGORITHMS if found.algorithms is None else found.algorithms
    if algorithm == "auto":
        return runs[0] if runs else None
    return algorithm if algorithm in runs else None


def _short(reason: str) -> str:
    """``vpi (no NVIDIA vpi module under /usr/bin/python3)`` of the whole reason."""
    name, _, detail = reason.partition(": ")
    return f"{name} ({re.split('[:;(,]', detail)[0].strip()})"
