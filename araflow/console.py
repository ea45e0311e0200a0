"""What a command shows while it works and when it ends. Imports nothing heavy until it is used."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from araflow.errors import AraflowError

if TYPE_CHECKING:
    from araflow.clip import ClipRecord
    from araflow.spec import BuildSpec

_INCOMPLETE = 3
"""Exit status of a run that finished with clips quarantined or failed."""


def finish(spec: BuildSpec, *, made: int, seconds: float, as_json: bool, strict: bool = False) -> NoReturn:
    """Print what was made and where, and exit with the status that says how it went."""
    from araflow import summary
    from araflow.clip import Outcome
    from araflow.manifest import Manifest
    from araflow.report import CONTACT_SHEET
    from araflow.store import Store
    from araflow.tables import print_summary

    path = Store(Path(spec.out)).manifest
    written = Manifest.read(path)
    outcomes = written.outcomes()
    line = summary.last_line(written, made, seconds)
    picture = written.folder / CONTACT_SHEET
    if as_json:
        content: dict[str, Any] = {
            "manifest": str(path),
            "picture": str(picture) if picture.exists() else None,
            "made": made,
        }
        content |= {"outcomes": dict(outcomes), "reasons": dict(summary.reasons(written)), "seconds": round(seconds, 3)}
        click.echo(json.dumps(content, indent=2))
    else:
        print_summary(written)
        click.echo(f"manifest: {path}\n" + (f"picture:  {picture}\n" if picture.exists() else "") + line)
    bad = outcomes[Outcome.QUARANTINED] + outcomes[Outcome.FAILED]
    if bad and strict:
        raise AraflowError(f"strict: {line}")
    sys.exit(_INCOMPLETE if bad else 0)


@contextlib.contextmanager
def progress() -> Iterator[tuple[Callable[[int], None], Callable[[ClipRecord | None], None]]]:
    """Log lines and bad clips on standard error, and on a terminal a bar with the time left.

    Yields a function that takes the number of clips, and one to call after each clip.
    """
    from rich.console import Console
    from rich.logging import RichHandler
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True, soft_wrap=True)
    handler = RichHandler(console=console, show_time=False, show_level=False, show_path=False)
    log = logging.getLogger("araflow")
    log.setLevel(logging.INFO)
    log.addHandler(handler)
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("clips"), TimeElapsedColumn(), TimeRemainingColumn())
    try:
        with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
            task = bar.add_task("", total=None)

            def advance(record: ClipRecord | None) -> None:
                bar.advance(task)
                if (
                    record is not None
                    and record.outcome in ("quarantined", "failed")
                    and record.reason_code != "missing"
                ):
                    line = f"{record.key}: {record.outcome}: {record.reason}"
                    console.print(line, markup=False, highlight=False)

            yield lambda total: bar.update(task, total=total), advance
    finally:
        log.removeHandler(handler)
