"""ONNX files: written from checkpoints and proven (``export``), described (``contract``), run (``runtime``).

Imports onnx, onnxruntime and torch when they are needed, not before.
"""

__all__ = ["contract", "export", "runtime"]
