"""Prefect's log lines as people may see them: on the console, and in the history that its server keeps.

Prefect tells a failure three times, once with the traceback of no exception: when a task has returned it, when that has
ended, when the flow has. On the console it is said once: by the command that ran the flow, or else by the flow. A
command says itself what becomes of it, and shows what Prefect says besides only where all is asked for.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import re
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

from prefect.logging.handlers import APILogHandler, PrefectConsoleHandler

from araflow.core import telling
from araflow.core.errors import AraflowError
from araflow.core.screen import shown

_FLOWS, _TASKS, _ENGINE = "prefect.flow_runs", "prefect.task_runs", "prefect.engine"
_FAILED = re.compile(r"(?<=Finished in state Failed)\(.*\)$", re.DOTALL)


def _is_told(record: logging.LogRecord) -> bool:
    """Whether it is the traceback that Prefect adds to an error that the run's state has explained."""
    error = record.exc_info[1] if record.exc_info else None
    return isinstance(error, AraflowError) and record.name in (_FLOWS, _ENGINE)


class Console(PrefectConsoleHandler):
    """Prefect's handler for the console, to which names are text, and addresses have no secrets."""

    _show: ClassVar[list[Callable[[str], None]]] = []
    """The function that shows a line for the command that runs the flow; empty where none does."""

    @classmethod
    @contextlib.contextmanager
    def left_to(cls, show: Callable[[str], None]) -> Iterator[None]:
        """Leave it to a command what is shown of this process's runs.

        Args:
            show: Shows a line of Prefect's, where all is asked for.
        """
        cls._show.append(show)
        raises, logging.raiseExceptions = logging.raiseExceptions, False  # else a line that no server took is shown
        try:
            yield
        finally:
            logging.raiseExceptions = raises
            cls._show.remove(show)

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - Prefect's own
        super().__init__(*args, **kwargs)
        self.console._emoji = False  # else a file that is called :smile: is shown as one

    def filter(self, record: logging.LogRecord) -> bool:
        """Leave out what a task's end says again."""
        again = record.name == _TASKS and record.getMessage().startswith("Task run failed with state:")
        return not again and not _is_told(record) and bool(super().filter(record))

    def emit(self, record: logging.LogRecord) -> None:
        """Show the line, or leave it to the command."""
        if not self._show:
            super().emit(record)
        elif telling.amount() is telling.Amount.VERBOSE:
            self._show[-1](self.format(record))

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, or the lines of a traceback."""
        record = _without_nothing(record)
        if record.name == _TASKS or (record.name == _FLOWS and self._show):
            record.msg, record.args = _FAILED.sub("", record.getMessage()), ()
        return shown(super().format(record))


class History(APILogHandler):
    """Prefect's handler that sends lines to the server."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Leave out tracebacks of what the state says."""
        return not _is_told(record) and bool(super().filter(record))

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, or the lines of a traceback."""
        return shown(super().format(_without_nothing(record)))


def _without_nothing(record: logging.LogRecord) -> logging.LogRecord:
    """Return a copy without the traceback of no exception."""
    record = copy.copy(record)
    if record.exc_info and record.exc_info[0] is None:
        record.exc_info = None
    return record
