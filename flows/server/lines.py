"""Prefect's log lines as people may see them: on the console, and in the history that its server keeps."""

from __future__ import annotations

import logging
from typing import Any

from prefect.logging.handlers import APILogHandler, PrefectConsoleHandler

from araflow.core.screen import shown


class Console(PrefectConsoleHandler):
    """Prefect's handler for the console, to which names are text, and addresses have no secrets."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - Prefect's own
        super().__init__(*args, **kwargs)
        self.console._emoji = False  # else a file that is called :smile: is shown as one

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, or the lines of a traceback."""
        return shown(super().format(record))


class History(APILogHandler):
    """Prefect's handler that sends lines to the server."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, or the lines of a traceback."""
        return shown(super().format(record))
