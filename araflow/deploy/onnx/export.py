"""From a checkpoint to an ONNX file, which appears only when it is proven to give the checkpoint's logits."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from araflow import __version__
from araflow.core.errors import OutputError, SpecError, did_you_mean
from araflow.core.files import explained
from araflow.core.written import draft
from araflow.deploy.onnx import contract
from araflow.deploy.onnx._parity import DRAWN, Parity, Window, compare, drawn, insist, within_half
from araflow.deploy.onnx.contract import Batch, Precision
from araflow.recognition import checkpoint as checkpoints
from araflow.recognition import require

if TYPE_CHECKING:
    import onnx

__all__ = ["DRAWN", "ExportResult", "Parity", "export"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16")
OPSETS = (17, 18)
"""Versions of ONNX's operators: TensorRT 8.5 of JetPack 5 reads up to 17."""


@dataclass(frozen=True)
class ExportResult:
    """An exported and proven file.

    Attributes:
        path: The file.
        sha256: Of its bytes, hexadecimal.
        size: In bytes.
        precision: What it computes in.
        opset: Version of ONNX's operators.
        batch: Windows that it takes at once.
        nodes: Nodes of its graph.
        parity: How near it is to the checkpoint.
    """

    path: Path
    sha256: str
    size: int
    precision: Precision
    opset: int
    batch: Batch
    nodes: int
    parity: Parity

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return {**asdict(self), "path": str(self.path)}


def export(
    checkpoint: Path,
    out: Path,
    *,
    precision: Precision = "fp32",
    opset: int = 17,
    batch: Batch = "dynamic",
    windows: Iterable[Window] | None = None,
    source: str = "given",
    force: bool = False,
    report: Callable[[str], None] | None = None,
) -> ExportResult:
    """Write a checkpoint as an ONNX file, whole or not at all.

    The same checkpoint and settings give the same bytes with the same versions of PyTorch and ONNX Runtime.

    Args:
        checkpoint: A recogniser, as ``araflow.recognition.checkpoint`` writes it.
        out: The file to write.
        precision: What it computes in; its inputs and output are float32.
        opset: Version of ONNX's operators, one of ``OPSETS``.
        batch: Windows at once.
        windows: Windows to compare on; ``None``: ``DRAWN`` windows of moving blotches, the same every time.
        source: What ``windows`` are, for the result.
        force: Replace a file that is there.
        report: Is told what is being done.

    Raises:
        SourceError: The checkpoint is absent, or not one.
        SpecError: A setting is not allowed; or a weight is too large for float16.
        OutputError: There is a file already, or it cannot be written.
        UnavailableError: A package is not installed.
        ExportError: The file's logits are not the checkpoint's.
    """
    _refuse(out, precision=precision, opset=opset, batch=batch, force=force)
    require.packages("torch", "safetensors", "onnx", "onnxruntime", extra="export")
    import onnx

    from araflow.deploy.onnx import _graph as graphs

    say = report or (lambda line: None)
    network, spec = checkpoints.load(checkpoint)
    say(f"tracing {spec.network.architecture}")
    with tempfile.TemporaryDirectory() as folder:
        traced = Path(folder) / "traced.onnx"
        graphs.trace(network, spec, traced, opset=opset, batch=batch)
        model = graphs.simplify(traced)
    if precision == "fp16":
        graphs.round_to_half(model)
    _describe(model, contract.metadata(spec, precision=precision, opset=opset, batch=batch, version=__version__))
    onnx.checker.check_model(model, full_check=True)  # with strict inference of types and shapes
    data = model.SerializeToString(deterministic=True)
    with explained(out, "cannot be written"):
        out.parent.mkdir(parents=True, exist_ok=True)
    with explained(out, "cannot be written"), draft(out) as part:
        part.write_bytes(data)
        say("comparing with the checkpoint")
        if windows is None:
            windows, source = drawn(spec), "drawn"
        with within_half(network) if precision == "fp16" else contextlib.nullcontext():
            parity = compare(network, spec, part, windows, source)
        insist(parity, precision)
    return ExportResult(
        out, hashlib.sha256(data).hexdigest(), len(data), precision, opset, batch, len(model.graph.node), parity
    )


def _refuse(out: Path, *, precision: str, opset: int, batch: Batch, force: bool) -> None:
    """Refuse wrong settings and places before any work."""
    if precision not in PRECISIONS:
        raise SpecError(
            f"precision: {precision!r}; allowed: {', '.join(PRECISIONS)}{did_you_mean(precision, PRECISIONS)}"
        )
    if opset not in OPSETS:
        raise SpecError(f"opset: {opset}; allowed: {', '.join(map(str, OPSETS))}")
    if batch != "dynamic" and (not isinstance(batch, int) or batch < 1):
        raise SpecError(f"batch: {batch!r}; allowed: dynamic, or a number of windows from 1")
    if out.is_dir():
        raise OutputError(f"{out}: a folder; name a file, such as {out / 'model.onnx'}")
    if (out.exists() or out.is_symlink()) and not force:
        raise OutputError(f"{out}: there is such a file already; use --force to replace it, or another name")


def _describe(model: onnx.ModelProto, metadata: Mapping[str, str]) -> None:
    model.producer_name, model.producer_version = "araflow", __version__
    for key, value in sorted(metadata.items()):
        model.metadata_props.add(key=key, value=value)
