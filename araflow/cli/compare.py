"""``araflow compare``: runs side by side."""

from __future__ import annotations

from pathlib import Path

import click

from araflow.cli.options import json_option
from araflow.core.screen import echo, echo_json


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN...")
@json_option("tables")
def compare(runs: tuple[Path, ...], as_json: bool) -> None:
    """Show runs side by side: figures, which clips one alone recognises, settings that differ.

    RUN is the folder of a run, of several (protocols, a sweep), or of an evaluation. Each run is held against the
    first one on the clips that both were tested on: the difference of top-1 in percent, its 95 % interval, and how
    likely one as large is by chance (McNemar's test).

    \b
    araflow compare runs/mine_rgb runs/mine_flow
    araflow compare runs/sweep --json
    """
    from araflow.recognition import comparison

    found = comparison.compare(runs)
    if as_json:
        echo_json(found.to_json())
        return
    for number, table in enumerate(found.tables()):
        if number:
            echo()
        table.print()
