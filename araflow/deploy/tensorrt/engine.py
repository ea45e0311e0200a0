"""TensorRT engines from ONNX files, on the TensorRT that is there: 8.5 to 11. ``build`` is all of it.

An engine appears under its name only when it is built and proven: it computes in the precision that was asked for (the
engine inspector's word), and its logits are those of ONNX Runtime on the same windows. Beside it lies a description
(``araflow.deploy.tensorrt.engine_file``), without which araflow loads no engine.

Held against the names of the real Python bindings of 8.6.1, 10.0.1, 10.3.0, 10.16.1 and 11.4.0, and run over a fake; no
engine was ever built by it on a GPU.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator

from araflow import __version__
from araflow.core.errors import OutputError, SourceError, SpecError
from araflow.core.files import check_writable
from araflow.core.spec import Settings
from araflow.deploy.onnx import contract
from araflow.deploy.onnx.contract import OnnxModel
from araflow.deploy.tensorrt import _build as building
from araflow.deploy.tensorrt import _proof as proving
from araflow.deploy.tensorrt import engine_file
from araflow.deploy.tensorrt._gpu import Gpu, TorchGpu
from araflow.deploy.tensorrt._install import here, import_tensorrt
from araflow.deploy.tensorrt.engine_file import EngineRecord, Precision, Profile
from araflow.deploy.tensorrt.runtime import EngineRunner
from araflow.deploy.windows import Streams, drawn
from araflow.recognition.prediction.runners import Tensors
from araflow.recognition.spec import ModelSpec

Measure = Callable[[EngineRunner, int], dict[str, int | float]]
"""Times an engine at a batch size; see ``araflow.deploy.bench``."""
_Batch = Annotated[int, Field(ge=1)]


class EngineSettings(Settings):
    """How to build an engine."""

    precision: Precision | None = Field(
        None, description="fp32, fp16, or int8 for a file with quantisation nodes; null: as the file."
    )
    batch: tuple[_Batch, _Batch, _Batch] | None = Field(
        None, description="Fewest, usual and most windows at once; null: 1, 4, 16, or the file's own if that is fixed."
    )
    workspace_mib: int | None = Field(None, ge=1, description="Most scratch memory in MiB; null: as much as there is.")
    timing_cache: Path | None = Field(None, description="Folder of timing caches; null: none.")
    optimization_level: int | None = Field(None, ge=0, le=5, description="Effort of the search; null: TensorRT's (3).")

    @field_validator("batch")
    @classmethod
    def _rises(cls, batch: tuple[int, int, int] | None) -> tuple[int, int, int] | None:
        if batch and list(batch) != sorted(batch):
            raise ValueError("fewest, usual and most must not fall")
        return batch


@dataclass(frozen=True)
class EngineResult:
    """A built and proven engine.

    Attributes:
        path: The engine.
        sidecar: Its description.
        record: What the description holds.
    """

    path: Path
    sidecar: Path
    record: EngineRecord


def build(
    onnx: Path,
    out: Path,
    settings: EngineSettings,
    *,
    windows: Streams | Callable[[ModelSpec], Streams] | None = None,
    source: str = "given windows",
    device: Gpu | None = None,
    measure: Measure | None = None,
) -> EngineResult:
    """Build an engine, prove it, and only then give it its name. An engine that was there before stays until then.

    Args:
        onnx: A file that ``araflow export`` wrote.
        out: The engine to write; ``<out>.json`` is written beside it.
        settings: How.
        windows: Windows to compare logits on, as the recogniser takes them, or what gives them; ``None``: as many
            drawn ones as the largest batch, but 8 at most.
        source: What the windows are, for the record.
        device: Where it runs; ``None``: PyTorch's current CUDA device.
        measure: Times it at each of the profile's batch sizes, for the record; ``None``: not timed.

    Raises:
        SpecError: A setting does not go with the file or with this TensorRT.
        SourceError: The file is not one of araflow's, or TensorRT cannot parse it.
        UnavailableError: TensorRT, ONNX Runtime or a GPU is absent.
        EngineError: Nothing was built, or what was built is not what was asked for.
        OutputError: It cannot be written.
    """
    trt = import_tensorrt()
    model = contract.read(onnx)
    data = onnx.read_bytes()
    if hashlib.sha256(data).hexdigest() != model.sha256:
        raise SourceError(f"{onnx}: it changed while it was read")
    precision = _precision(settings, model, data)
    profile, batches = _profile(settings, model)
    _refuse_useless(out)
    if windows is None:
        windows, source = drawn(model.spec, min(batches[-1], 8)), "drawn"
    elif callable(windows):
        windows = windows(model.spec)
    device = TorchGpu() if device is None else device
    cache = settings.timing_cache and building.cache_file(settings.timing_cache, trt, device, precision)
    request = building.Request(
        onnx=data,
        name=onnx.name,
        carried=model.precision,
        precision=precision,
        profile=profile,
        workspace_mib=settings.workspace_mib,
        level=settings.optimization_level,
        cache=cache,
    )
    built = building.build(trt, request)
    runner = EngineRunner(trt, built.engine, model.spec, device)
    proof = proving.precision_proof(runner.layers(batches[-1]), precision)
    at_once = 1 if profile else batches[0]
    parity = proving.parity(_reference(onnx), runner, windows, source, batches, precision, reference_batch=at_once)
    record = EngineRecord(
        engine_sha256=hashlib.sha256(built.engine).hexdigest(),
        onnx=onnx.name,
        onnx_sha256=model.sha256,
        araflow=__version__,
        tensorrt=str(trt.__version__),
        device=device.name,
        capability=device.capability,
        driver=here().driver,
        precision=precision,
        flags=built.flags,
        profile=dict(profile) or {contract.INPUTS[stream]: _fixed(shape) for stream, shape in model.inputs.items()},
        workspace_mib=settings.workspace_mib,
        optimization_level=settings.optimization_level,
        timing_cache=cache and cache.name,
        timing_cache_used=built.cache_used,
        build_seconds=round(built.seconds, 3),
        proof=proof,
        parity=parity,
        warnings=built.warnings,
        latency=None if measure is None else [measure(runner, batch) for batch in batches],
        model=model.spec,
    )
    engine_file.write(out, built.engine, record)
    return EngineResult(out, engine_file.sidecar(out), record)


def quantised(data: bytes) -> bool:
    """Return whether an ONNX file holds nodes that quantise or dequantise.

    Args:
        data: The file's bytes.
    """
    import onnx

    nodes = onnx.load_from_string(data).graph.node
    return any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in nodes)


def _precision(settings: EngineSettings, model: OnnxModel, data: bytes) -> Precision:
    """Return the precision to build, which the file must be made for."""
    explicit = quantised(data)
    if settings.precision is None:
        return "int8" if explicit else model.precision
    if settings.precision == "int8" and not explicit:
        raise SpecError(
            "precision: int8 needs a file with QuantizeLinear and DequantizeLinear nodes, which hold the scales, and "
            f"{model.path.name} has none. Put them in with NVIDIA's modelopt (modelopt.onnx.quantization), or use fp16"
        )
    if settings.precision != "int8" and explicit:
        raise SpecError(f"precision: {model.path.name} is quantised, so only int8 can be built from it")
    return settings.precision


def _profile(settings: EngineSettings, model: OnnxModel) -> tuple[dict[str, Profile], tuple[int, ...]]:
    """Return the profile by input (empty for a fixed batch), and its batch sizes in rising order, each once."""
    (fixed,) = {shape[0] for shape in model.inputs.values()}
    if fixed:
        if settings.batch and set(settings.batch) != {fixed}:
            raise SpecError(
                f"batch: {model.path.name} was exported for {fixed} windows at once; leave batch out, or export it "
                "with --batch dynamic"
            )
        return {}, (int(fixed),)
    least, usual, most = settings.batch or (1, 4, 16)
    shapes = {
        contract.INPUTS[stream]: Profile(min=(least, *shape[1:]), opt=(usual, *shape[1:]), max=(most, *shape[1:]))
        for stream, shape in model.inputs.items()
    }
    return shapes, tuple(sorted({least, usual, most}))


def _fixed(shape: tuple[Any, ...]) -> Profile:
    return Profile(min=shape, opt=shape, max=shape)


def _refuse_useless(out: Path) -> None:
    """Refuse, before minutes are spent, a place that cannot be written to."""
    if out.is_dir():
        raise OutputError(f"{out}: a folder; name a file, such as {out / 'model.engine'}")
    engine_file.check(out)
    check_writable(out)


def _reference(onnx: Path) -> Callable[..., Tensors]:
    from araflow.deploy.onnx.runtime import onnx_runner

    runner: Callable[..., Tensors] = onnx_runner(onnx, "cpu")
    return runner
