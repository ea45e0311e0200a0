"""``araflow engine`` and ``araflow bench-engine``."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import TYPE_CHECKING

import click

from araflow.cli.options import JSON, OTHER_FLOW
from araflow.core.screen import echo, echo_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from araflow.deploy.bench import Latency
    from araflow.deploy.tensorrt.engine_file import EngineRecord
    from araflow.deploy.tensorrt.runtime import EngineRunner
    from araflow.deploy.windows import Streams
    from araflow.recognition.spec import ModelSpec

_WINDOWS = 16
"""Windows of a manifest to compare logits on, at most."""


@click.command()
@click.argument("onnx", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The engine to write, such as m.engine.")
@click.option(
    "--precision",
    type=click.Choice(["fp32", "fp16", "int8"]),
    help="int8 needs a file with quantisation nodes.  [default: as the file]",
)
@click.option(
    "--batch",
    metavar="MIN,OPT,MAX",
    help="Fewest, usual and most windows at once; one number for all three.  [default: 1,4,16, or the file's own]",
)
@click.option("--workspace", type=click.IntRange(min=1), metavar="MIB", help="Most scratch memory.  [default: all]")
@click.option(
    "--timing-cache", type=click.Path(path_type=Path), metavar="DIR", help="Keep timings there: later builds are quick."
)
@click.option("--optimization-level", type=click.IntRange(0, 5), help="Effort of the search.  [default: TensorRT's, 3]")
@click.option(
    "--manifest",
    type=click.Path(path_type=Path),
    help="A manifest, or a build's folder: compare logits on windows of its clips.  [default: on drawn windows]",
)
@OTHER_FLOW
@click.option("--bench", "measured", is_flag=True, help="Also time it, and note that in its description.")
@JSON
def engine(
    onnx: Path,
    out: Path,
    precision: str | None,
    batch: str | None,
    workspace: int | None,
    timing_cache: Path | None,
    optimization_level: int | None,
    manifest: Path | None,
    allow_other_flow: bool,
    measured: bool,
    as_json: bool,
) -> None:
    """Build a TensorRT engine from an ONNX file that `araflow export` wrote, and prove it.

    An engine appears only if its layers compute in the precision that was asked for and its logits are ONNX Runtime's.
    OUT.json beside it says what was built, with what, and what was proven. Needs TensorRT 8.5 to 11 and the GPU that
    the engine is for. fp32 means 32 bits: TF32 is switched off.

    \b
    araflow engine m.onnx --out m.engine
    araflow engine m_fp16.onnx --out m.engine --batch 1,4,16 --timing-cache ~/.cache/araflow/timing
    araflow engine m.onnx --out m.engine --manifest data/sample --bench
    """
    from araflow.core import spec_file
    from araflow.deploy import bench, windows
    from araflow.deploy.tensorrt.engine import EngineSettings, build

    given = {
        "precision": precision,
        "batch": None if batch is None else _three(batch),
        "workspace_mib": workspace,
        "timing_cache": None if timing_cache is None else timing_cache.expanduser(),
        "optimization_level": optimization_level,
    }

    def compared(spec: ModelSpec) -> Streams:  # read only once TensorRT is found
        read = windows.of_manifest
        if allow_other_flow:
            read = functools.partial(windows.of_manifest, allow_other_flow=True)
        return windows.stacked(read(manifest or Path(), spec, _WINDOWS), spec)

    def measure(runner: EngineRunner, size: int) -> dict[str, int | float]:
        return bench.bench(runner, bench.inputs_for(runner.spec), size).to_json()

    result = build(
        onnx,
        out,
        spec_file.validate(given, EngineSettings, "araflow engine"),
        windows=None if manifest is None else compared,
        source=f"of {manifest}",
        measure=measure if measured else None,
    )
    if as_json:
        echo_json({"engine": str(result.path), **result.record.model_dump(mode="json")})
        return
    _print_record(result.record)
    echo(f"engine:      {result.path}\ndescription: {result.sidecar}")


@click.command("bench-engine")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--batch",
    metavar="N,N…",
    help="Windows at once, with commas between.  [default: 1,4,16, as far as the file takes them]",
)
@click.option("--seconds", type=click.FloatRange(min=0), default=3.0, show_default=True, help="To measure each for.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@click.option("--cuda-graph", is_flag=True, help="Engines: queue the computation as one recorded CUDA graph.")
@JSON
def bench_engine(file: Path, batch: str | None, seconds: float, device: str, cuda_graph: bool, as_json: bool) -> None:
    """Time a recogniser: an engine, an ONNX file (ONNX Runtime) or a checkpoint (PyTorch).

    Latency percentiles and throughput as trtexec reports them: 200 ms to warm up, then at least --seconds and 10
    batches. An engine's latency is the device's, with copies in and out; anything else's is the host's.

    \b
    araflow bench-engine m.engine --cuda-graph
    araflow bench-engine m.onnx --batch 1,4
    araflow bench-engine runs/sample_flow/last.safetensors --batch 1 --seconds 1 --json
    """
    from araflow.deploy import bench
    from araflow.deploy.runners import kind_of, open_runner

    given = None if batch is None else _integers(batch)
    runner, by = open_runner(file, device), kind_of(file).by  # type: ignore[arg-type]  # it refuses others itself
    sizes = bench.sizes(runner, given)
    make = bench.inputs_for(runner.spec)
    found = [bench.bench(runner, make, size, seconds=seconds, cuda_graph=cuda_graph) for size in sizes]
    if as_json:
        content = {
            "file": str(file),
            "by": by,
            "units": {"times": "milliseconds", "throughput": "windows per second"},
            "results": [one.to_json() for one in found],
            "card": {"rows": [dataclasses.asdict(row) for row in bench.CARD], "caveat": bench.CARD_CAVEAT},
        }
        echo_json(content)
    else:
        _print_latency(found, by, runner.spec)


def _integers(text: str) -> tuple[int, ...]:
    try:
        found = tuple(int(part) for part in text.split(","))
    except ValueError:
        found = ()
    if not found or min(found) < 1:
        raise click.BadParameter(f"{text!r}: expected whole numbers from 1 with commas between, such as 1,4,16")
    return found


def _three(text: str) -> tuple[int, int, int]:
    match _integers(text):
        case (only,):
            return only, only, only
        case (least, usual, most):
            return least, usual, most
        case _:
            raise click.BadParameter(f"{text!r}: expected fewest, usual and most, such as 1,4,16, or one number")


def _print_record(record: EngineRecord) -> None:
    flags = [*record.flags.network, *record.flags.builder, *(f"no {name}" for name in record.flags.cleared)]
    proof, parity = record.proof, record.parity
    how = "by builder flag alone, from a float32 file" if record.flags.fallback else f"{record.flags.typing}ly typed"
    echo(f"TensorRT {record.tensorrt} on {record.device}, built in {record.build_seconds:.0f} s")
    echo(f"precision {record.precision} ({how}); flags: {', '.join(flags) or 'none'}")
    for name, shapes in record.profile.items():
        echo(f"{name}: " + " … ".join("×".join(map(str, shape)) for shape in (shapes.min, shapes.opt, shapes.max)))
    counts = f"fp32 {proof.fp32}, fp16 {proof.fp16}, int8 {proof.int8}"
    echo(f"proof: of {proof.computing} computing layers {counts}")
    echo(
        f"parity with ONNX Runtime on {parity.windows} windows ({parity.source}): relative error "
        f"{parity.relative_error:.2g} (allowed {parity.allowed:g}), same first class {parity.top1:.1%}"
    )
    for row in record.latency or ():
        echo(f"batch {row['batch']}: median {row['median']:.2f} ms, {row['throughput']:.1f} windows/s")


def _print_latency(found: Sequence[Latency], by: str, spec: ModelSpec) -> None:
    from araflow.core.table import Table, figures
    from araflow.deploy import bench

    names = ("median", "mean", "p90", "p95", "p99", "min", "max", *found[0].parts)
    rows = []
    for one in found:
        row = one.to_json()
        numbers = (f"{row[name]:.2f}" for name in names)
        rows.append((str(one.batch), str(one.runs), *numbers, f"{one.throughput:.1f}"))
    title = f"{by}; latency in milliseconds, throughput in windows per second"
    Table(figures("batch", "runs", *names, "windows/s"), rows, title=title).print()
    if card := bench.card_figures(spec):
        echo("NVIDIA's card: " + "; ".join(f"{r.device} {r.clips:g}/s (batch {r.batch})" for r in card))
        own = spec.stream("rgb")
        echo(f"{bench.CARD_CAVEAT}; this file: {own.frames} frames of {own.width} × {own.height}")
