"""What a command shows while it works and when it ends. Imports nothing heavy until it is used."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

from araflow.core import json_log, telling
from araflow.core.errors import AraflowError
from araflow.core.screen import as_one, echo, echo_json, visible
from araflow.core.words import duration

if TYPE_CHECKING:
    from types import TracebackType

    from rich.console import Console
    from rich.progress import Progress, ProgressColumn

    from araflow.core.clip import ClipRecord
    from araflow.core.spec import BuildSpec

log = logging.getLogger(__name__)
INCOMPLETE = 3
"""Exit status of a command that finished, but some clips were missing, quarantined or failed."""
_SECONDS_BETWEEN_LINES = 60.0
"""Between two lines that say how far a command is, where no bar does."""
_begun = time.monotonic()
_shown_on: Console | None = None
"""Where log lines are shown now."""


def begin() -> None:
    """Know when a command began."""
    global _begun
    _begun = time.monotonic()


def elapsed() -> float:
    """Return the seconds since the command began, all that it waited for included."""
    return time.monotonic() - _begun


def finish(spec: BuildSpec, *, made: int, as_json: bool, strict: bool = False) -> NoReturn:
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
    seconds = elapsed()
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

    global _shown_on
    if _shown_on is not None:
        yield _shown_on
        return
    console = Console(stderr=True, soft_wrap=True)

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            console.print(Text(as_one(record.getMessage())))  # as text: a key may hold [b] or :smile:

    handler = json_log.JsonLines() if json_log.wanted() else Lines()
    handler.addFilter(telling.is_told)
    ours = logging.getLogger("araflow")
    propagates = ours.propagate
    ours.setLevel(logging.INFO)
    ours.addHandler(handler)
    ours.propagate = False  # to Prefect's handler, once a flow is imported, which would show them again
    _shown_on = console
    try:
        yield console
    finally:
        _shown_on = None
        ours.propagate = propagates
        ours.removeHandler(handler)


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


class Bar:
    """How far a command is: on a terminal a bar with the time left, elsewhere a line a minute."""

    def __init__(self, shown: Progress) -> None:
        self._shown = shown
        self._task = shown.add_task("starting", total=None)
        self._total = self._seen = self._said = 0
        self._last = time.monotonic()
        self._lock = threading.Lock()

    def begin(self, total: int) -> None:
        """Say how many there are."""
        self._total, self._last = total, time.monotonic()
        self._shown.update(self._task, total=total, description=self._text())

    def advance(self, count: int = 1) -> None:
        """Count what is settled. Safe to call from several threads."""
        with self._lock:
            self._seen += count
            now = time.monotonic()
            seconds, done = now - self._last, self._seen - self._said
            if self._shown.disable and seconds > _SECONDS_BETWEEN_LINES and self._seen < self._total:
                self._last, self._said = now, self._seen
                log.info("%s, about %s left", self._text(), duration((self._total - self._seen) * seconds / done))
            self._shown.update(self._task, advance=count, description=self._text())

    def _text(self) -> str:
        return f"{self._seen:,} of {self._total:,} clips"


@contextlib.contextmanager
def bar() -> Iterator[Bar]:
    """Show log lines on standard error, and how far a command is with its clips."""
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    with logged() as console:
        columns = (
            BarColumn(max(8, min(40, console.width - 52))),
            TextColumn("{task.description}", markup=False),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("left"),
        )
        with _bars(console, *columns) as shown:
            yield Bar(shown)


@contextlib.contextmanager
def progress() -> Iterator[tuple[Callable[[int], None], Callable[[ClipRecord | None], None]]]:
    """Show log lines, bad clips, and how far a command is.

    Yields a function that takes the number of clips, and one to call after each clip.
    """
    with bar() as shown:

        def advance(record: ClipRecord | None) -> None:
            shown.advance()
            if record is not None:
                telling.say_bad(log, record)

        yield shown.begin, advance


@contextlib.contextmanager
def downloads() -> Iterator[Callable[[str, int, int | None], None]]:
    """Show log lines on standard error, and on a terminal a bar per download with rate and time left.

    Yields a function that takes a file's name, its bytes so far, and all its bytes where they are known.
    """
    from rich.progress import BarColumn, DownloadColumn, TaskID, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with logged() as console, _bars(console, *columns) as shown:
        tasks: dict[str, TaskID] = {}

        def advance(name: str, done: int, total: int | None) -> None:
            if name not in tasks:
                tasks[name] = shown.add_task(visible(name), total=total)
            shown.update(tasks[name], completed=done, total=total)
            if done == total:
                shown.remove_task(tasks.pop(name))

        yield advance


def _bars(console: Console, *columns: ProgressColumn) -> Progress:
    from rich.progress import Progress

    hidden = json_log.wanted() or not console.is_terminal or telling.amount() is telling.Amount.QUIET
    return Progress(*columns, console=console, disable=hidden, transient=True, refresh_per_second=4)
