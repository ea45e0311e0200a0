"""A machine with a FAKE GPU, and scenes to move on it; for the tests of the nvof backend."""

import contextlib

import cv2
import numpy as np
from fakes.nvof_driver import FakeDriver

from araflow.optical.backends import nvof

INNER = (slice(12, -12), slice(12, -12))


@contextlib.contextmanager
def installed(**machine):
    """A machine with a fake GPU; afterwards nothing may be left on it."""
    fake, real = FakeDriver(**machine), nvof.open_library
    nvof.open_library = fake.open
    try:
        yield fake
    finally:
        nvof.close()
        nvof.open_library = real
    fake.check_clean()


def texture(height, width, sigma=2.5, seed=7):
    noise = np.random.default_rng(seed).integers(0, 256, (height, width)).astype(np.float32)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), sigma), None, 0, 255, cv2.NORM_MINMAX)


SCENE = texture(160, 160).astype(np.uint8)


def window(dx=0, dy=0, *, height=72, width=80):
    """A view of one big texture; the picture in it stands (dx, dy) pixels to the right and down of where it was."""
    return np.ascontiguousarray(SCENE[40 - dy : 40 - dy + height, 40 - dx : 40 - dx + width])


def flow(*frames, preset="fast"):
    return list(nvof.compute(iter(frames), "hardware", preset))
