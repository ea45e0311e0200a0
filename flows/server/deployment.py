"""A flow under a name: what Prefect serves, registers with a work pool, or finds in ``prefect.yaml``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from prefect import Flow
from prefect.deployments.runner import RunnerDeployment
from prefect.types.entrypoint import EntrypointType

from flows.arguments import run_name
from flows.server import settings
from flows.server.names import HERE, in_list

_MODULE = "flows.deployments"
"""Where the list is, and each flow under the name that a process imports it by."""


@dataclasses.dataclass(frozen=True, slots=True)
class Deployment:
    """A flow under a name, with the arguments that make it what the name says.

    Attributes:
        flow: The flow.
        where: Where clips are made; people type ``FLOW/WHERE``.
        attribute: Name of the flow in ``flows.deployments``.
        parameters: Arguments that are set; a run may set them otherwise.
        description: What the UI says.
        configured: What a run takes for arguments that it is not given, for the form to show, by name.
        on_pool: It runs on the work pool, and is not served.
    """

    flow: Flow[..., Any]
    where: str
    attribute: str
    parameters: dict[str, Any]
    description: str
    configured: Mapping[str, str] = dataclasses.field(default_factory=dict)
    on_pool: bool = False

    @property
    def full_name(self) -> str:
        """Flow and deployment, as Prefect wants it, and people type it."""
        return f"{self.flow.name}/{self.where}"

    @property
    def typed(self) -> str:
        """The shortest that ``araflow run`` takes."""
        return self.full_name.removesuffix(f"/{HERE}")

    @property
    def configuration(self) -> str:
        """The configuration that a run takes unless it is given another."""
        return str(next(iter(self.parameters.values()), ""))

    def called(self, given: Mapping[str, Any]) -> str:
        """Name a run that is given these arguments."""
        return run_name(self.configuration, given)

    def for_runner(self, *, typed: bool = False) -> RunnerDeployment:
        """Return what Prefect serves, or registers with a work pool.

        Args:
            typed: Under the name that people type, for a server that knows no other.
        """
        deployment = RunnerDeployment.from_flow(
            self.flow,
            self.where if typed or self.on_pool else in_list(self.flow.name, self.where),
            parameters=self.parameters,
            description=self.description,
            tags=[settings.TAG],
            entrypoint_type=EntrypointType.MODULE_PATH,
            work_pool_name=settings.POOL if self.on_pool else None,
            job_variables={"env": settings.FOR_RUNS} if self.on_pool else None,
        )
        # Prefect would send its defaults for these, and with them undo what the user has set in the UI.
        deployment.model_fields_set.difference_update({"schedules", "paused"})
        for name, value in self.configured.items():
            told = deployment._parameter_openapi_schema.properties[name]
            told["description"] += f" Configured in {self.configuration}: {value}."
        deployment.entrypoint = f"{_MODULE}.{self.attribute}"  # Prefect takes the function's own name
        return deployment

    def for_file(self) -> dict[str, Any]:
        """Return the entry of ``prefect.yaml``."""
        return {
            "name": self.where,
            "description": self.description,
            "tags": [settings.TAG],
            "entrypoint": f"{_MODULE.replace('.', '/')}.py:{self.attribute}",
            "parameters": self.parameters,
            "work_pool": {"name": settings.POOL, "job_variables": {"env": settings.FOR_RUNS}},
        }
