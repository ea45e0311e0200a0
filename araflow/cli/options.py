"""What several commands share: how groups behave, options, and what exit statuses mean."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import click
from click.shell_completion import CompletionItem

from araflow.cli import surroundings
from araflow.cli.console import begin, say_error, say_traceback
from araflow.core import processes, resources, telling
from araflow.core.addresses import local
from araflow.core.errors import AraflowError
from araflow.core.screen import shown

EXIT_STATUS = (
    "Exit status: 0 all done; 1 failed, or a setting or source is wrong; 2 wrong options; 3 finished with clips "
    "quarantined or failed; 130 interrupted."
)


def json_option(instead_of: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return the option ``--json``, given to a command as ``as_json``.

    Args:
        instead_of: What the command prints without it, such as ``text``.
    """
    return click.option(
        "--json", "as_json", is_flag=True, help=f"Print JSON on standard output instead of {instead_of}."
    )


JSON = json_option("a table")
VERIFY = click.option(
    "--verify", is_flag=True, help="Read every byte of clips that are made; make those anew that are damaged."
)
DEVICE = click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True, help="Where to run."
)
FLOW_BACKEND = click.option(
    "--backend",
    metavar="NAME",
    help="Compute flow by this backend, or auto.  [default: the one of training, and no other]",
)
ROTATION = click.option(
    "--rotation",
    type=click.Choice(["apply", "ignore"]),
    help="Whether videos are turned as their files ask for.  [default: as in training]",
)
OTHER_FLOW = click.option(
    "--allow-other-flow",
    is_flag=True,
    help="Take flow of another quantiser, bound or algorithm than training's; a warning stays with the figures.",
)
NO_PREFECT = click.option(
    "--no-prefect", is_flag=True, help="Keep no history: do the same without Prefect, whose start takes seconds."
)


def tells(command: click.Command) -> None:
    """Give a command that takes its time ``-q`` and ``-v``: how much it tells on its way."""

    def set_amount(wanted: telling.Amount) -> Callable[[click.Context, click.Parameter, bool], None]:
        def callback(ctx: click.Context, _param: click.Parameter, is_given: bool) -> None:
            if not is_given:
                return
            if telling.amount() is not telling.Amount.USUAL:
                raise click.UsageError("-q and -v: give one of them")
            ctx.with_resource(telling.telling(wanted))

        return callback

    quiet, verbose = set_amount(telling.Amount.QUIET), set_amount(telling.Amount.VERBOSE)
    less = "Say nothing on the way but warnings and errors."
    more = "Say all on the way: shards, what is absent, what Prefect says."
    command.params += [
        click.Option(["-q", "--quiet"], is_flag=True, expose_value=False, callback=quiet, help=less),
        click.Option(["-v", "--verbose"], is_flag=True, expose_value=False, callback=verbose, help=more),
    ]


def shipped(folder: str) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem]]:
    """Return what completes the name of a shipped YAML file, or any path.

    Args:
        folder: Where they lie: ``configs`` or ``configs/train``.
    """

    def complete(_ctx: click.Context, _param: click.Parameter, begun: str) -> list[CompletionItem]:
        top, _, below = folder.partition("/")
        names = sorted(path.stem for path in (resources.folder(top) / below).glob("*.yaml"))
        found = [CompletionItem(name) for name in names if name.startswith(begun)]
        return [CompletionItem(begun, type="file"), *found]  # which bash takes where no name fits

    return complete


class Group(click.Group):
    """Shows commands in the order of a user's work, and turns araflow's own errors into one message."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order in which the commands were added."""
        return list(self.commands)

    def main(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        """Run the program; a fault of araflow's own ends it in a traceback that may be shown."""
        begin()
        sys.excepthook = say_traceback
        threading.excepthook = lambda found: say_traceback(*found[:3])
        surroundings.prepare()
        try:
            usual = telling.telling(telling.Amount.USUAL)  # before options are read, and after
            with usual, processes.ended_by_signals(), surroundings.explained():
                return super().main(*args, **kwargs)
        except AraflowError as error:
            say_error(f"error: {error}")
            sys.exit(1)
        finally:
            surroundings.finish()

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:  # noqa: ANN401
        """Read the options; what is wrong with them is said as text."""
        with _said_as_text():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401
        """Run a command; an error of araflow's ends it with exit status 1 and one message, Ctrl-C with 130."""
        try:
            surroundings.check_folder()
            with _said_as_text():
                return super().invoke(ctx)
        except AraflowError as error:
            say_error(f"error: {error}")
            sys.exit(1)
        except KeyboardInterrupt:
            say_error("interrupted: what is done is kept; the same command finishes it")
            sys.exit(130)


@contextlib.contextmanager
def _said_as_text() -> Iterator[None]:
    """Click repeats what was typed, or what a shell has put there from names of files."""
    try:
        yield
    except click.ClickException as error:
        hint = ""
        if isinstance(error, click.NoSuchOption) and error.ctx is not None:
            takes_settings = any(one.name == "overrides" for one in error.ctx.command.params)
            hint = " Settings are given as KEY=VALUE: run.workers=2." * takes_settings
        error.message = shown(error.message) + hint  # type: ignore[misc] # final for whoever does not know that it is shown
        raise


class LocalPath(click.Path):
    """A path, or an address of a file on this machine, such as ``file:///data``."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401
        """Return a ``Path``."""
        return super().convert(local(value) if isinstance(value, str) else value, param, ctx)


class ManifestPath(LocalPath):
    """A path, or an address such as ``s3://bucket/folder``."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401
        """Return a ``Path``, or the address as ``open_path`` gives it."""
        if "://" not in local(str(value)):
            return super().convert(value, param, ctx)
        from araflow.store.address import open_path

        return open_path(str(value))
