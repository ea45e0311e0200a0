"""Proofs that an engine is what was asked for: the precision that its layers compute in, and the logits that it gives.

Both have gone wrong elsewhere without anybody noticing: a builder flag that a later TensorRT no longer has was skipped,
and float32 engines were shipped as float16; and engines gave other numbers than the network they were built from.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from araflow.core.errors import EngineError
from araflow.deploy.tensorrt.engine_file import Parity, Precision, PrecisionProof
from araflow.deploy.windows import Streams
from araflow.recognition.prediction.runners import Tensors

Logits = Callable[..., Tensors]
"""Takes the streams by name, gives float32 (batch, classes)."""
ALLOWED: dict[Precision, float] = {"fp32": 1e-3, "fp16": 5e-2, "int8": 1e-1}
"""Largest allowed |engine - reference| / |reference| (Euclidean norms over all windows and classes). Of our own
choosing: float32 is summed in another order, half precision carries 11 bits through some twenty layers."""
AGREEMENT: dict[Precision, float] = {"fp32": 1.0, "fp16": 0.99, "int8": 0.95}
"""Least share of decided windows with the same first class."""
_MOVES = ("reformat", "cast", "noop", "constant", "shuffle", "identity")
"""Layers that copy, convert or relabel."""
_NAMES: dict[str, str] = {
    "fp16": r"\b(FP16|Half)\b",
    "fp32": r"\b(FP32|Float)\b",
    "int8": r"\b(Int8|INT8)\b",
}
"""How the inspector names data types within a format; it has changed words between versions."""


def precision_proof(text: str, precision: Precision) -> PrecisionProof:
    """Read the engine inspector's JSON and insist on a precision.

    A layer computes in float16 if it reads and writes it or its weights are of it, and in int8 if it reads it;
    conversions do not count.

    Args:
        text: What ``get_engine_information`` gave of an engine built with detailed verbosity, with shapes set.
        precision: What was asked for.

    Raises:
        EngineError: No layer computes in what was asked for, some compute in half although float32 was asked for, or
            the inspector tells too little to know.
    """
    try:
        layers = json.loads(text)["Layers"]
    except (ValueError, TypeError, KeyError) as error:
        raise EngineError(
            f"the engine inspector's answer cannot be read, so the precision is unproven: {error}"
        ) from error
    moves = 0
    counts = {"fp32": 0, "fp16": 0, "int8": 0}
    for layer in layers:
        if not isinstance(layer, dict):
            raise EngineError("the engine inspector names layers only, so the precision is unproven")
        kind = str(layer.get("LayerType", "")).lower()
        if any(kind.startswith(name) for name in _MOVES):
            moves += 1
            continue
        read, written = _types(layer.get("Inputs", ())), _types(layer.get("Outputs", ()))
        counts["int8"] += "int8" in read
        weights = _types([layer.get("Weights")])
        counts["fp16"] += ("fp16" in read and "fp16" in written) or "fp16" in weights
        counts["fp32"] += ("fp32" in read and "fp32" in written) or "fp32" in weights
    proof = PrecisionProof(layers=len(layers), computing=len(layers) - moves, **counts)
    told = f"of {proof.computing} computing layers: {', '.join(f'{name} {count}' for name, count in counts.items())}"
    if not any(counts.values()):
        raise EngineError(f"the engine inspector tells no layer's data type, so the precision is unproven ({told})")
    if not counts[precision]:
        raise EngineError(f"{precision} was asked for, but no layer of the engine computes in it ({told})")
    if precision == "fp32" and counts["fp16"] + counts["int8"]:
        raise EngineError(f"fp32 was asked for, but layers of the engine compute in less ({told})")
    return proof


def _types(tensors: Sequence[Any]) -> set[str]:
    found = set()
    for tensor in tensors:
        if isinstance(tensor, dict):
            said = " ".join(
                str(value) for key, value in tensor.items() if "format" in key.lower() or "type" in key.lower()
            )
            found |= {name for name, pattern in _NAMES.items() if re.search(pattern, said)}
    return found


def parity(
    reference: Logits,
    engine: Logits,
    windows: Streams,
    source: str,
    batches: Sequence[int],
    precision: Precision,
    *,
    reference_batch: int = 1,
) -> Parity:
    """Compare an engine's logits with a reference's, at several batch sizes.

    Args:
        reference: Gives the right logits.
        engine: Gives the engine's.
        windows: float32 (windows, channels, frames, height, width) by stream; repeated where a batch is larger.
        source: What the windows are, for the record.
        batches: Batch sizes that the engine is run at, each over all windows.
        precision: What is allowed; see ``ALLOWED`` and ``AGREEMENT``.
        reference_batch: How many windows the reference is given at once.

    Raises:
        EngineError: The engine's logits are too far away, or other classes come first.
    """
    count = len(next(iter(windows.values())))
    right = _all(reference, windows, reference_batch)
    scale = float(np.linalg.norm(right))
    ordered = np.sort(right, axis=1)
    # A first class that is ahead by less than the allowed error decides nothing.
    decided = ordered[:, -1] - ordered[:, -2] > 2 * ALLOWED[precision] * np.linalg.norm(right, axis=1)
    errors, agreed = [], 1.0
    for batch in batches:
        found = _all(engine, windows, batch)
        errors.append(float(np.linalg.norm(found - right)) / max(scale, 1e-12))
        same = (found.argmax(1) == right.argmax(1))[decided]
        agreed = min(agreed, float(same.mean()) if len(same) else 1.0)
    error = float(np.max(errors))  # unlike max(), it does not pass over what is no number
    if not error <= ALLOWED[precision] or agreed < AGREEMENT[precision]:  # "not <=" also catches what is no number
        raise EngineError(
            f"the engine gives other logits than ONNX Runtime on {count} windows ({source}): relative error "
            f"{error:.2g} (allowed for {precision}: {ALLOWED[precision]:g}), same first class {agreed:.1%}; nothing "
            "was written. If it is fp16, build for fp32; if it is fp32, report it with TensorRT's version"
        )
    return Parity(
        windows=count,
        source=source,
        batches=tuple(batches),
        relative_error=error,
        allowed=ALLOWED[precision],
        top1=agreed,
        undecided=int(count - decided.sum()),
    )


def _all(call: Logits, windows: Streams, batch: int) -> Tensors:
    """Return the logits of all windows, given in full batches: the first windows again fill up the last."""
    count = len(next(iter(windows.values())))
    order = np.resize(np.arange(count), -(-count // batch) * batch).reshape(-1, batch)
    return np.concatenate([call(**{name: tensor[part] for name, tensor in windows.items()}) for part in order])[:count]
