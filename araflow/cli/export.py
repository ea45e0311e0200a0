"""``araflow export``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from araflow.cli.options import OTHER_FLOW, json_option
from araflow.core.screen import echo, echo_json

if TYPE_CHECKING:
    from araflow.deploy.onnx.contract import Batch


@click.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The file to write, such as m.onnx.")
@click.option("--precision", default="fp32", show_default=True, help="fp32 or fp16; inputs and output stay float32.")
@click.option("--opset", default=17, show_default=True, help="17 or 18; TensorRT 8.5 (JetPack 5) reads up to 17.")
@click.option("--batch", default="dynamic", show_default=True, help="Windows at once: dynamic, or a number.")
@click.option(
    "--manifest",
    type=click.Path(path_type=Path),
    help="Compare on clips of this manifest or build's folder.  [default: on drawn windows]",
)
@click.option(
    "--windows", default=64, show_default=True, type=click.IntRange(min=1), help="At most so many, with --manifest."
)
@OTHER_FLOW
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@json_option("text")
def export(
    checkpoint: Path,
    out: Path,
    precision: str,
    opset: int,
    batch: str,
    manifest: Path | None,
    windows: int,
    allow_other_flow: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Write a recogniser as an ONNX file, with its labels, preprocessing and origin inside.

    The file appears only if its logits, by ONNX Runtime, are those of the checkpoint: for fp32 within 1e-5 of the
    largest, for fp16 with the same first class on 99 % of the windows. Give --manifest, so that these are real ones.

    \b
    araflow export runs/sample_flow/last.safetensors --out m.onnx --manifest data/sample
    araflow export best.safetensors --out m_fp16.onnx --precision fp16 --batch 4
    """
    from araflow.deploy.onnx import export as exporting
    from araflow.deploy.windows import of_manifest
    from araflow.recognition import checkpoint as checkpoints
    from araflow.recognition import require

    require.packages("torch", "safetensors", "onnx", "onnxruntime", extra="export")
    given, warnings = None, list[str]()
    if manifest is not None:
        model = checkpoints.read_spec(checkpoint)
        given = of_manifest(manifest, model, windows, allow_other_flow=allow_other_flow, on_warning=warnings.append)
    result = exporting.export(
        checkpoint,
        out,
        precision=precision,  # type: ignore[arg-type]  # it refuses others itself
        opset=opset,
        batch=_batch(batch),
        windows=given,
        source="manifest",
        force=force,
        report=lambda line: echo(line, err=True),
    )
    if as_json:
        echo_json({**result.to_json(), **({"warnings": warnings} if warnings else {})})
        return
    parity = result.parity
    echo(
        f"{result.path}: {result.size / 1e6:.1f} MB, {result.precision}, opset {result.opset}, batch {result.batch}, "
        f"{result.nodes} nodes\nSHA-256 {result.sha256}\n"
        f"against the checkpoint on {parity.windows} windows ({parity.source}): relative error "
        f"{parity.relative_error:.2g}, same first class on {parity.top1:.1%}"
    )


def _batch(text: str) -> Batch:
    if text == "dynamic":
        return "dynamic"
    try:
        return int(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is neither dynamic nor a number", param_hint="--batch") from None
