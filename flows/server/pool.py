"""The work pool, which is made when a build first needs it: until then nothing is on it, and none polls it."""

from __future__ import annotations

import contextlib
import logging

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

from flows.server import settings
from flows.server.deployment import Deployment

log = logging.getLogger("araflow.flows")


def ensure(deployment: Deployment) -> None:
    """Have a deployment on the pool; one that is there already, as by ``prefect deploy --all``, stays as it is.

    Args:
        deployment: What workers run.
    """
    with get_client(sync_client=True) as client:
        with contextlib.suppress(ObjectNotFound):
            client.read_deployment_by_name(deployment.full_name)
            return
        with contextlib.suppress(ObjectAlreadyExists):
            client.create_work_pool(WorkPoolCreate(name=settings.POOL, type="process"))
    deployment.for_runner().apply(work_pool_name=settings.POOL)
    log.info("the work pool %s knows %s now", settings.POOL, deployment.full_name)
