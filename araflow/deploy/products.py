"""What is made of an experiment's recogniser once it is evaluated: ONNX file, engine, timing.

::

    <out>/model.onnx      the exported recogniser; export.json has its parity figures
    <out>/model.engine    a TensorRT engine, where TensorRT and a GPU are; model.engine.json describes it
    <out>/bench.json      latency and throughput of what was made
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from araflow.core import written
from araflow.core.errors import UnavailableError
from araflow.deploy import windows
from araflow.deploy.runners import kind_of, open_runner
from araflow.deploy.windows import Streams
from araflow.recognition.experiment import Prepared
from araflow.recognition.spec import ModelSpec

_WINDOWS = 64
"""Test windows to compare an ONNX file on, at most."""
_ENGINE_WINDOWS = 16
"""And an engine, for which they are all in memory at once."""


@dataclasses.dataclass(frozen=True, slots=True)
class Product:
    """Something that is made of a recogniser, or is not.

    Attributes:
        name: ``export``, ``engine`` or ``bench``.
        file: Where it lies; ``None`` if it was skipped.
        line: A line that says what was made and how good it is, or why nothing was.
        figures: The same, JSON-ready.
    """

    name: str
    file: Path | None
    line: str
    figures: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def skipped(self) -> bool:
        """Whether nothing was made."""
        return self.file is None


def export(prepared: Prepared, checkpoint: Path) -> Product:
    """Write ``model.onnx``, held against the checkpoint on windows of the test clips.

    Raises:
        ExportError: The file does not compute what the checkpoint does.
        OutputError: It cannot be written.
    """
    settings = prepared.spec.deploy
    if not settings.export:
        return Product("export", None, "export: skipped: deploy.export is false")
    from araflow.deploy.onnx import export as exporting

    written.check([prepared.out / "model.onnx"])
    try:
        result = exporting.export(
            checkpoint,
            prepared.out / "model.onnx",
            precision=settings.precision,
            opset=settings.opset,
            windows=windows.of_clips(prepared.test, prepared.model, _WINDOWS),
            source="test clips",
            force=True,
        )
    except UnavailableError as error:
        return Product("export", None, f"export: skipped: {error}")
    figures = result.to_json()
    written.write_json(prepared.out / "export.json", figures)
    parity = result.parity
    line = (
        f"{result.path}: {result.size / 1e6:.1f} MB, {result.precision}, opset {result.opset}; against the checkpoint "
    )
    line += f"on {parity.windows} test windows: relative error {parity.relative_error:.1g}, same first class on "
    return Product("export", result.path, f"{line}{parity.top1:.1%}", figures)


def engine(prepared: Prepared, exported: Product) -> Product:
    """Build ``model.engine`` where TensorRT and a GPU are; elsewhere say what is lacking.

    Raises:
        EngineError: Nothing was built, or what was built is not what was asked for.
        OutputError: It cannot be written.
    """
    settings = prepared.spec.deploy
    if exported.file is None or not settings.engine:
        why = "deploy.engine is false" if exported.file else "there is no model.onnx"
        return Product("engine", None, f"engine: skipped: {why}")
    from araflow.deploy.tensorrt import engine as tensorrt

    def compared(spec: ModelSpec) -> Streams:  # read only once TensorRT is found
        return windows.stacked(windows.of_clips(prepared.test, spec, _ENGINE_WINDOWS), spec)

    asked = tensorrt.EngineSettings(batch=settings.batch)
    out = prepared.out / "model.engine"
    try:
        built = tensorrt.build(exported.file, out, asked, windows=compared, source="of the test clips")
    except UnavailableError as error:
        return Product("engine", None, f"engine: skipped: {error}")
    record = built.record
    line = f"{out}: TensorRT {record.tensorrt} on {record.device}, {record.precision}; relative error "
    return Product("engine", out, f"{line}{record.parity.relative_error:.1g}", record.model_dump(mode="json"))


def bench(prepared: Prepared, exported: Product, built: Product) -> Product:
    """Time the engine, or else the ONNX file on ONNX Runtime."""
    settings = prepared.spec.deploy
    file = built.file or exported.file
    if file is None or not settings.bench_seconds:
        why = "deploy.bench_seconds is 0" if file else "nothing was exported"
        return Product("bench", None, f"bench: skipped: {why}")
    from araflow.deploy import bench as timing

    runner, by = open_runner(file), kind_of(file).by
    inputs = timing.inputs_for(runner.spec)
    # On a CPU sixteen windows may take a minute; an engine is timed at all the sizes that it is for.
    sizes = timing.sizes(runner, None) if built.file else (1, 4)
    found = [timing.bench(runner, inputs, size, seconds=settings.bench_seconds, min_runs=2).to_json() for size in sizes]
    figures = {"file": file.name, "by": by, "results": found}
    written.write_json(prepared.out / "bench.json", figures)
    shown = ", ".join(f"{one['throughput']:.0f} windows/s at batch {one['batch']}" for one in found)
    return Product("bench", file, f"{file} on {by}: {shown}", figures)
