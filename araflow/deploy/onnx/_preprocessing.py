"""What stands between a video and an ONNX file's inputs, and between its output and an answer, in words and numbers.

Whoever has the file alone gets araflow's own probabilities by it: docs/deploy.md prints a script that reads nothing
else of araflow, and a test runs it. What is said here is what ``araflow.recognition.data`` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from araflow.media.quantize import FORMULAS
from araflow.recognition.data.samplers import DENSE_FRAMES
from araflow.recognition.data.transforms import pixel_gains
from araflow.recognition.spec import ModelSpec
from araflow.recognition.streams import CHANNEL_NAMES

_CONSECUTIVE = (
    "d = n - length * step + 1; index i = start + i * step; one window: start = max(d, 0) // 2; S windows: where "
    "d > 0, start k = floor(d / S / 2 + d / S * k) for k = 0 ... S - 1, else one window from 0"
)
_RULES = {
    "consecutive": _CONSECUTIVE,
    "dense": f"step = max(1, min(span, n) // length); then {_CONSECUTIVE}",
    "random_interval": "one window: index i = floor(n / length / 2 + n / length * i); several: q = n // length, window "
    "k = 0 ... q - 1 has the indices k + i * q; where q = 0, the one window",
    "segments": "S windows: index i of window k = min(n - 1, floor((i + (k + 0.5) / S) * (n / length))); one window: "
    "S = 1",
}
_SHORT = {
    "loop": "indices past the end: modulo n",
    "repeat": "indices past the end: n - 1",
    "refuse": "a clip with indices past its end is refused",
}


def preprocessing(spec: ModelSpec, *, inputs: Mapping[str, str], output: str) -> dict[str, Any]:
    """Return how an ONNX file's inputs are made and its output is read, JSON-ready.

    Args:
        spec: What the recogniser knows of itself.
        inputs: The file's input for each stream.
        output: Its output.
    """
    neighbours = spec.sampler in ("consecutive", "dense")
    window: dict[str, Any] = {
        "length": max(own.frames for own in spec.windows.values()),
        "sampler": spec.sampler,
        "step": spec.sample_rate if spec.sampler == "consecutive" else None,
        "span": DENSE_FRAMES if spec.sampler == "dense" else None,
        "short_clip": spec.short_clip if neighbours else None,
        "rule": "; ".join([_RULES[spec.sampler], *([_SHORT[spec.short_clip]] if neighbours else [])]),
        "views": spec.views.model_dump() if spec.views else "not known",
        "counts": "0-based; n is the number of " + ("flow fields" if "flow" in spec.streams else "frames"),
        "shorter_input": "of an input with F < length frames, frame i is floor(length / F / 2 + length / F * i) of the "
        "window's",
    }
    described = {}
    for stream, own in spec.windows.items():
        mean, std = own.per_channel(stream)
        described[inputs[stream]] = {
            "stream": stream,
            "channels": CHANNEL_NAMES[stream],
            "frames": own.frames,
            "height": own.height,
            "width": own.width,
            "mean": mean,
            "std": std,
        }
    found: dict[str, Any] = {
        "window": window,
        "crop": {
            "center": spec.center_crop,
            "short_side": spec.short_side if spec.center_crop else None,
            "rule": _crop(spec),
        },
        "resize": "each picture to width x height of its input, as 8-bit levels, aspect not kept; cv2.INTER_AREA (the "
        "mean over the area) where the crop's height or width is at least twice the input's, else cv2.INTER_LINEAR "
        "(bilinear, pixel centres aligned, no antialiasing), rounded to whole levels; flow likewise, its values "
        "unchanged",
        "inputs": described,
        "normalisation": "(level / 255 - mean) / std, per channel; float32",
        "output": {
            "name": output,
            "rule": "logits: the softmax of each window, then the mean over a video's windows",
        },
        "classes": list(spec.labels),
    }
    if "rgb" in spec.streams:
        found["rgb"] = f"8-bit R, G, B of every frame; {_frames(spec)}"
    if "flow" in spec.streams:
        found["flow"] = _flow(spec)
    return found


def _frames(spec: ModelSpec) -> str:
    """Say which frames of a video are taken, and how."""
    kept, said = spec.frames, []
    if kept.fps is not None:
        said.append(f"those shown at 0, 1/{kept.fps:g}, 2/{kept.fps:g} ... seconds")
    if kept.short_side is not None:
        side = f"{kept.short_side} pixels"
        said.append(f"scaled so that a shorter side above {side} has {side} (cv2.INTER_AREA)")
    if kept.format == "jpeg":
        said.append(f"through JPEG of quality {kept.jpeg_quality}, 4:2:0")
    if not kept.upright:
        said.append("not turned as the video asks for")
    return ", ".join(said) or "as decoded, at the video's own size"


def _crop(spec: ModelSpec) -> str:
    if not spec.center_crop:
        return "none: the whole picture is stretched"
    return (
        "for a picture of W x H, the short side would be short_side and the long one floor(short_side * long / short): "
        "W' x H'; the crop is w' = min(width, W') by h' = min(height, H') at x' = round((W' - w') / 2), "
        "y' = round((H' - h') / 2), width and height being those of the first input; cut from the picture itself: "
        "w = max(1, round(w' / W' * W)), h likewise, x = min(round(x' / W' * W), W - w), y likewise; round is half to "
        "even; the same fractions for every frame and input"
    )


def _flow(spec: ModelSpec) -> dict[str, Any]:
    """Return how flow is made, stored as 8-bit images, and scaled."""
    found: dict[str, Any] = {
        "field": "field k is the motion from frame k to frame k + 1 in pixels of the frame, on 8-bit grey "
        f"(0.299 R + 0.587 G + 0.114 B); {_frames(spec)}; u to the right, v down",
    }
    stored = spec.flow.numbers() if spec.flow is not None else {}
    if spec.flow is not None and spec.flow.quantizer is not None:
        stored["rule"] = FORMULAS[spec.flow.quantizer]
    found["stored"] = stored or "not known"
    if spec.flow is None or spec.flow.scale == "stored":
        return {**found, "level": "as stored"}
    of = "bound" if spec.flow.quantizer == "bound" else "radius"
    per_pixel = pixel_gains(bound=1.0) if of == "bound" else pixel_gains(radii=[1.0])
    return {
        **found,
        "level": f"127.5 + gain * (stored - 127.5), gain = gain_per_pixel * the {of} that the field was stored with",
        "gain_per_pixel": float(per_pixel[0]),
    }
