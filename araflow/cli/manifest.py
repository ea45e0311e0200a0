"""``araflow manifest``: show, validate, compare."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import click

from araflow.cli.console import progress
from araflow.cli.options import JSON, Group, ManifestPath
from araflow.core.screen import echo, echo_json, visible
from araflow.core.words import counted


@click.group(cls=Group)
def manifest() -> None:
    """Show, validate or compare manifests."""


_MANIFEST = click.argument("path", type=ManifestPath(path_type=Path))


@manifest.command()
@_MANIFEST
@click.option("--clips", is_flag=True, help="One line per clip instead of one per class.")
@JSON
def show(path: Path, clips: bool, as_json: bool) -> None:
    """Show the clips of a manifest by class and outcome. PATH is a manifest or an output folder."""
    from araflow.cli.tables import print_clips, print_summary
    from araflow.store import duplicates, summary
    from araflow.store.manifest import Manifest

    read = Manifest.read(path, None if clips else summary.COLUMNS)
    if as_json:
        content = {"metadata": read.metadata, **dataclasses.asdict(summary.by_class(read))}
        content["duplicates"] = dataclasses.asdict(duplicates.find(read))
        echo_json(content | ({"clips": read.table.to_pylist()} if clips else {}))
    elif clips:
        print_clips(read)
    else:
        print_summary(read)


@manifest.command()
@_MANIFEST
@click.option("--quick", is_flag=True, help="Check names and sizes only; read no file.")
@click.option(
    "--deep", is_flag=True, help="Hold every byte against the digests, and every row against its record, too."
)
@JSON
def validate(path: Path, quick: bool, deep: bool, as_json: bool) -> None:
    """Check the files against the rows; exit status 1 with the differences if they do not match.

    Every image is decoded. What keeps its size and decodes, such as two frames that were exchanged, needs --deep.
    """
    if quick and deep:
        raise click.UsageError("--quick reads no file, and --deep all of them; give one of them")
    from araflow.store import audit, duplicates
    from araflow.store.manifest import Manifest

    read = Manifest.read(path)
    with progress() as (on_start, advance):
        on_start(len(read))
        problems = audit.validate(read, decode=not quick, deep=deep, on_clip=lambda key: advance(None))
    strays = [f"{path}: a clip folder without a finished row" for path in audit.strays(read)]
    unknown = audit.without_digests(read) if deep else 0
    twice = duplicates.find(read)
    if as_json:
        content = {"clips": len(read), "problems": problems + strays, "duplicates": dataclasses.asdict(twice)}
        echo_json(content | ({"without_digests": unknown} if deep else {}))
    else:
        for problem in problems + strays:
            echo(visible(problem))
        if twice.across_splits or twice.across_classes:
            echo(visible(twice.line))
        line = f"{counted(len(read), 'row')}, {counted(len(problems) + len(strays), 'difference')}"
        if problems and read.settings:
            line += "; the same araflow build or flow with --verify makes damaged clips and the manifest anew, and so "
            line += "does araflow retry --damaged"
        if strays:
            line += "; araflow clean removes clips that nothing lists"
        if unknown:
            line += f"; {unknown} clips have no digest, since an older araflow made them: their images were decoded"
        echo(line)
    sys.exit(1 if problems or strays else 0)


@manifest.command()
@click.argument("first", type=ManifestPath(path_type=Path))
@click.argument("second", type=ManifestPath(path_type=Path))
@JSON
def diff(first: Path, second: Path, as_json: bool) -> None:
    """Compare two manifests clip by clip; exit status 1 if they differ."""
    from araflow.store.differences import differences
    from araflow.store.manifest import Manifest

    lines = differences(Manifest.read(first), Manifest.read(second))
    if as_json:
        echo_json({"differences": lines})
    else:
        for line in lines:
            echo(visible(line))
        echo(counted(len(lines), "difference"))
    sys.exit(1 if lines else 0)
