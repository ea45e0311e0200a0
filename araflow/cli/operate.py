"""``araflow status``, ``retry`` and ``clean``: how far an output is, what failed again, and what can go."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from araflow.cli import running
from araflow.cli.console import INCOMPLETE, finish, logged, say_error
from araflow.cli.options import JSON
from araflow.core.errors import OutputError, SourceError, SpecError, did_you_mean
from araflow.core.screen import echo, echo_json, visible
from araflow.core.words import counted

if TYPE_CHECKING:
    from araflow.build.outputs import Entry, Output
    from araflow.build.status import Status

_OUT = click.argument("out")


@click.command()
@_OUT
@click.option(
    "--watch", type=click.FloatRange(min=0.1), metavar="SECONDS", help="Say it again, until no run is at work."
)
@JSON
def status(out: str, watch: float | None, as_json: bool) -> None:
    """Show how far the build of OUT is: done, left, by class, why not, rate and time left.

    Reads the output itself: no server is asked, nothing is changed, and no frame is looked at (araflow manifest
    validate does that). Works while a run is at work, after it was killed, and when all is done.

    \b
    araflow status data/hmdb5
    araflow status data/hmdb5 --watch 10

    Exit status: 0 complete; 3 something is left, quarantined or failed; 1 OUT is no output of araflow.
    """
    from araflow.build import outputs
    from araflow.build.status import status as count

    store = outputs.find(out)
    while True:
        seen = outputs.read(store)
        now = count(seen, time.time())
        if as_json:
            content = dataclasses.asdict(now) | {"complete": now.complete}
            echo_json(content, indent=None if watch else 2)
        else:
            if watch and sys.stdout.isatty():
                click.clear()
            _show(now)
        _warn(seen.unreadable)
        if not watch or not now.running:
            sys.exit(0 if now.all_done else INCOMPLETE)
        time.sleep(watch)


@click.command()
@_OUT
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option(
    "--outcome",
    type=click.Choice(["failed", "quarantined"]),
    default="failed",
    show_default=True,
    help="Which clips: those whose surroundings were at fault, or those that were refused.",
)
@click.option("--class", "label", metavar="CLASS", help="Only of this class.")
@click.option("--reason", "code", metavar="CODE", help="Only those with this reason code, such as missing.")
@click.option("--damaged", is_flag=True, help="Also read every byte of what is done; make anew what is damaged.")
@click.option("--dry-run", is_flag=True, help="Show which clips, and change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask where the settings may be somebody else's.")
@click.option("--accept-licence", is_flag=True, help="Accept the dataset's licence, so that it may be downloaded.")
@click.option("--dask-address", metavar="ADDRESS", help="Make the clips on this Dask scheduler.")
@JSON
def retry(
    out: str,
    overrides: tuple[str, ...],
    outcome: str,
    label: str | None,
    code: str | None,
    damaged: bool,
    dry_run: bool,
    yes: bool,
    accept_licence: bool,
    dask_address: str | None,
    as_json: bool,
) -> None:
    """Try again what failed: forget why, and run the build of OUT again with its own settings.

    The settings are those of the last build or araflow flow of OUT, from wherever it was started. What is done stays
    done; what was never begun is made, too. Where somebody else may have written them, since OUT was copied from
    elsewhere, they are shown, and you are asked. Nothing that may be secret in an address is kept: give such a source
    again.

    \b
    araflow retry data/hmdb5
    araflow retry data/hmdb5 --outcome quarantined --reason missing --dry-run
    araflow retry data/mine dataset.source='https://user:password@host/mine.zip'

    Exit status: as of araflow build.
    """
    from araflow.build import note as build_note
    from araflow.build import outputs
    from araflow.build import retry as again
    from araflow.build.resolved import resolve
    from araflow.build.status import status as counted
    from araflow.core.clip import Outcome

    store = outputs.find(out)
    seen = outputs.read(store)
    _warn(seen.unreadable)
    _check_filters(seen, label, code)
    chosen = again.choose(seen, Outcome(outcome), label, code)
    if dry_run:
        _show_chosen(chosen, as_json)
        return
    if build_note.NAME in seen.unreadable:
        raise OutputError(f"{out}: its settings are in that note; run its araflow build again, which writes it anew")
    if seen.note is None and seen.manifest is None:
        raise OutputError(f"{out}: it was stopped before its clips were listed; run its araflow build again")
    if not seen.built:
        raise OutputError(f"{out}: no build of araflow made it, so there is nothing to try again")
    if seen.note is None:
        raise OutputError(f"{out}: an older araflow built it and left no settings; run its araflow build again")
    if seen.running:
        raise OutputError(f"{out}: a run is at work here; wait for it, or stop it")
    note, own = seen.note, build_note.is_own(store)
    spec = again.with_scheduler(
        build_note.settings(note, out, (f"run.verify={damaged}", *overrides)), dask_address, trusted=own
    )
    source = None if note.source is None else Path(note.source)
    if source is not None and not source.exists():  # before anything is forgotten
        raise SourceError(f"{source}: no such file or folder, from which {out} was made")
    resolved = resolve(spec, accept_licence=accept_licence, source=source)
    now = counted(seen, time.time())
    if now.done and resolved.fingerprint != note.fingerprint:
        absent = f"; absent: {resolved.absent}" if resolved.absent else ""
        raise SpecError(
            f"{out}: this machine would make its clips in another way ({resolved.why}{absent}), and {now.done:,} done "
            "ones anew; retry it where it was built, or run its araflow build again to make them all anew"
        )
    if not chosen and now.complete and not spec.run.verify:
        finish(spec, made=0, as_json=as_json)
    if not own and not yes:
        _ask(again.wanted(note, spec), out)
    again.forget(store, chosen)
    with logged():
        again.log.info("%s", again.announced(chosen, now.left))
    if note.plain:
        running.carry_out(resolved, as_json=as_json)
    config, given = again.arguments(spec)
    running.build(resolved, config, given, as_json=as_json)


@click.command()
@_OUT
@click.option("--yes", is_flag=True, help="Remove it; without this, it is only shown.")
@JSON
def clean(out: str, yes: bool, as_json: bool) -> None:
    """Show what OUT holds that no run needs any more, with sizes; remove it with --yes.

    That is: what processes have left that were killed, files that were not finished, clips and records that neither the
    manifest nor the last build lists, and samples or archives that were unpacked for other settings. Whatever is listed
    stays, and so does whatever is not known for certain. Refuses while a run is at work.

    \b
    araflow clean data/hmdb5
    araflow clean data/hmdb5 --yes
    """
    from araflow.build import clean as cleaning
    from araflow.build import outputs

    store = outputs.find(out)
    if unreadable := outputs.read_state(store, ["key"]).unreadable:
        _warn(unreadable)
        say_error("warning: until it is written anew, nobody knows which clips are listed, so all of them stay")
    items = cleaning.remove(store) if yes else cleaning.find(store)
    total = sum(item.bytes for item in items)
    if as_json:
        content = {"removed": yes, "items": [dataclasses.asdict(item) for item in items], "bytes": total}
        echo_json(content)
        return
    if items:
        from araflow.core.table import Table

        Table.of([dataclasses.asdict(item) for item in items]).print()
    many = f"{counted(len(items), 'item')}, {total:,} bytes"
    echo(f"removed: {many}" if yes else f"can go: {many}" + ("; --yes removes them" if items else ""))


def _show(now: Status) -> None:
    from araflow.build.status import last_line
    from araflow.core import tally

    if now.classes:
        tally.table(now.classes, now.total, now.out).print()
    for outcome, codes in now.reasons.items():
        echo(f"{outcome}: {', '.join(f'{number:,} {code}' for code, number in codes.items())}")
    if now.sessions:
        echo(f"in work now: {counted(now.in_work, 'clip')}, by {counted(now.sessions, 'process', 'processes')}")
    echo(last_line(now))


def _ask(wanted: list[str], out: str) -> None:
    """Ask for a build whose settings may have come with the folder."""
    say_error(f"{out}: these settings were not written by your araflow here; they may have come with the folder:")
    for line in wanted:
        say_error(f"  {line}")
    if not (sys.stdin and sys.stdin.isatty()):
        raise OutputError(f"{out}: nobody is here to be asked: --yes does all that")
    click.confirm("Do all that?", abort=True, err=True)


def _warn(unreadable: Mapping[str, str]) -> None:
    for why in unreadable.values():
        say_error(f"warning: {why}")


def _show_chosen(chosen: list[Entry], as_json: bool) -> None:
    if as_json:
        rows: list[dict[str, Any]] = [{"key": entry.key, "reason": entry.reason} for entry in chosen]
        echo_json({"clips": rows})
        return
    for entry in chosen:
        echo(visible(f"{entry.key}: {entry.outcome}: {entry.reason}"))
    echo(f"{counted(len(chosen), 'clip')} would be tried again")


def _check_filters(seen: Output, label: str | None, code: str | None) -> None:
    from araflow.core.clip import REASONS
    from araflow.core.tally import NO_CLASS

    labels = sorted({entry.label or NO_CLASS for entry in seen.entries or ()})
    for option, value, allowed in (("--class", label, labels), ("--reason", code, list(REASONS))):
        if value is not None and value not in allowed:
            raise SpecError(f"{option} {value}: allowed: {', '.join(allowed)}{did_you_mean(value, allowed)}")
