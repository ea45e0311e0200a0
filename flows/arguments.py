"""The flows' own arguments that are settings: one list per flow, from which Prefect's form follows.

An argument that may be ``None`` is a switch between types there, without its limits and its help. So each has a value
of its own that means "as the configuration says": ``configured``, nothing, or the number below the least allowed one.
"""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Annotated, Any, Literal, TypeVar

import annotated_types
from pydantic import BaseModel, Field, WithJsonSchema
from pydantic.fields import FieldInfo

from araflow.core.addresses import masked_in
from araflow.core.screen import visible

CONFIGURED = "configured"
_LONGEST_NAME = 100
"""Of a run, in characters."""
_Function = TypeVar("_Function", bound=Callable[..., Any])


@dataclasses.dataclass(frozen=True, slots=True)
class Argument:
    """An argument of a flow that is a setting.

    Attributes:
        name: Its name.
        key: The setting's, dotted.
        help: What Prefect's form says of it.
    """

    name: str
    key: str
    help: str


class Arguments:
    """The arguments of a flow that are settings of a specification.

    Args:
        model: The specification.
        listed: The arguments, in the form's order.
    """

    def __init__(self, model: type[BaseModel], *listed: Argument) -> None:
        self._listed = listed
        self._parameters = {one.name: _parameter(one, _field(model, one.key)) for one in listed}

    def after(self, name: str) -> Callable[[_Function], _Function]:
        """Give a function these arguments behind the one of that name, in place of its ``**given``, and their help.

        What stands behind that one is given by name alone.
        """

        def add(function: _Function) -> _Function:
            parameters: list[inspect.Parameter] = []
            lines: list[str] = []
            own = inspect.signature(function, eval_str=True).parameters
            first = list(own)[: list(own).index(name) + 1]
            for one in own.values():
                if one.kind is not inspect.Parameter.VAR_KEYWORD:
                    kind = one.kind if one.name in first else inspect.Parameter.KEYWORD_ONLY
                    parameters.append(one.replace(kind=kind))
                parameters += self._parameters.values() if one.name == name else ()
            for line in inspect.cleandoc(function.__doc__ or "").splitlines():
                lines.append(line)
                if line.startswith(f"    {name}: "):
                    lines += [f"    {one.name}: {one.help}" for one in self._listed]
            function.__doc__ = "\n".join(lines)
            function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined] # what inspect looks for
            return function

        return add

    def given(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a run was given that says something else than the configuration, by the settings' dotted keys."""
        return {
            one.key: values[one.name]
            for one in self._listed
            if values.get(one.name) not in (None, self._parameters[one.name].default)
        }

    def asked(self, title: str, values: Mapping[str, Any]) -> str:
        """Name a run by what was asked for: its configuration, and what a run was given beside that.

        Args:
            title: The configuration, a shipped name or a file.
            values: The flow's arguments.
        """
        given = self.given(values)
        return run_name(title, {one.name: values[one.name] for one in self._listed if one.key in given})

    def configured(self, spec: BaseModel) -> dict[str, str]:
        """Return what a specification says, by the arguments' names, as a form shows it."""
        return {one.name: _text(_value(spec, one.key)) for one in self._listed}


def run_name(title: str, given: Mapping[str, Any]) -> str:
    """Name a run by what was asked for.

    Args:
        title: The configuration, a shipped name or a file.
        given: Arguments that say something else.
    """
    said = " ".join([PurePath(title).stem, *(f"{name}={_text(value)}" for name, value in given.items())])
    name = visible(masked_in(said))
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def _value(spec: Any, key: str) -> Any:  # noqa: ANN401 - settings, each of its own type
    for name in key.split("."):
        spec = None if spec is None else getattr(spec, name)
    return spec


def _text(value: object) -> str:
    if value is None or value == ():
        return "not set"
    return ", ".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)


def _field(model: type[BaseModel], key: str) -> FieldInfo:
    *groups, name = key.split(".")
    for group in groups:
        model = typing.cast(type[BaseModel], model.model_fields[group].annotation)
    return model.model_fields[name]


def _parameter(argument: Argument, field: FieldInfo) -> inspect.Parameter:
    annotation, default = _type(field)
    return inspect.Parameter(argument.name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


def _type(field: FieldInfo) -> tuple[Any, Any]:
    """The type of a setting without ``None``, and the value that stands for it."""
    kind: Any = field.annotation
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        kind = next(part for part in typing.get_args(kind) if part is not types.NoneType)
    names = [
        name for one in field.metadata if isinstance(one, WithJsonSchema) for name in (one.json_schema or {})["enum"]
    ]
    if typing.get_origin(kind) is Literal:
        names = list(typing.get_args(kind))
    if names:
        return Literal[(CONFIGURED, *names)], CONFIGURED
    if typing.get_origin(kind) is tuple:
        return list[typing.get_args(kind)[0]], []  # type: ignore[misc] # only known when it runs
    if kind not in (int, float):
        return str, ""
    least, most = None, None
    for one in field.metadata:
        if isinstance(one, annotated_types.Ge):
            least = kind(one.ge) - 1
        elif isinstance(one, annotated_types.Gt):
            least = kind(one.gt)
        elif isinstance(one, annotated_types.Le):
            most = one.le
    assert least is not None, "a number that has no least has none that means: as configured"
    return Annotated[kind, Field(ge=least, le=most)], least
