"""Optical flow of a new video, computed and stored as that which a recogniser was trained on."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from araflow import optical
from araflow.core.errors import SpecError, UnavailableError
from araflow.media import quantize
from araflow.media.fields import FlowField
from araflow.recognition.data import transforms
from araflow.recognition.flow_storage import FlowStorage
from araflow.recognition.spec import ModelSpec

log = logging.getLogger(__name__)
_AUTO = "--backend auto computes it another way, at a cost in accuracy that only an evaluation tells"


@dataclasses.dataclass(frozen=True, slots=True)
class FlowMaker:
    """How the flow of a video is computed and stored for a recogniser; see ``flow_maker``.

    Attributes:
        choice: Backend and algorithm.
        preset: Of the algorithm.
        storage: How training's flow was made; quantiser, bound and JPEG quality are taken from it.
        warnings: In what this flow is not training's, or is not known to be.
    """

    choice: optical.Choice
    preset: str
    storage: FlowStorage
    warnings: tuple[str, ...] = ()


def flow_maker(spec: ModelSpec, backend: str | None = None) -> FlowMaker | None:
    """Settle what computes flow for a recogniser: by default the very backend, algorithm and numbers of its training.

    Args:
        spec: What the recogniser knows of itself.
        backend: Take this backend (or ``auto``) instead; with training's algorithm where it has that.

    Returns:
        ``None`` for a recogniser that sees no flow.

    Raises:
        SpecError: ``backend`` is no backend, or is given though the recogniser sees no flow; or the recogniser does
            not know how its flow was stored.
        UnavailableError: The backend cannot run here, or has no such preset now; says what to do.
    """
    if "flow" not in spec.streams:
        if backend is not None:
            raise SpecError(f"backend: {backend}: this recogniser sees no optical flow; leave it out")
        return None
    trained = spec.flow
    if trained is None:
        raise SpecError("this recogniser sees flow, but does not know how it was stored; train it again")
    choice = _training_s(trained.known) if backend is None else _another(trained.known, backend)
    if trained.quantizer == "bound" and trained.bound is None:
        raise SpecError("this recogniser sees flow, but does not know its bound; train it again")
    preset, here = _preset(trained, choice)
    found = trained.differs(here)
    if backend is None and found.lesser:
        raise UnavailableError(
            f"this recogniser was trained on flow of {trained}, and no preset of {choice.backend} {choice.algorithm} "
            f"computes that now ({'; '.join(found.lesser)}); {_AUTO}"
        )
    warnings = []
    if found.wrong or found.lesser:
        differ = "; ".join((*found.wrong, *found.lesser))
        warnings.append(f"flow is computed as {here}; the recogniser was trained on flow of {trained}: {differ}")
    if found.unknown:
        known = "the recogniser does not say all of the flow that it was trained on"
        warnings.append(f"{known} ({trained}): {', '.join(found.unknown)}; flow is computed as {here}")
    for warning in warnings:
        log.warning("%s", warning)
    return FlowMaker(choice, preset, here, tuple(warnings))


def _training_s(trained: FlowStorage) -> optical.Choice:
    """Return training's backend and algorithm."""
    if trained.backend is None or trained.algorithm is None:
        raise UnavailableError(f"what computed the flow that this recogniser was trained on is unknown; {_AUTO}")
    try:
        return optical.choose(trained.backend, trained.algorithm)
    except (SpecError, UnavailableError) as error:
        raise UnavailableError(
            f"this recogniser was trained on flow of {trained.backend} {trained.algorithm}, which is not here "
            f"({error}); {_AUTO}"
        ) from error


def _another(trained: FlowStorage, backend: str) -> optical.Choice:
    """Return a backend, with training's algorithm where it has that."""
    algorithm = trained.algorithm or "auto"
    same = backend == "auto" or algorithm in optical.load(backend).ALGORITHMS
    try:
        return optical.choose(backend, algorithm if same else "auto")
    except UnavailableError:
        if backend != "auto":
            raise
        return optical.choose("auto")  # no backend here has training's algorithm


def _preset(trained: FlowStorage, choice: optical.Choice) -> tuple[str, FlowStorage]:
    """Return the preset that stands for training's numbers, or else the one of that name, and how flow is then made."""
    backend = optical.load(choice.backend)
    presets = backend.PRESETS.get(choice.algorithm, ())
    # Without presets any name will do. That of training comes first, so that it is taken where none has its numbers.
    names = sorted(presets or ("balanced",), key=lambda name: (name != trained.preset, name != "balanced"))
    settled = {"quantizer": trained.quantizer or "max_radius", "jpeg_quality": trained.jpeg_quality or 95}
    made = [
        trained.model_copy(
            update={
                **settled,
                "backend": choice.backend,
                "algorithm": choice.algorithm,
                "preset": name if presets else None,
                "parameters": dict(backend.parameters(choice.algorithm, name)),
            }
        )
        for name in names
    ]
    place = next((number for number, one in enumerate(made) if not trained.differs(one).lesser), 0)
    return names[place], made[place]


def stored(field: FlowField, storage: FlowStorage) -> tuple[NDArray[np.uint8], float | None]:
    """Return a field as it would come back from the two JPEG files of a dataset.

    Args:
        field: float32 (height, width, 2), pixels per frame.
        storage: Quantiser, bound and JPEG quality.

    Returns:
        u and v, uint8 (height, width, 2), and the radius in pixels per frame (``None`` for ``bound``).
    """
    assert storage.quantizer is not None and storage.jpeg_quality is not None, "flow_maker has settled them"
    u, v, radius = quantize.quantize(field, storage.quantizer, storage.bound)
    quality = (cv2.IMWRITE_JPEG_QUALITY, storage.jpeg_quality)
    images = [
        np.asarray(cv2.imdecode(cv2.imencode(".jpg", image, quality)[1], cv2.IMREAD_GRAYSCALE), np.uint8)
        for image in (u, v)
    ]
    return np.dstack(images), radius


def gains(storage: FlowStorage, radii: Sequence[float]) -> NDArray[np.float64] | None:
    """Return the gains of a window's fields (``transforms.pixel_gains``), where the recogniser wants flow in pixels.

    Args:
        storage: How its flow was stored, and how it was scaled.
        radii: Of each field, for ``max_radius``.
    """
    if storage.scale == "stored":
        return None
    if storage.quantizer == "bound":
        return transforms.pixel_gains(bound=storage.bound)
    return transforms.pixel_gains(radii=radii)
