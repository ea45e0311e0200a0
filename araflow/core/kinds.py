"""Kinds of settings that are text with a meaning: a plug-in's name, one of a few words, an address, an output."""

from __future__ import annotations

import os
from typing import Annotated, Any

from pydantic import AfterValidator, PlainSerializer, WithJsonSchema

from araflow.core import addresses, resources
from araflow.core.errors import did_you_mean


def plugin(package: str, *extra: str) -> Any:  # noqa: ANN401 - an annotation is built
    """A string that must name a plug-in file of ``package``; a drop-down in JSON Schema."""
    return one_of(*extra, *resources.plugins(package))


def one_of(*names: str) -> Any:  # noqa: ANN401 - an annotation is built
    """A string that must be one of these; a drop-down in JSON Schema."""

    def check(value: str) -> str:
        if value not in names:
            raise ValueError(f"allowed: {', '.join(names)}{did_you_mean(value, names)}")
        return value

    return Annotated[str, AfterValidator(check), WithJsonSchema({"type": "string", "enum": list(names)})]


def _output(text: str) -> str:
    text = addresses.local(text)
    addresses.check_open(text)
    return os.path.expanduser(text)  # noqa: PTH111 - of an address, too


Address = Annotated[str, PlainSerializer(addresses.masked, return_type=str, when_used="json")]
"""What may be an address. As JSON, which is what is kept of settings, it has no secrets."""
Output = Annotated[str, AfterValidator(_output)]
"""A folder, or an address without a password."""
