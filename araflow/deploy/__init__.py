"""Recognisers on devices: ONNX files, TensorRT engines, their timing, and files for NVIDIA DeepStream and Triton.

``runners`` opens a recogniser of any kind; ``products`` is what the training flow makes of one. Imports what lies
below: recognition, store's manifest. Nothing here imports torch, onnx, onnxruntime or tensorrt before it is needed.
"""

__all__ = ["bench", "deepstream", "onnx", "products", "runners", "tensorrt", "triton", "windows"]
