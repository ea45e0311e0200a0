"""TensorRT engines: built from ONNX files and proven (``engine``), described (``engine_file``), run (``runtime``).

For TensorRT 8.5 to 11; imports tensorrt and torch when they are needed, not before.
"""

__all__ = ["engine", "engine_file", "runtime"]
