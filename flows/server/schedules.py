"""Runs at set times: ``araflow run … --cron``, listed and removed by ``araflow schedules``.

They are schedules of Prefect's, which its pages show and change as well. What is due while nobody serves runs when
somebody serves again.
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import os
from pathlib import Path
from typing import Any

import pydantic
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags
from prefect.client.schemas.objects import DeploymentSchedule
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from prefect.utilities.schema_tools import ValidationError, validate

from araflow.core.errors import SpecError
from flows.server import settings
from flows.server.reach import server_url
from flows.server.runs import explained, refuse_secrets


@dataclasses.dataclass(frozen=True, slots=True)
class Scheduled:
    """A schedule of a deployment.

    Attributes:
        id: The beginning of its identifier, by which it is removed.
        flow: The flow.
        when: Cron's five fields, or what else somebody has set in Prefect's pages.
        timezone: Where these are meant.
        parameters: The flow's arguments beside the deployment's own.
        active: It has not been switched off.
        next: Its next run, if it is cron's.
    """

    id: str
    flow: str
    when: str
    timezone: str
    parameters: dict[str, Any]
    active: bool
    next: datetime.datetime | None


def add(name: str, cron: str, parameters: dict[str, Any]) -> Scheduled:
    """Have a deployment run at set times, in this machine's time zone (or that of ``TZ``).

    Args:
        name: ``FLOW/DEPLOYMENT``.
        cron: Minute, hour, day, month, day of the week.
        parameters: The flow's arguments, which are checked now.

    Raises:
        SpecError: The server has no such deployment, or an argument or the times are wrong.
        AraflowError: No server answers.
    """
    url = server_url()
    refuse_secrets(parameters)
    try:
        times = CronSchedule(cron=cron, timezone=_timezone())
    except pydantic.ValidationError as error:
        said = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise SpecError(
            f"--cron {cron!r}: {said}; expected minute, hour, day, month, weekday: '0 3 * * *' is every night at three"
        ) from error
    with explained(url, name), get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name(name)
        try:
            validate(deployment.parameters | parameters, deployment.parameter_openapi_schema or {}, raise_on_error=True)
        except ValidationError as error:
            raise SpecError(f"{name}: {error}") from error
        wanted = DeploymentScheduleCreate(schedule=times, active=True, parameters=parameters)
        (made,) = client.create_deployment_schedules(deployment.id, [wanted])
        return _scheduled(name.partition("/")[0], made)


def listed() -> list[Scheduled]:
    """Return the schedules of all our deployments.

    Raises:
        AraflowError: No server answers.
    """
    return [_scheduled(flow, one) for flow, _, one in _all()]


def remove(beginning: str) -> Scheduled:
    """Remove a schedule, and what is due by it.

    Args:
        beginning: Of its identifier.

    Raises:
        SpecError: None begins so, or several do.
        AraflowError: No server answers.
    """
    found = [one for one in _all() if str(one[2].id).startswith(beginning)]
    if len(found) != 1:
        raise SpecError(f"{len(found) or 'no'} schedules begin with {beginning!r}; araflow schedules lists them")
    ((flow, deployment, schedule),) = found
    with get_client(sync_client=True) as client:
        client.delete_deployment_schedule(deployment.id, schedule.id)
    return _scheduled(flow, schedule)


def _all() -> list[tuple[str, DeploymentResponse, DeploymentSchedule]]:
    url = server_url()
    ours = DeploymentFilter(tags=DeploymentFilterTags(all_=[settings.TAG]))
    with explained(url, "schedules"), get_client(sync_client=True) as client:
        deployments = [one for one in client.read_deployments(deployment_filter=ours) if one.schedules]
        flows = {one.flow_id: client.read_flow(one.flow_id).name for one in deployments}
    return [(flows[one.flow_id], one, schedule) for one in deployments for schedule in one.schedules]


def _scheduled(flow: str, made: DeploymentSchedule) -> Scheduled:
    given = made.schedule.model_dump(mode="json", exclude_none=True)
    zone = given.pop("timezone", "UTC")
    times = made.schedule
    when = times.cron if isinstance(times, CronSchedule) else ", ".join(f"{name} {one}" for name, one in given.items())
    due = _next(times) if isinstance(times, CronSchedule) else None
    return Scheduled(str(made.id)[:8], flow, when, zone, made.parameters, made.active, due)


def _next(times: CronSchedule) -> datetime.datetime:
    from prefect.server.schemas.schedules import CronSchedule as OfServer

    (due,) = asyncio.run(OfServer(cron=times.cron, timezone=times.timezone, day_or=times.day_or).get_dates(1))
    return due


def _timezone() -> str:
    """Return the name of this machine's time zone."""
    named = os.environ.get("TZ") or os.path.realpath("/etc/localtime").partition("zoneinfo/")[2]
    return named.removeprefix(":") if (Path("/usr/share/zoneinfo") / named.removeprefix(":")).is_file() else "UTC"
