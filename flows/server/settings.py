"""Prefect's settings that araflow needs wherever a flow is started, ``prefect.toml`` or not.

``prefect.toml`` holds the same for people who run Prefect from a checkout; the embedded server of ``araflow build`` may
be started from any folder. An environment variable that the user has set stands.
"""

from __future__ import annotations

import os

POOL = "araflow"
"""Work pool that ranges, and the deployments of prefect.yaml, run on."""
TAG = "araflow"
"""Tag of every run. Only runs that carry it are ended when their heartbeat stops (``flows.server.own``)."""
HEARTBEAT_SECONDS = 30
"""Prefect's least."""

FOR_RUNS = {
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_SECONDS),
    "PREFECT_LOGGING_EXTRA_LOGGERS": "araflow",
    "DO_NOT_TRACK": "1",
    # Our loggers speak outside of runs, too.
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_CLASS": "flows.server.lines.Console",
    "PREFECT_LOGGING_HANDLERS_DEBUG_CLASS": "flows.server.lines.Console",  # of its own threads
    "PREFECT_LOGGING_HANDLERS_API_CLASS": "flows.server.lines.History",
}
"""What a process needs that runs a flow, on whatever machine."""

DEFAULTS = FOR_RUNS | {
    # The embedded server stops when the flow ends; unbatched, its recorder has by then written a quarter of the task
    # runs or less, and the rest are gone.
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    # The first start makes the database, which a slow disk or a busy machine makes long.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "600",
    # A run starts within these seconds of being asked for, instead of ten or more.
    "PREFECT_RUNNER_POLL_FREQUENCY": "3",
    "PREFECT_WORKER_QUERY_SECONDS": "3",
}

_HERE = ("127.0.0.1", "localhost", "::1")
"""Where no proxy leads."""


def apply() -> None:
    """Set what the user has not set, and go to this machine without a proxy. Call before Prefect is imported."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    # Who reads these takes the first of the two.
    excepted = os.environ.get("no_proxy", os.environ.get("NO_PROXY", "")).split(",")
    excepted = [one for one in map(str.strip, excepted) if one]
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(dict.fromkeys([*excepted, *_HERE]))
