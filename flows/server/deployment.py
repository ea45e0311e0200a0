"""A flow under a name: what Prefect serves, registers with a work pool, or finds in ``prefect.yaml``."""

from __future__ import annotations

import dataclasses
from typing import Any

from prefect import Flow
from prefect.deployments.runner import RunnerDeployment
from prefect.types.entrypoint import EntrypointType

from flows.server import settings

_MODULE = "flows.deployments"
"""Where the list is, and each flow under the name that a process imports it by."""


@dataclasses.dataclass(frozen=True, slots=True)
class Deployment:
    """A flow under a name, with the arguments that make it what the name says.

    Attributes:
        flow: The flow.
        name: Name of the deployment.
        attribute: Name of the flow in ``flows.deployments``.
        parameters: Arguments that are set; a run may set them otherwise.
        description: What the UI says.
        on_pool: It runs on the work pool, and is not served.
    """

    flow: Flow[..., Any]
    name: str
    attribute: str
    parameters: dict[str, Any]
    description: str
    on_pool: bool = False

    @property
    def full_name(self) -> str:
        """Flow and deployment, as Prefect wants it."""
        return f"{self.flow.name}/{self.name}"

    @property
    def typed(self) -> str:
        """The shortest that ``araflow run`` takes."""
        return self.full_name.removesuffix("/local")

    def for_runner(self) -> RunnerDeployment:
        """Return what Prefect serves, or registers with a work pool."""
        deployment = RunnerDeployment.from_flow(
            self.flow,
            self.name,
            parameters=self.parameters,
            description=self.description,
            tags=[settings.TAG],
            entrypoint_type=EntrypointType.MODULE_PATH,
            work_pool_name=settings.POOL if self.on_pool else None,
            job_variables={"env": settings.FOR_RUNS} if self.on_pool else None,
        )
        # Prefect would send its defaults for these, and with them undo what the user has set in the UI.
        deployment.model_fields_set.difference_update({"schedules", "paused"})
        deployment.entrypoint = f"{_MODULE}.{self.attribute}"  # Prefect takes the function's own name
        return deployment

    def for_file(self) -> dict[str, Any]:
        """Return the entry of ``prefect.yaml``."""
        return {
            "name": self.name,
            "description": self.description,
            "tags": [settings.TAG],
            "entrypoint": f"{_MODULE.replace('.', '/')}.py:{self.attribute}",
            "parameters": self.parameters,
            "work_pool": {"name": settings.POOL, "job_variables": {"env": settings.FOR_RUNS}},
        }
