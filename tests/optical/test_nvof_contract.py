"""The contract of every backend, for nvof over a FAKE driver. The backend was never run on hardware."""

import contract_suite
import pytest
from contract_suite import Engine
from fakes.nvof_machine import installed

FAR = ("anchored", "square")
"""Tests whose scenes move further than the fake otherwise looks."""


@pytest.fixture(params=["fastest", "fast", "balanced", "accurate"])
def engine(request):
    with installed(reach=12 if any(word in request.node.name for word in FAR) else 5):
        yield Engine("nvof", "hardware", request.param)


globals().update(contract_suite.take())
