"""The bar of a training on a terminal."""

import io
import re
import sys

import training_world as world

from araflow.core import json_log, telling
from araflow.recognition.training import _bar


class Terminal(io.StringIO):
    def isatty(self):
        return True


def looking(monkeypatch) -> Terminal:
    """Make standard error a terminal; in the test itself, since pytest puts its own in place before each."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    return terminal


def test_a_terminal_shows_epoch_of_how_many_loss_and_time_left(monkeypatch, tmp_path):
    terminal = looking(monkeypatch)
    with world.alone():
        world.train(world.manifest(tmp_path / "data"), tmp_path / "run", training__tensorboard=False)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue())
    # The bar is redrawn a few times a second: an epoch of some milliseconds may pass between two looks.
    assert "epoch 1 of 2" in shown
    assert re.search(r"epoch 2 of 2, loss \d\.\d{3} .* left:", shown)
    assert "Epoch" not in shown  # Lightning's own
    assert "v_num" not in shown


def test_nobody_is_shown_a_bar_who_does_not_look(monkeypatch):
    looking(monkeypatch)
    assert _bar.wanted()
    with telling.telling(telling.Amount.QUIET):
        assert not _bar.wanted()
    with json_log.switched_on():
        assert not _bar.wanted()
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert not _bar.wanted()
