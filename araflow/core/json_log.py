"""Log lines for machines, one JSON object per line on standard error (``--log-json``, ``ARAFLOW_LOG_JSON=1``)."""

from __future__ import annotations

import contextlib
import datetime
import logging
import os
from collections.abc import Iterator, Mapping
from typing import TextIO

from araflow.core.processes import environment
from araflow.core.screen import as_json

VARIABLE = "ARAFLOW_LOG_JSON"
FIELDS = ("clip", "outcome", "reason", "shard")
"""What a line may be about: given as ``extra`` where it is logged."""
_PREFECTS = {"flow_run_name": "flow_run", "task_run_name": "task_run"}
"""What Prefect adds to its own lines, and how it is called here."""
_PREFECT_HANDLERS = {
    f"PREFECT_LOGGING_HANDLERS_{name}_CLASS": "araflow.core.json_log.JsonLines" for name in ("CONSOLE", "DEBUG")
}
"""Prefect sets up the handlers of a process that runs flows; these are its variables for another class."""


def wanted() -> bool:
    """Whether log lines shall be JSON; the environment decides, so that child processes do the same."""
    return os.environ.get(VARIABLE, "").strip().lower() in {"1", "true", "yes", "on", "t", "y"}


@contextlib.contextmanager
def switched_on() -> Iterator[None]:
    """Have this process and those that it starts log as JSON. Prefect must not have been imported yet."""
    with environment({VARIABLE: "1", **_PREFECT_HANDLERS}):
        yield


class JsonLines(logging.StreamHandler[TextIO]):
    """Writes each record as a line of JSON.

    Args:
        stream: Where; ``None`` takes standard error as it is now.
        styles: Colours, which Prefect gives to its own handler; ignored.
    """

    def __init__(self, stream: TextIO | None = None, styles: Mapping[str, str] | None = None) -> None:
        super().__init__(stream)

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, whatever formatter has been set."""
        return line(record)


def line(record: logging.LogRecord) -> str:
    """Return a record as one line of JSON: time (UTC, ISO 8601), level, logger, message, and what it is about."""
    when = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
    content: dict[str, object] = {
        "time": when.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": record.getMessage(),
    }
    own = vars(record)
    content |= {name: own[name] for name in FIELDS if own.get(name) is not None}
    content |= {ours: own[theirs] for theirs, ours in _PREFECTS.items() if own.get(theirs) is not None}
    if record.exc_info and record.exc_info[0] is not None:  # Prefect gives it of nothing
        content["exception"] = logging.Formatter().formatException(record.exc_info)
    return as_json(content)


def say(level: int, message: str, error: BaseException | None = None) -> None:
    """Write one line of araflow's own to standard error, whatever the loggers are set to.

    Args:
        level: As in ``logging``.
        message: What it says.
        error: Its traceback goes with it.
    """
    about = None if error is None else (type(error), error, error.__traceback__)
    JsonLines().handle(logging.LogRecord("araflow", level, "", 0, message, (), about))
