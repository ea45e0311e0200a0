"""What every command says under ``--help``, held word for word: a change of structure changes none of it by accident.

After a change that is meant: ``ARAFLOW_RENEW=1 python -m pytest tests/guards/test_help.py``, and read the difference.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from araflow.cli import main

GOLDEN = Path(__file__).with_name("help.txt")


def commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            yield from commands(below, (*path, name))


def test_no_help_has_changed(monkeypatch: pytest.MonkeyPatch):
    texts = []
    for path, command in commands(main):
        monkeypatch.setattr(command, "_help_option", None)  # click keeps that of a test that ran a command by itself
        result = CliRunner().invoke(main, [*path, "--help"], prog_name="araflow", terminal_width=100)
        assert result.exit_code == 0, result.output
        texts.append(f"$ {' '.join(['araflow', *path])} --help\n{result.output}")
    told = "\n".join(texts)
    if os.environ.get("ARAFLOW_RENEW"):
        GOLDEN.write_text(told, encoding="utf-8")
    assert told == GOLDEN.read_text(encoding="utf-8")
