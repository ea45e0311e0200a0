"""``araflow completion``: what a shell needs to complete commands, options, and names of shipped files."""

from __future__ import annotations

import click

from araflow.core.screen import echo


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script by which SHELL completes commands, options and names of shipped configurations.

    \b
    eval "$(araflow completion bash)"            # in ~/.bashrc
    eval "$(araflow completion zsh)"             # in ~/.zshrc
    araflow completion fish > ~/.config/fish/completions/araflow.fish
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None, "of these three click knows the scripts"
    echo(found(ctx.find_root().command, {}, "araflow", "_ARAFLOW_COMPLETE").source())
