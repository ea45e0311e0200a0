"""Recognisers of an eighth of the channels: what is said of loading, exporting and scoring depends on none."""

import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="module")
def small_networks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Hold for every residual network of a test file, but where the file says ``AS_PUBLISHED = True``."""
    if getattr(request.module, "AS_PUBLISHED", False) or "torch" not in sys.modules:
        yield
        return
    from araflow.recognition.models import _resnet

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_resnet, "WIDTH", 8)
        yield
