"""Prefect's automations, of our runs alone: what somebody else's do, or how often they beat, is not ours to judge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prefect.events.schemas.automations import AutomationCore

from flows.server import settings


def of_our_runs(
    name: str, about: str, trigger: Mapping[str, Any], events: Sequence[str], action: Mapping[str, Any]
) -> AutomationCore:
    """Return an automation that does something for each run that carries our tag.

    Args:
        name: What it is called.
        about: What the pages say of it.
        trigger: Posture and times, as Prefect has them.
        events: Last parts of the events that are waited for, such as ``Failed``.
        action: What is done, as Prefect has it.
    """
    return AutomationCore.model_validate(
        {
            "name": name,
            "description": about,
            "trigger": {
                "type": "event",
                "expect": [f"prefect.flow-run.{event}" for event in events],
                "match": {"prefect.resource.id": "prefect.flow-run.*"},
                "match_related": {
                    "prefect.resource.id": f"prefect.tag.{settings.TAG}",
                    "prefect.resource.role": "tag",
                },
                "for_each": ["prefect.resource.id"],
                "threshold": 1,
                **trigger,
            },
            "actions": [dict(action)],
        }
    )
