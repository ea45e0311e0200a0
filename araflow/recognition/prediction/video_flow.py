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
from araflow.recognition.spec import FlowStorage, ModelSpec

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class FlowMaker:
    """How the flow of a video is computed and stored for a recogniser; see ``flow_maker``.

    Attributes:
        choice: Backend and algorithm.
        preset: Of the algorithm.
        storage: How training's flow was made; quantiser, bound and JPEG quality are taken from it.
    """

    choice: optical.Choice
    preset: str
    storage: FlowStorage


def flow_maker(spec: ModelSpec, backend: str | None = None) -> FlowMaker | None:
    """Settle what computes flow for a recogniser: by default the very backend and algorithm of its training.

    Args:
        spec: What the recogniser knows of itself.
        backend: Take this backend (or ``auto``) instead; with training's algorithm where it has that.

    Returns:
        ``None`` for a recogniser that sees no flow.

    Raises:
        SpecError: ``backend`` is no backend, or is given though the recogniser sees no flow; or the recogniser does
            not know how its flow was stored.
        UnavailableError: The backend cannot run here; says what to do.
    """
    if "flow" not in spec.streams:
        if backend is not None:
            raise SpecError(f"backend: {backend}: this recogniser sees no optical flow; leave it out")
        return None
    trained = spec.flow
    if trained is None:
        raise SpecError("this recogniser sees flow, but does not know how it was stored; train it again")
    preset = trained.preset or "balanced"  # an algorithm without presets takes any
    if backend is None:
        try:
            choice = optical.choose(trained.backend, trained.algorithm)
        except (SpecError, UnavailableError) as error:
            raise UnavailableError(
                f"this recogniser was trained on flow of {trained.backend} {trained.algorithm}, which is not here "
                f"({error}); --backend auto computes it another way, at a cost in accuracy that only an evaluation "
                "tells"
            ) from error
        return FlowMaker(choice, preset, trained)
    same = backend == "auto" or trained.algorithm in optical.load(backend).ALGORITHMS
    try:
        choice = optical.choose(backend, trained.algorithm if same else "auto")
    except UnavailableError:
        if backend != "auto":
            raise
        choice = optical.choose("auto")  # no backend here has training's algorithm
    if (choice.backend, choice.algorithm) != (trained.backend, trained.algorithm):
        log.warning(
            "flow is computed by %s %s; the recogniser was trained on flow of %s %s",
            *(choice.backend, choice.algorithm, trained.backend, trained.algorithm),
        )
    return FlowMaker(choice, preset, trained)


def stored(field: FlowField, storage: FlowStorage) -> tuple[NDArray[np.uint8], float | None]:
    """Return a field as it would come back from the two JPEG files of a dataset.

    Args:
        field: float32 (height, width, 2), pixels per frame.
        storage: Quantiser, bound and JPEG quality.

    Returns:
        u and v, uint8 (height, width, 2), and the radius in pixels per frame (``None`` for ``bound``).
    """
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
