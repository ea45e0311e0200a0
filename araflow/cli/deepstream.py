"""``araflow deepstream`` and ``araflow triton``."""

from __future__ import annotations

from pathlib import Path

import click

from araflow.cli.options import json_option
from araflow.core.screen import echo, echo_json, visible

_ONNX = click.argument("onnx", type=click.Path(path_type=Path))


@click.command()
@_ONNX
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="DIR", help="Folder to write into.")
@click.option(
    "--batch", type=click.IntRange(min=1), help="Windows at once.  [default: the file's, or 4, or the sources]"
)
@click.option("--sources", default=1, show_default=True, type=click.IntRange(min=1), help="Videos at once.")
@click.option("--stride", default=1, show_default=True, type=click.IntRange(min=1), help="Frames between windows.")
@click.option("--frame-size", default="1280x720", show_default=True, help="Of nvstreammux's frames: WIDTHxHEIGHT.")
@json_option("text")
def deepstream(
    onnx: Path, out: Path, batch: int | None, sources: int, stride: int, frame_size: str, as_json: bool
) -> None:
    """Write what NVIDIA DeepStream needs to run an exported rgb recogniser.

    Configurations of its preprocessing and inference, labels, a copy of the network, and how to run them. Shape, order,
    scale and offset are those of the recogniser.

    \b
    araflow deepstream m.onnx --out deepstream/ --sources 4
    """
    from araflow.deploy import deepstream as making
    from araflow.deploy.onnx import contract

    model = contract.read(onnx)
    texts = making.files(model, batch=batch, sources=sources, stride=stride, frame_size=_size(frame_size))
    _show(making.write(model, out, texts), as_json)


@click.command()
@_ONNX
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="DIR", help="The model repository.")
@click.option("--name", help="Name of the model.  [default: the file's]")
@click.option("--batch", type=click.IntRange(min=1), help="Most windows at once.  [default: 16, or the file's]")
@json_option("text")
def triton(onnx: Path, out: Path, name: str | None, batch: int | None, as_json: bool) -> None:
    """Write an exported recogniser into a model repository of NVIDIA Triton Inference Server.

    \b
    araflow triton m.onnx --out models/
    tritonserver --model-repository=models/
    """
    from araflow.deploy import triton as making
    from araflow.deploy.onnx import contract

    _show(making.write(contract.read(onnx), out, name or onnx.stem, batch=batch), as_json)


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise click.BadParameter(f"{text!r} is not WIDTHxHEIGHT, such as 1280x720", param_hint="--frame-size")
    return int(width), int(height)


def _show(paths: list[Path], as_json: bool) -> None:
    if as_json:
        echo_json({"files": [str(path) for path in paths]})
    else:
        for path in paths:
            echo(visible(str(path)))
