"""``araflow models``: the architectures, and what one of them or a checkpoint is made of."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from araflow.cli.options import JSON
from araflow.core.screen import echo, echo_json

if TYPE_CHECKING:
    from araflow.recognition.inspect import Layer
    from araflow.recognition.spec import ModelSpec
    from araflow.recognition.streams import Modality, Stream

_CLASSES = 400
"""Classes that parameters are counted with: Kinetics-400's, as in most papers."""


@click.group(invoke_without_command=True)
@JSON
@click.pass_context
def models(ctx: click.Context, as_json: bool) -> None:
    """List the architectures of recognisers, or show one of them, or a checkpoint.

    Parameters are those of one rgb network with 400 classes and the window that it was published with.

    \b
    araflow models
    araflow models show arn_3d --modality joint --classes 5
    araflow models show runs/hmdb5/best.safetensors --out first_layer.png
    """
    if ctx.invoked_subcommand is not None:
        return
    from araflow.recognition import require

    require.torch()
    from araflow.recognition import models as registry

    content = [_described(name) for name in registry.names()]
    if as_json:
        echo_json(content)
        return
    from araflow.core.table import Table

    Table.of(
        [
            {
                "name": one["name"],
                "modalities": ", ".join(one["modalities"]),
                "depths": ", ".join(map(str, one["depths"])),
                "parameters": one["parameters"]["rgb"],
                "window": f"{one['input']['frames']} frames of {one['input']['width']}×{one['input']['height']}",
                "mean": _values(one["input"]["mean"]),
                "std": _values(one["input"]["std"]),
            }
            for one in content
        ]
    ).print()
    for one in content:
        echo(f"{one['name']}: {one['paper']}")
    echo(f"{len(content)} architectures; araflow models show NAME lists the layers of one")


@models.command()
@click.argument("target", metavar="NAME|CHECKPOINT")
@click.option("--modality", type=click.Choice(["rgb", "flow", "joint"]), help="Of NAME.  [default: rgb]")
@click.option("--depth", type=int, help="Of NAME, where there is a choice.  [default: its first]")
@click.option("--classes", type=click.IntRange(2), help=f"Of NAME.  [default: {_CLASSES}]")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="PNG",
    help="Of CHECKPOINT: draw the filters of its first layer (of both streams: PNG's name with -rgb and -flow).",
)
@JSON
def show(
    target: str,
    modality: Modality | None,
    depth: int | None,
    classes: int | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Show the layers of an architecture or a checkpoint: output, parameters, kernels; and totals by type.

    A checkpoint also tells its classes, window and normalisation, and how its optical flow was made.

    \b
    araflow models show r2plus1d_18
    araflow models show best.safetensors --out filters.png
    """
    from araflow.recognition import require

    require.torch()
    from araflow.core.errors import SourceError, did_you_mean
    from araflow.recognition import checkpoint, inspect
    from araflow.recognition import models as registry

    named = target in registry.names()
    path = Path(target)
    if named and out is not None:
        raise click.UsageError("--out draws the weights of a checkpoint; those of a bare architecture are random")
    if not named and (given := [n for n, v in (("modality", modality), ("depth", depth), ("classes", classes)) if v]):
        raise click.UsageError(f"--{given[0]} is for an architecture; a checkpoint has its own")
    if named:
        spec = inspect.published(target, modality or "rgb", classes=classes or _CLASSES, depth=depth)
    elif path.exists() or path.suffix == checkpoint.SUFFIX:
        spec = checkpoint.read_spec(path)
    else:
        known = registry.names()
        raise SourceError(
            f"{target}: neither an architecture nor a file; architectures: {', '.join(known)}"
            f"{did_you_mean(target, known)}"
        )
    found = inspect.layers(spec)
    total = sum(layer.parameters for layer in found if layer.level == 0)
    files = {} if out is None else _draw(path, out)
    if as_json:
        content = {
            "model": spec.to_json() if not named else {"network": spec.to_json()["network"]},
            "parameters": total,
            "layers": [layer.to_json() for layer in found],
            "totals": inspect.totals(found),
            "pictures": {stream: str(file) for stream, file in files.items()},
        }
        echo_json(content)
        return
    from araflow.core.table import Table

    Table.of([_row(layer) for layer in found]).print()
    echo()
    Table.of(inspect.totals(found)).print()
    echo()
    for line in _known(spec, named):
        echo(line)
    for stream, file in files.items():
        echo(f"first layer of {stream}: {file}")
    own = " and ".join(f"{stream} {'×'.join(map(str, _shape(spec, stream)))}" for stream in spec.streams)
    echo(f"{spec.network.architecture}: {total:,} parameters; {own} → {len(spec.labels)} classes")


def _described(name: str) -> dict[str, Any]:
    from araflow.recognition import inspect, networks
    from araflow.recognition import models as registry

    architecture = registry.load(name)
    modalities: tuple[Modality, ...] = ("rgb", "flow", "joint")
    return {
        "name": name,
        "modalities": list(modalities),
        "depths": list(architecture.DEPTHS),
        "classes": _CLASSES,
        "parameters": {
            modality: networks.count(networks.outline(inspect.published(name, modality, classes=_CLASSES)))
            for modality in modalities
        },
        "input": architecture.INPUT.model_dump(mode="json"),
        "paper": architecture.PAPER,
    }


def _row(layer: Layer) -> dict[str, object]:
    return {
        "layer": "  " * layer.level + layer.name.rpartition(".")[2],
        "type": layer.type,
        "output": "×".join(map(str, layer.output or ())),
        "kernel": "×".join(map(str, layer.kernel)),
        "parameters": layer.parameters,
    }


def _known(spec: ModelSpec, named: bool) -> list[str]:
    """What else a person wants to know: normalisation, and of a checkpoint classes, windows and flow."""
    lines = []
    for stream in spec.streams:
        own = spec.stream(stream)
        lines.append(f"{stream}: (x / 255 - mean) / std, mean {_values(own.mean)}, std {_values(own.std)}")
    if named:
        return lines
    crop = f"the centre of a short side of {spec.short_side} pixels" if spec.center_crop else "the whole frame"
    lines.append(f"windows: {spec.sampler}, step {spec.sample_rate}, of {crop}")
    if spec.flow is not None:
        lines.append(f"flow: {spec.flow}, levels as {spec.flow.scale}")
        numbers = (f"{name} {value}" for name, value in sorted((spec.flow.parameters or {}).items()))
        lines.append(f"flow's parameters: {', '.join(numbers) or 'not known'}")
    lines.append(f"manifest: {spec.manifest_sha256 or 'not known'}")
    lines.append("software: " + (", ".join(f"{n} {v}" for n, v in sorted(spec.software.items())) or "not known"))
    lines.append(f"classes: {', '.join(spec.labels)}")
    return lines


def _draw(path: Path, out: Path) -> dict[str, Path]:
    """Draw the first layer of each stream; return the files."""
    from araflow.core import written
    from araflow.recognition import checkpoint, inspect, pictures

    network, spec = checkpoint.load(path)
    weights = inspect.first_weights(network, spec)
    files = {s: out if len(weights) == 1 else out.with_stem(f"{out.stem}-{s}") for s in weights}
    drawn = {stream: pictures.first_layer(own) for stream, own in weights.items()}
    written.write({file: drawn[stream] for stream, file in files.items()})
    return files


def _shape(spec: ModelSpec, stream: Stream) -> tuple[int, ...]:
    from araflow.recognition.streams import CHANNELS

    own = spec.stream(stream)
    return CHANNELS[stream], own.frames, own.height, own.width


def _values(values: Iterable[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)
