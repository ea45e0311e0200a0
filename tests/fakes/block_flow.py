"""A stand-in for NVIDIA's flow engines: DIS on the CPU, given as they give it."""


def vectors(first, second, grid):
    """Flow from the first picture to the second, both uint8: int16, (rows, columns, 2), 1/32 pixel, one per block."""
    import cv2
    import numpy as np

    cv2.setNumThreads(1)
    dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    dis.setFinestScale(0)
    field = dis.calc(first, second, None)
    height, width = (-(-side // grid) * grid for side in first.shape)
    field = np.pad(field, ((0, height - first.shape[0]), (0, width - first.shape[1]), (0, 0)), mode="edge")
    blocks = field.reshape(height // grid, grid, width // grid, grid, 2).mean(axis=(1, 3))
    return np.floor(np.clip(blocks * 32, -32768, 32767) + 0.5).astype(np.int16)
