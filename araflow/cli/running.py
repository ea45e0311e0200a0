"""A flow with Prefect, which keeps its history, or the same without: what is made is the same either way."""

from __future__ import annotations

import contextlib
import importlib
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from araflow.cli.console import bar, finish, logged
from araflow.core.errors import ServerLostError, SpecError

if TYPE_CHECKING:
    from araflow.build.resolved import ResolvedBuild
    from araflow.core.clip import ClipRecord
    from araflow.recognition.experiment import Experiment, Prepared
    from araflow.recognition.results import Result

log = logging.getLogger(__name__)
_Result = TypeVar("_Result")


def with_history(flow: str, run: Callable[[Any], _Result]) -> _Result | None:
    """Run a flow, with a Prefect server to keep its history.

    Args:
        flow: The flow's module in ``flows``.
        run: Runs it, given that module.

    Returns:
        Its result; ``None`` where there is no server to be had, and a line has said why.
    """
    from rich.text import Text

    from flows.server import history

    with logged() as console:
        try:
            with history.kept():
                from flows.server.lines import Console

                with Console.left_to(lambda line: console.print(Text(line))):
                    return run(importlib.import_module(f"flows.{flow}"))
        except ServerLostError as error:
            log.warning("no history of this run: %s", error)
            return None


def build(
    resolved: ResolvedBuild,
    config: str,
    overrides: Sequence[str],
    *,
    as_json: bool,
    strict: bool = False,
    prefect: bool = True,
) -> NoReturn:
    """Make a dataset, say what was made, and exit.

    Args:
        resolved: What ``config`` and ``overrides`` say.
        config: See ``flows.build``.
        overrides: See ``flows.build``.
        as_json: Say it as JSON.
        strict: Any clip that is not done fails the build.
        prefect: Keep a history.
    """
    made = make(resolved, config, overrides, strict=strict, prefect=prefect)
    finish(resolved.spec, made=made, as_json=as_json, strict=strict)


def make(
    resolved: ResolvedBuild, config: str, overrides: Sequence[str], *, strict: bool = False, prefect: bool = True
) -> int:
    """Make a dataset, and return how many clips were worked on; see ``build``."""
    if prefect:
        from araflow.build import stages

        resolved = stages.look(resolved)  # a wrong source fails now, not after a server has been started
        if has_nothing_to_do(resolved):
            return _make_alone(resolved, plain=False)
        with bar() as shown:
            made = with_history("build", lambda flow: flow.run(resolved, config, overrides, shown, strict=strict))
        if made is not None:
            return int(made.made)
    if resolved.spec.run.engine != "local":
        raise SpecError(f"run.engine: {resolved.spec.run.engine} needs a Prefect server; without one: run.engine=local")
    return _make_alone(resolved)


def has_nothing_to_do(resolved: ResolvedBuild) -> bool:
    """Whether a build is known to be finished, so that it needs no server."""
    from araflow.build import stages, unchanged

    return resolved.spec.run.engine == "local" and unchanged.since_last_run(stages.look(resolved))


def carry_out(resolved: ResolvedBuild, *, as_json: bool, strict: bool = False) -> NoReturn:
    """Make a dataset without Prefect, show how far it is, say what was made, and exit. See ``build``."""
    finish(resolved.spec, made=_make_alone(resolved), as_json=as_json, strict=strict)


def _make_alone(resolved: ResolvedBuild, *, plain: bool = True) -> int:
    from araflow.build import run
    from araflow.report.contact_sheet import write_contact_sheet

    made = 0
    with bar() as shown:

        def count(_record: ClipRecord, worked_on: bool) -> None:
            nonlocal made
            made += worked_on
            shown.advance()

        run.carry_out(resolved, on_start=shown.begin, on_record=count, on_manifest=write_contact_sheet, plain=plain)
    return made


def train(
    found: Experiment, prepared: list[Prepared], file: str, overrides: Sequence[str], *, prefect: bool = True
) -> dict[str, Result]:
    """Train, evaluate and export.

    Args:
        found: What ``file`` and ``overrides`` say.
        prepared: The same with its clips, per protocol.
        file: See ``flows.train_eval``.
        overrides: See ``flows.train_eval``.
        prefect: Keep a history, where there is something to do.
    """
    from araflow.deploy import finished

    with logged():
        if (stored := finished.read(found, prepared)) is not None:
            return stored
    if prefect:
        kept = with_history("train_eval", lambda flow: flow.run(found, prepared, file, overrides))
        if kept is not None:
            return dict(kept)
    from araflow.deploy import run

    with logged():
        return run.carry_out(found, prepared)


@contextlib.contextmanager
def one_server() -> Iterator[bool]:
    """Have the flows that run inside share one server; give whether there is one, and say why if not."""
    from flows.server import history

    with contextlib.ExitStack() as stack:
        with logged():
            try:
                stack.enter_context(history.kept())
                there = True
            except ServerLostError as error:
                log.warning("no history of this run: %s", error)
                there = False
        yield there
