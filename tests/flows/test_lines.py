"""Prefect's lines on the console and in the history: a failure once, names as text, no secrets."""

import io
import logging
from collections.abc import Iterator

import pytest

from araflow.core.errors import SourceError
from flows.server.lines import Console, History

FAILED = "Finished in state Failed('out: \x1b[31m[red]x[/red] :smile:\nhttp://u:S3CRET@host/?S3CRET')"


@pytest.fixture
def console() -> Iterator[Console]:
    yield Console(io.StringIO())
    Console.ends_with_error = False


def said(console: Console, name: str, message: str, **more: object) -> str:
    record = logging.LogRecord(name, logging.ERROR, "", 0, message, (), None)
    vars(record).update(more)
    console.handle(record)
    return console.stream.getvalue()


def test_a_failure_is_said_once(console: Console):
    nothing = (None, None, None)
    assert said(console, "prefect.task_runs", f"Task run failed with state: {FAILED}", exc_info=nothing) == ""
    assert said(console, "prefect.task_runs", FAILED) == "Finished in state Failed\n"
    Console.ends_with_error = True
    assert said(console, "prefect.flow_runs", FAILED) == "Finished in state Failed\n" * 2
    assert said(console, "prefect.flow_runs", "Finished in state Completed('3 clips')").endswith(
        "Completed('3 clips')\n"
    )


def test_a_run_that_a_server_was_asked_for_says_why_it_failed(console: Console):
    line = said(console, "prefect.flow_runs", FAILED, exc_info=(None, None, None))
    assert line == "Finished in state Failed('out: \\x1b[31m[red]x[/red] :smile:\nhttp://…@host/?…')\n"


@pytest.mark.parametrize("name", ["prefect.flow_runs", "prefect.engine"])
def test_what_the_state_explains_has_no_traceback_and_what_is_a_fault_has(console: Console, name: str):
    for error, told in ((SourceError("/nonexistent: no such folder"), False), (KeyError("x"), True)):
        try:
            raise error
        except (SourceError, KeyError) as raised:
            trace = (type(raised), raised, raised.__traceback__)
        line = said(console, name, "Engine execution exited with unexpected exception", exc_info=trace)
        assert ("Traceback" in line) is told
        record = logging.LogRecord(name, logging.ERROR, "", 0, "unexpected", (), trace)
        assert bool(History().filter(record)) is told


def test_the_history_keeps_no_secret_and_no_traceback_of_nothing():
    record = logging.LogRecord("prefect.task_runs", logging.ERROR, "", 0, FAILED, (), (None, None, None))
    assert (
        History().format(record) == "Finished in state Failed('out: \\x1b[31m[red]x[/red] :smile:\nhttp://…@host/?…')"
    )
