"""Prefect's lines on the console and in the history: a failure once, names as text, no secrets."""

import io
import logging

import pytest

from araflow.core import telling
from araflow.core.errors import SourceError
from flows.server.lines import Console, History

FAILED = "Finished in state Failed('out: \x1b[31m[red]x[/red] :smile:\nhttp://u:S3CRET@host/?S3CRET')"


@pytest.fixture
def console() -> Console:
    return Console(io.StringIO())


def said(console: Console, name: str, message: str, **more: object) -> str:
    record = logging.LogRecord(name, logging.ERROR, "", 0, message, (), None)
    vars(record).update(more)
    console.handle(record)
    return console.stream.getvalue()


def test_a_failure_is_said_once(console: Console):
    nothing = (None, None, None)
    assert said(console, "prefect.task_runs", f"Task run failed with state: {FAILED}", exc_info=nothing) == ""
    assert said(console, "prefect.task_runs", FAILED) == "Finished in state Failed\n"


def test_a_command_shows_what_prefect_says_only_if_all_is_asked_for(console: Console):
    lines: list[str] = []
    with Console.left_to(lines.append):
        for amount in telling.Amount:
            with telling.telling(amount):
                assert said(console, "prefect.flow_runs", FAILED) == ""
                assert said(console, "prefect.flow_runs", "Finished in state Completed('3 clips')") == ""
                assert said(console, "prefect._internal.concurrency", "Service 'EventsWorker' failed") == ""
    # The command says at its end what failed.
    assert lines == [
        "Finished in state Failed",
        "Finished in state Completed('3 clips')",
        "Service 'EventsWorker' failed",
    ]
    assert said(console, "prefect.flow_runs", "Beginning") == "Beginning\n", "no command any more"


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
