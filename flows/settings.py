"""Prefect's settings that araflow needs wherever a flow is started, ``prefect.toml`` or not.

``prefect.toml`` holds the same for people who run Prefect from a checkout; the embedded server of ``araflow build`` may
be started from any folder. An environment variable that the user has set stands.
"""

from __future__ import annotations

import os

DEFAULTS = {
    # The embedded server stops when the flow ends; unbatched, its recorder has by then written a quarter of the task
    # runs or less, and the rest are gone.
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "araflow",
    # The first start migrates the database, which a slow disk makes long.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
}


def apply() -> None:
    """Set what the user has not set. Call before Prefect is imported."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
