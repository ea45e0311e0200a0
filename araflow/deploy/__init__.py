"""Recognisers on devices: ONNX files, TensorRT engines, their timing, and files for NVIDIA DeepStream and Triton.

Others use: ``runners`` (opens a recogniser of any kind), ``products`` (what the training flow makes of one), ``run`` (a
whole experiment without Prefect), ``finished`` (whether one has nothing to do), ``onnx``, ``tensorrt``, ``bench``,
``deepstream``, ``triton``, and ``windows`` (tensors to try them on).

May import ``recognition`` and what lies below it. Nothing here imports torch, onnx, onnxruntime or tensorrt before it
is needed.
"""

__all__ = ["bench", "deepstream", "finished", "onnx", "products", "run", "runners", "tensorrt", "triton", "windows"]
