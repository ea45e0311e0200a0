"""What a command shows while it works and when it ends. Imports nothing heavy until it is used."""

from __future__ import annotations

import contextlib
import logging
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

from araflow.core import json_log
from araflow.core.errors import AraflowError
from araflow.core.screen import as_one, echo, echo_json, visible

if TYPE_CHECKING:
    from types import TracebackType

    from rich.console import Console

    from araflow.core.clip import ClipRecord
    from araflow.core.spec import BuildSpec

log = logging.getLogger(__name__)
INCOMPLETE = 3
"""Exit status of a command that finished, but some clips were missing, quarantined or failed."""


def finish(spec: BuildSpec, *, made: int, seconds: float, as_json: bool, strict: bool = False) -> NoReturn:
    """Print what was made and where, and exit with the status that says how it went."""
    from araflow.cli.tables import print_summary
    from araflow.core.clip import Outcome
    from araflow.store import summary
    from araflow.store.address import open_store
    from araflow.store.layout import CONTACT_SHEET
    from araflow.store.manifest import Manifest

    path = open_store(spec.out).manifest
    written = Manifest.read(path, summary.COLUMNS)
    outcomes = written.outcomes()
    line = summary.last_line(written, made, seconds)
    picture = written.folder / CONTACT_SHEET
    if as_json:
        content: dict[str, Any] = {
            "manifest": str(path),
            "picture": str(picture) if picture.exists() else None,
            "made": made,
        }
        content |= {"outcomes": dict(outcomes), "reasons": dict(summary.reasons(written))}
        content |= {"damaged": summary.damaged(written), "seconds": round(seconds, 3)}
        echo_json(content)
    else:
        print_summary(written)
        echo(f"manifest: {path}\n" + (f"picture:  {picture}\n" if picture.exists() else "") + line)
    bad = outcomes[Outcome.QUARANTINED] + outcomes[Outcome.FAILED]
    if bad and strict:
        raise AraflowError(f"strict: {line}")
    sys.exit(INCOMPLETE if bad else 0)


@contextlib.contextmanager
def logged() -> Iterator[Console]:
    """Show araflow's log lines on standard error, as text or, where that is asked for, as JSON."""
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, soft_wrap=True)

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            console.print(Text(as_one(record.getMessage())))  # as text: a key may hold [b] or :smile:

    handler = json_log.JsonLines() if json_log.wanted() else Lines()
    ours = logging.getLogger("araflow")
    ours.setLevel(logging.INFO)
    ours.addHandler(handler)
    try:
        yield console
    finally:
        ours.removeHandler(handler)


def _no_bar(console: Console) -> bool:
    return json_log.wanted() or not console.is_terminal


def say_error(message: str) -> None:
    """Write a line on standard error that says why a command ended."""
    if json_log.wanted():
        json_log.say(logging.ERROR, message.removeprefix("error: "))
    else:
        echo(as_one(message), err=True)


def say_traceback(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    """Show where a program, or a thread of it, broke that should not have, in place of ``sys.excepthook``."""
    if json_log.wanted():
        json_log.say(logging.ERROR, f"{kind.__name__}: {error}", error)
    else:
        echo("".join(traceback.format_exception(kind, error, trace)).rstrip(), err=True)


@contextlib.contextmanager
def downloads() -> Iterator[Callable[[str, int, int | None], None]]:
    """Log lines on standard error, and on a terminal a bar per download with rate and time left.

    Yields a function that takes a file's name, its bytes so far, and all its bytes where they are known.
    """
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TaskID,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with (
        logged() as console,
        Progress(*columns, console=console, disable=_no_bar(console), transient=True) as bar,
    ):
        tasks: dict[str, TaskID] = {}

        def advance(name: str, done: int, total: int | None) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(visible(name), total=total)
            bar.update(tasks[name], completed=done, total=total)
            if done == total:
                bar.remove_task(tasks.pop(name))

        yield advance


@contextlib.contextmanager
def progress() -> Iterator[tuple[Callable[[int], None], Callable[[ClipRecord | None], None]]]:
    """Log lines and bad clips on standard error, and on a terminal a bar with the time left.

    Yields a function that takes the number of clips, and one to call after each clip.
    """
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("clips"), TimeElapsedColumn(), TimeRemainingColumn())
    with (
        logged() as console,
        Progress(*columns, console=console, disable=_no_bar(console), transient=True) as bar,
    ):
        task = bar.add_task("", total=None)

        def advance(record: ClipRecord | None) -> None:
            bar.advance(task)
            if record is not None and record.outcome in ("quarantined", "failed") and record.reason_code != "missing":
                about = {"clip": record.key, "outcome": record.outcome, "reason": record.reason}
                log.warning("%s: %s: %s", record.key, record.outcome, record.reason, extra=about)

        yield lambda total: bar.update(task, total=total), advance
