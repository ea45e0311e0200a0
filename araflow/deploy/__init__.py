"""Recognisers on devices: ONNX files and what runs them, TensorRT engines, files for DeepStream and Triton.

Nothing here imports torch, onnx, onnxruntime or tensorrt before it is needed.
"""
