"""The commands ``up``, ``serve`` and ``run``: a Prefect server, its deployments, and runs of them."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import TYPE_CHECKING, Any

import click

from araflow.cli.console import INCOMPLETE, say_error
from araflow.cli.options import JSON, json_option
from araflow.core.screen import echo, echo_json
from araflow.core.table import Table

if TYPE_CHECKING:
    from flows.server.runs import Asked
    from flows.server.schedules import Scheduled

_LIMIT = click.option("--limit", default=2, show_default=True, type=click.IntRange(1), help="Runs at once; more wait.")
_NOTIFY = click.option(
    "--notify",
    metavar="URL",
    envvar="ARAFLOW_NOTIFY",
    help="Post a message there when a run fails, from now on; '' ends that. Or set ARAFLOW_NOTIFY.",
)
_NAMES = click.argument("names", nargs=-1, metavar="[FLOW[/DEPLOYMENT]]...")


@click.command()
@_NAMES
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 for a cluster.")
@click.option("--port", default=4200, show_default=True, type=click.IntRange(1, 65535), help="Port to listen on.")
@_LIMIT
@_NOTIFY
def up(names: tuple[str, ...], host: str, port: int, limit: int, notify: str | None) -> None:
    """Start a Prefect server, wait until it answers, and serve this machine's deployments, until Ctrl-C.

    The server asks for a password, which is shown, and which commands in other terminals find in Prefect's profile
    until it ends. One of ours that answers there already is used, and stays. Nothing is sent to Prefect's makers: its
    telemetry is off.

    \b
    araflow up                                    # then, in another terminal:
    araflow run build-sample
    """
    from flows.server import settings

    settings.apply()
    from flows import deployments
    from flows.server import own

    chosen = deployments.find(names)
    with own.running(host, port) as server:
        echo(f"Prefect UI: {server.url.removesuffix('/api')}")
        if server.password is not None:
            echo(f"its password, which the browser asks for once: {server.password}")
        _serve(chosen, limit, notify)


@click.command()
@_NAMES
@_LIMIT
@_NOTIFY
def serve(names: tuple[str, ...], limit: int, notify: str | None) -> None:
    """Register deployments with the Prefect server at PREFECT_API_URL, and run what is asked.

    \b
    PREFECT_API_URL=http://head:4200/api araflow serve
    araflow serve build-hmdb5 train-eval --limit 1
    """
    from flows.server import settings

    settings.apply()
    from flows import deployments
    from flows.server.reach import server_url

    chosen = deployments.find(names)
    server_url()
    _serve(chosen, limit, notify)


def _serve(chosen: Any, limit: int, notify: str | None) -> None:  # noqa: ANN401 - deployments, whose module is not imported
    from flows.server import own

    if notify is not None:
        from flows.server import notify as failures

        failures.tell(notify)

    def tell() -> None:
        for one in chosen:
            echo(f"  araflow run {one.typed}")
        echo("serving; Ctrl-C ends it, and what runs")

    own.serve(chosen, limit, tell)


@click.command()
@click.argument("flow")
@click.option(
    "--on",
    "deployment",
    type=click.Choice(["local", "workers", "dask"]),
    default="local",
    show_default=True,
    help="Where clips are made.",
)
@click.option(
    "-p", "--param", "given", multiple=True, metavar="NAME=VALUE", help="An argument of the flow; repeatable."
)
@click.option("--cron", metavar="TIMES", help="Not now, but at these times: minute, hour, day, month, weekday.")
@click.option("--watch/--no-watch", default=True, show_default=True, help="Wait for its end.")
@json_option("lines")
def run(flow: str, deployment: str, given: tuple[str, ...], cron: str | None, watch: bool, as_json: bool) -> None:
    """Run a deployment by its flow's bare name, on the server that araflow up or araflow serve uses.

    Ctrl-C ends the watching, not the run; cancel it in the UI or with prefect flow-run cancel.

    \b
    araflow run build-folder -p source=videos/ -p out=data/mine
    araflow run build-hmdb5 -p backend=opencv -p bound=15
    araflow run build-kinetics400 --on workers -p out=/shared/k400 -p accept_licence=true
    araflow run train-eval -p manifest=data/mine
    araflow run build-folder -p source=videos/ --cron "0 3 * * *"   # every night at three, while araflow up runs
    """
    from flows.server import settings

    settings.apply()
    from flows import deployments
    from flows.server import names, runs

    name, _, on = flow.partition("/")
    (chosen,) = deployments.find([name])
    on = on or deployment
    parameters = ({} if on == names.HERE else {"engine": on}) | dict(_parameter(text) for text in given)
    if cron is not None:
        from flows.server import schedules

        _show_schedules([schedules.add(chosen.full_name, cron, parameters)], as_json)
        return
    asked = runs.ask(chosen.full_name, parameters, chosen.called(parameters))

    said = ""

    def tell(now: Asked) -> None:
        nonlocal said
        line = f"{now.state.lower()}{f': {now.message}' if now.message else ''}"
        if not as_json and line != said:  # and not because it has another name now
            echo(line)
        said = line

    if not as_json:
        echo(f"{asked.name}: {asked.url}")
    if watch:
        try:
            asked = runs.watch(asked, tell)
        except KeyboardInterrupt:
            say_error(f"no longer watched; the run goes on. To end it: prefect flow-run cancel {asked.id}")
            sys.exit(130)
    if as_json:
        echo_json(dataclasses.asdict(asked))
    if not watch or asked.is_whole:
        sys.exit(0)
    sys.exit(INCOMPLETE if asked.state == "COMPLETED" else 1)


@click.command()
@click.option("--remove", metavar="ID", help="Remove the schedule whose identifier begins so.")
@JSON
def schedules(remove: str | None, as_json: bool) -> None:
    """List what runs at set times (araflow run … --cron), or remove one of them.

    \b
    araflow schedules
    araflow schedules --remove 1f0c
    """
    from flows.server import settings

    settings.apply()
    from flows.server import schedules as kept

    if remove is None:
        _show_schedules(kept.listed(), as_json)
    else:
        gone = kept.remove(remove)
        echo(f"removed: {gone.flow} at {gone.when}")


def _show_schedules(found: list[Scheduled], as_json: bool) -> None:
    if as_json:
        echo_json([dataclasses.asdict(one) | {"next": one.next and one.next.isoformat()} for one in found])
        return
    rows = [
        {
            "id": one.id,
            "flow": one.flow,
            "when": f"{one.when} ({one.timezone})",
            "next": "switched off" if not one.active else one.next.strftime("%a %d %b %H:%M") if one.next else "",
            "given": " ".join(f"{name}={value}" for name, value in one.parameters.items()),
        }
        for one in found
    ]
    Table.of(rows).print() if rows else echo("nothing is scheduled")


def _parameter(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise click.UsageError(f"-p {text}: expected name=value, such as backend=opencv")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
