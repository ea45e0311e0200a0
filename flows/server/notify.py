"""A message when a run fails: an automation of Prefect's, whose server sends it to an address of the user's.

So it also comes of a run whose process or machine is gone. Its form is that of Slack's and Mattermost's webhooks.
"""

from __future__ import annotations

from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import get_client
from prefect.events.schemas.automations import AutomationCore

from araflow.core.addresses import masked
from araflow.core.errors import SpecError
from flows.server.automations import of_our_runs

AUTOMATION = "araflow: tell of runs that fail"
_BLOCK = "araflow-failures"
_PAYLOAD = (
    '{"text": {{ (flow.name ~ " " ~ flow_run.name ~ ": " ~ (flow_run.state.name | lower) ~ ": " '
    "~ flow_run.state.message) | tojson }}}"
)


def tell(url: str) -> None:
    """Have the server post ``{"text": …}`` to an address when a run of ours fails or crashes.

    Args:
        url: Where; the server keeps it as a secret. Empty: nowhere any more.

    Raises:
        SpecError: It is no address.
    """
    if url and not url.startswith(("http://", "https://")):
        raise SpecError(f"--notify {masked(url)}: expected an address such as https://hooks.example/…")
    with get_client(sync_client=True) as client:
        for one in client.read_automations_by_name(AUTOMATION):
            client.delete_automation(one.id)
    if not url:
        return
    Webhook(url=url).save(_BLOCK, overwrite=True)
    with get_client(sync_client=True) as client:
        block = client.read_block_document_by_name(_BLOCK, "webhook")
        client.create_automation(_automation(str(block.id)))


def _automation(block: str) -> AutomationCore:
    return of_our_runs(
        AUTOMATION,
        "Posts to the address that araflow up --notify was given.",
        {"posture": "Reactive", "within": 0},
        ["Failed", "Crashed"],
        {"type": "call-webhook", "block_document_id": block, "payload": _PAYLOAD},
    )
