"""One server of object storage for all tests of outputs."""

from collections.abc import Iterator
from typing import Any

import pytest
import s3_server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[s3_server.Server]:
    with s3_server.started(tmp_path_factory.mktemp("swift")) as started:
        yield started


@pytest.fixture
def bucket(server: s3_server.Server, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Any:
    """An empty bucket, as boto3 sees it."""
    import boto3

    for name, value in s3_server.environment(server).items():
        monkeypatch.setenv(name, value)
    name = request.node.originalname.removeprefix("test_").replace("_", "-")[:40].strip("-")
    found = boto3.resource("s3", endpoint_url=server.url).Bucket(name)
    if not found.creation_date:
        found.create()
    found.objects.all().delete()
    return found
