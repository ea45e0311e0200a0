"""Machines that are not here, for the tests of backends that need them."""

import hashlib
import stat
import sys
from pathlib import Path

import pytest
from fakes.nvof_machine import installed

from araflow.optical.backends.nvof import presence
from araflow.optical.backends.vpi.presence import PYTHON

FAKES = Path(__file__).parents[1] / "fakes"
sys.path.insert(0, str(FAKES))  # the fakes of cv2 import each other by their own names


@pytest.fixture
def jetson(tmp_path_factory, monkeypatch):
    """Call with version, device, keyword, fault, kind or capture: a "system Python" that has such a vpi, chosen."""

    def make(**traits):
        lines = [f"export FAKE_VPI_{name.upper()}='{value}'" for name, value in traits.items()]
        start = f"exec '{sys.executable}' '{FAKES / 'vpi_python.py'}' \"$@\""
        text = "\n".join(["#!/bin/sh", *lines, start, ""])
        # The same traits give the same path: what is found there is looked for once in a session.
        path = tmp_path_factory.getbasetemp() / f"python-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
        path.write_text(text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv(PYTHON, str(path))
        return path

    return make


@pytest.fixture
def nvof_gpu(monkeypatch):
    """A machine with a fake GPU that has a flow engine."""
    monkeypatch.setattr(presence, "driver_version", lambda: "of unknown version")  # a machine of the test may have one
    presence.software.cache_clear()
    with installed() as machine:
        yield machine
    presence.software.cache_clear()


@pytest.fixture
def bare(monkeypatch, jetson):
    """A machine without any device."""
    import cv2_cuda

    jetson(kind="absent")
    cv2_cuda.install(monkeypatch, {})
    with installed(missing=["libcuda.so.1"]):
        yield
