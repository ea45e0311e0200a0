"""``araflow build`` and ``araflow plan``."""

from __future__ import annotations

import dataclasses

import click

from araflow.cli import running, settled
from araflow.cli.options import EXIT_STATUS, JSON, NO_PREFECT, VERIFY, shipped
from araflow.cli.settled import CFG
from araflow.core.screen import echo_json


@click.command(epilog=EXIT_STATUS)
@click.argument("config", shell_complete=shipped("configs"))
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--strict", is_flag=True, help="Fail (exit status 1) if any clip is quarantined or failed.")
@click.option("--accept-licence", is_flag=True, help="Accept the dataset's licence, so that it may be downloaded.")
@VERIFY
@click.option("--dry-run", is_flag=True, help="Show the plan and write nothing (the same as araflow plan).")
@CFG
@NO_PREFECT
@JSON
@click.pass_context
def build(
    ctx: click.Context,
    config: str,
    overrides: tuple[str, ...],
    strict: bool,
    accept_licence: bool,
    verify: bool,
    dry_run: bool,
    cfg: bool,
    no_prefect: bool,
    as_json: bool,
) -> None:
    """Make a dataset, as a Prefect flow; run it again to finish or update it.

    CONFIG is a YAML file or the name of a shipped one (hmdb5, hmdb51, ucf101, kinetics400,
    kinetics600, kinetics700_2020, folder, sample). Settings are overridden by KEY=VALUE.

    \b
    araflow build hmdb5 dataset.source=hmdb51/ dataset.splits=splits/ out=data/hmdb5
    araflow build hmdb5 dataset.source=hmdb51/ split.protocol=group optical.algorithm=tvl1
    """
    if cfg:
        from araflow.core import spec_file

        settled.show(spec_file.load(config, overrides), as_json)
        return
    if dry_run:
        ctx.invoke(plan, config=config, overrides=overrides, as_json=as_json)
        return
    overrides += ("run.verify=true",) * verify
    from araflow.build.resolved import resolve
    from araflow.core import spec_file

    # A wrong setting fails now, not after a server has been started.
    resolved = resolve(spec_file.load(config, overrides), accept_licence=accept_licence)
    running.build(resolved, config, overrides, as_json=as_json, strict=strict, prefect=not no_prefect)


@click.command()
@click.argument("config", shell_complete=shipped("configs"))
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@JSON
def plan(config: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Show what a build would make: clips, splits, leakage, and hours and gigabytes measured on a few clips.

    Writes nothing and downloads nothing. With only split files at hand it still tells the counts.

    \b
    araflow plan hmdb5 dataset.splits=splits/
    """
    from araflow.build import plan as planning
    from araflow.cli.tables import print_plan
    from araflow.core import spec_file

    result = planning.plan(spec_file.load(config, overrides))
    if as_json:
        echo_json(dataclasses.asdict(result))
    else:
        print_plan(result)
