"""The settings that one clip is made by. Apart from ``extract``, which does it: a plan needs no decoder."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from araflow import optical
from araflow.core.fingerprint import digest
from araflow.media.frame_form import AS_DECODED, FrameForm

if TYPE_CHECKING:  # worker processes start sooner without the settings' machinery
    from araflow.core.spec import BuildSpec, FlowFormat, Naming, Quantizer, Rotation

_RGB_FORMAT = 1
_FLOW_FORMAT = 1
"""Raised when a change in ``extract`` changes the files that the same settings give, so that clips are made again."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The settings that one clip is made by, with the backend chosen.

    Attributes:
        naming: Frame naming rule.
        max_frames: Stop after this many frames.
        backend: Optical-flow backend, never ``auto``.
        algorithm: Its algorithm.
        preset: Its preset; ``None`` for an algorithm without presets.
        parameters: What algorithm and preset resolve to.
        quantizer: How flow becomes 8-bit.
        bound: For the ``bound`` quantizer, in pixels per frame.
        jpeg_quality: 1 to 100.
        lossless: Store each flow field as a 16-bit PNG, too.
        also: Forms of files that flow is stored in, too (``araflow.media.flow_forms``).
        rotation: What is done where a source asks for its frames to be rotated or mirrored. In no fingerprint, since it
            changes no other clip: what was done is in each record (``turned``).
        frames: In what form frames are kept.
    """

    naming: Naming
    max_frames: int | None
    backend: str
    algorithm: str
    preset: str | None
    parameters: Mapping[str, float | int | str]
    quantizer: Quantizer
    bound: float | None
    jpeg_quality: int
    lossless: bool = False
    also: tuple[FlowFormat, ...] = ()
    rotation: Rotation = "apply"
    frames: FrameForm = AS_DECODED

    @classmethod
    def of(cls, spec: BuildSpec, choice: optical.Choice) -> Recipe:
        """Take the recipe out of a specification, with backend and algorithm chosen.

        Raises:
            SpecError: The backend lacks the preset.
        """
        flow = spec.optical
        return cls(
            naming=spec.rgb.naming,
            max_frames=spec.rgb.max_frames,
            backend=choice.backend,
            algorithm=choice.algorithm,
            preset=flow.preset if optical.has_presets(choice.backend, choice.algorithm) else None,
            parameters=optical.load(choice.backend).parameters(choice.algorithm, flow.preset),
            quantizer=flow.quantizer,
            bound=flow.bound if flow.quantizer == "bound" else None,
            jpeg_quality=flow.jpeg_quality,
            lossless=flow.lossless,
            also=flow.also,
            rotation=spec.video.rotation,
            frames=FrameForm.of(spec.rgb),
        )

    @functools.cached_property  # asked for by each clip, as the others are
    def flow_parameters(self) -> str:
        """``parameters`` as JSON, for the record: a preset's name may come to mean other numbers."""
        return json.dumps(dict(self.parameters), sort_keys=True)

    @functools.cached_property
    def rgb_fingerprint(self) -> str:
        """Digest of what decides the ``rgb`` files."""
        known = {"format": _RGB_FORMAT, "naming": self.naming, "max_frames": self.max_frames}
        return digest(known | self.frames.changes())

    @functools.cached_property
    def fingerprint(self) -> str:
        """Digest of what decides any of the files. The preset counts by what it resolves to, not by its name."""
        settings = dataclasses.asdict(self) | {"rgb": self.rgb_fingerprint, "format": _FLOW_FORMAT}
        del settings["preset"], settings["rotation"], settings["frames"]
        for name in ("lossless", "also"):
            if not settings[name]:
                del settings[name]  # clips made before there was this setting stay what they are
        return digest(settings)
