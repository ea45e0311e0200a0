"""Pairs of frames with known motion for ``nvof_first_run``, and how a field is held against the truth.

The shifted scenes are made of whole numbers alone, so that a seed gives the same bytes on every machine: what a GPU
answers to them can be kept and replayed.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

_FINE = 4
"""Fine pixels per pixel: shifts are in quarters of a pixel."""
_STEP = 5
"""Pixels from one random value of a shifted scene to the next: detail, but nothing finer than the pixels can show."""
GOLDEN_SIZE = 96, 72
GOLDEN_SHIFTS = (
    *((0, 0), (1, 0), (0, 1), (-3, 0), (0, -3), (2, 2)),
    *((0.25, 0), (0, -0.25), (0.5, 0.5), (-1.75, 0.25), (6, -4), (-7.25, 2.5)),
)


def texture(seed: int, width: int, height: int, step: int = 8) -> np.ndarray:
    """Return noise with ``step`` pixels from one random value to the next: uint8 (height, width).

    Whole numbers all the way, from NumPy's frozen generator.
    """
    noise = np.random.RandomState(seed).randint(0, 256, (height // step + 3, width // step + 3)).astype(np.int32)
    steps = np.arange(step, dtype=np.int32)

    def widen(rows: np.ndarray) -> np.ndarray:
        between = rows[:-1, None] * (step - steps)[None, :, None] + rows[1:, None] * steps[None, :, None]
        return np.reshape(between, (-1, rows.shape[1]))

    return (widen(widen(noise).T).T[:height, :width] // step**2).astype(np.uint8)


def shifted(
    seed: int, width: int, height: int, shift: tuple[float, float], fine: int = _FINE
) -> tuple[np.ndarray, np.ndarray]:
    """Return a frame and itself moved right and down by ``shift`` pixels: two uint8 (height, width).

    Shifts are whole multiples of ``1 / fine`` pixel.
    """
    margin = 8 * fine
    scene = texture(seed, width * fine + 2 * margin, height * fine + 2 * margin, _STEP * fine).astype(np.int32)

    def view(right: float, down: float) -> np.ndarray:
        x, y = margin - round(right * fine), margin - round(down * fine)
        points = scene[y : y + height * fine, x : x + width * fine].reshape(height, fine, width, fine)
        mean: np.ndarray = points.sum(axis=(1, 3)) // fine**2
        return np.ascontiguousarray(mean, np.uint8)

    return view(0, 0), view(*shift)


def two_motions(seed: int, width: int, height: int) -> list[np.ndarray]:
    """Return a pair of ABGR8 frames, rows of bytes, whose byte 0 moves 3 pixels right and whose byte 2 3 down."""
    right, down = shifted(seed, width, height, (3, 0)), shifted(seed + 1, width, height, (0, 3))
    frames = []
    for byte0, byte2 in zip(right, down, strict=True):
        pixel = [byte0, np.full_like(byte0, 128), byte2, np.full_like(byte0, 255)]
        frames.append(np.ascontiguousarray(np.stack(pixel, axis=2).reshape(height, 4 * width)))
    return frames


def zoomed(seed: int, width: int, height: int, scale: float = 1.05) -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
    """Return a frame, itself enlarged about its centre, and the slopes of u and v at either anchor."""
    first = shifted(seed, width, height, (0, 0))[0]
    x, y = (width - 1) / 2, (height - 1) / 2
    zoom = np.array([[scale, 0, x * (1 - scale)], [0, scale, y * (1 - scale)]])
    second = cv2.warpAffine(first, zoom, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    return first, second, {"if anchored on the first": scale - 1, "if on the second": 1 - 1 / scale}


def slopes(field: np.ndarray) -> dict[str, float]:
    """Return how u grows to the right and v downwards, per pixel, in the field's middle."""
    height, width = field.shape[:2]
    middle = field[height // 4 : -(height // 4), width // 4 : -(width // 4)].astype(np.float64)
    x, y = np.arange(middle.shape[1]), np.arange(middle.shape[0])
    return {
        "du/dx": float(np.polyfit(x, middle[..., 0].mean(axis=0), 1)[0]),
        "dv/dy": float(np.polyfit(y, middle[..., 1].mean(axis=1), 1)[0]),
    }


def summary(field: np.ndarray, shift: tuple[float, float]) -> dict[str, Any]:
    """Return the median vector, and how much of the field is within a quarter of a pixel of the truth."""
    near = np.abs(field - shift).max(axis=2) <= 0.25
    return {"median": np.median(field, axis=(0, 1)).tolist(), "within 0.25 px": round(float(near.mean()), 4)}


def drawn(seed: int, motion: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Draw a background in affine motion with a disc moving over it, and noise of 1.5 gray levels.

    Args:
        seed: Which one.
        motion: ``small`` (about 2 pixels) or ``large`` (about 6).

    Returns:
        Two frames, uint8 (240, 320); the flow at the first, float (240, 320, 2) in pixels; and where the disc's edge
        is nearer than 4 pixels, bool (240, 320).
    """
    width, height, pad, random = 320, 240, 48, np.random.RandomState(1000 + seed)
    size = 1.0 if motion == "small" else 3.0
    linear = np.eye(2) + random.uniform(-0.008, 0.008, (2, 2)) * size
    offset, jump = random.uniform(-1.5, 1.5, 2) * size, random.uniform(-3, 3, 2) * size
    scene = cv2.GaussianBlur(texture(2 * seed, width + 2 * pad, height + 2 * pad), (0, 0), 0.8)
    cover = cv2.GaussianBlur(texture(2 * seed + 1, width + 2 * pad, height + 2 * pad), (0, 0), 0.8)
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=2).astype(np.float64)
    centre, disc, radius = (
        np.array([width / 2, height / 2]),
        random.uniform((110, 90), (210, 150)),
        random.uniform(30, 50),
    )

    def paint(image: np.ndarray, points: np.ndarray) -> np.ndarray:
        at = (points + pad).astype(np.float32)
        return cv2.remap(image, at[..., 0], at[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)

    back = (grid - offset - centre) @ np.linalg.inv(linear).T + centre  # where each point of frame 2 came from
    inside = [np.linalg.norm(grid - middle, axis=2) for middle in (disc, disc + jump)]
    frames = []
    for points, moved, distance in ((grid, grid, inside[0]), (back, grid - jump, inside[1])):
        image = np.where(distance < radius, paint(cover, moved), paint(scene, points)).astype(np.float64)
        frames.append((image + random.normal(0, 1.5, image.shape)).round().clip(0, 255).astype(np.uint8))
    truth = (grid - centre) @ linear.T + centre + offset - grid
    truth[inside[0] < radius] = jump
    return frames[0], frames[1], truth, np.abs(inside[0] - radius) < 4


def errors(results: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> dict[str, float]:
    """Return end-point errors in pixels over fields, truths and edges: everywhere, at edges, where motion is small."""
    error = np.stack([np.linalg.norm(field - truth, axis=2) for field, truth, _ in results])
    edge, speed = np.stack([edge for *_, edge in results]), np.stack([np.linalg.norm(t, axis=2) for _, t, _ in results])
    found = {"all": error.mean(), "edges": error[edge].mean(), "above 3 px": (error > 3).mean()}
    if (speed < 1).any():
        found["motion below 1 px"] = error[speed < 1].mean()
    return {name: round(float(value), 4) for name, value in found.items()} | {
        "mean motion": round(float(speed.mean()), 2)
    }
