"""``--cfg``: all settings of a command, as a file that it would take."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from araflow.core.screen import echo, echo_json

if TYPE_CHECKING:
    from pydantic import BaseModel

CFG = click.option("--cfg", is_flag=True, help="Print every setting, defaults included, as YAML, and do nothing else.")


def show(spec: BaseModel, as_json: bool = False) -> None:
    """Print settings as YAML that the command reads back, or as JSON; addresses lose what may be secret."""
    content = spec.model_dump(mode="json")
    if as_json:
        echo_json(content)
        return
    import yaml

    echo(yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120).rstrip("\n"))
