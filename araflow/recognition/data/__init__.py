"""From a manifest's rows to tensors: clips and their splits, frames, samplers, transforms, windows."""

__all__ = ["clips", "frames", "loading", "samplers", "transforms", "windows"]
