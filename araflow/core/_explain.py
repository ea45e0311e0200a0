"""What is wrong with a setting, in one line: its full path, what was found, and what is allowed there."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic.json_schema import WithJsonSchema

from araflow.core._yaml import yaml_of
from araflow.core.errors import brief, did_you_mean

_KINDS = {str: "text", int: "a whole number", float: "a number", bool: "true, false"}
_MOST, _LONGEST = 20, 2000
"""Lines that are shown, and characters of each."""
_BOUNDS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}


def explain(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """Return one line for each thing that is wrong with the settings of a model."""
    items = error.errors(include_url=False)
    inside = {item["loc"][:-1] for item in items}
    # pydantic calls a list empty whose items are all wrong.
    items = [item for item in items if not (item["type"] == "too_short" and item["loc"] in inside)]
    lines = list(dict.fromkeys(brief(_line(item, model), _LONGEST) for item in items[:_MOST]))
    return lines + ([f"and {len(items) - _MOST:,} more"] if len(items) > _MOST else [])


def _line(item: Any, top: type[BaseModel]) -> str:  # noqa: ANN401 - pydantic's ErrorDetails
    kind, loc, found = item["type"], item["loc"], _shown(item["input"])
    if kind == "missing" and loc and isinstance(loc[-1], int):  # a list of a fixed length
        kind, loc = "tuple_type", loc[:-1]
    where = brief(".".join(map(str, loc))) or "spec"
    if kind == "extra_forbidden":
        names = _names(loc[:-1], top)
        return f"{where}: unknown key; allowed: {', '.join(names)}{did_you_mean(str(loc[-1]), names)}"
    field = _field(loc, top)
    annotation, metadata = _strip(field.annotation, field.metadata) if field else (None, [])
    if loc and isinstance(loc[-1], int) and typing.get_args(annotation):
        annotation, metadata = _strip(typing.get_args(annotation)[0], [])
    allowed = _allowed(annotation, metadata)
    null = _null(field) if field and not (loc and isinstance(loc[-1], int)) else ""
    if kind == "missing":
        return f"{where}: missing" + (f"; allowed: {allowed}" if allowed else "")
    if kind == "literal_error":
        names = [_quoted(name) for name in typing.get_args(annotation)]
        near = did_you_mean(_quoted(item["input"]), names) if isinstance(item["input"], (str, int)) else ""
        return f"{where}: {found} is not allowed; allowed: {', '.join(names)}{near}"
    if kind in ("model_type", "model_attributes_type"):
        return f"{where}: expected a group of settings (found {found}); allowed: {', '.join(_names(loc, top))}{null}"
    if kind in ("tuple_type", "too_short"):
        words = _words(*_strip(next(iter(typing.get_args(annotation)), None), []))
        null = (f"; allowed: {words}" if words else "") + null
        problem = f"expected a list{_example(field)} (found {found})" if kind == "tuple_type" else "must not be empty"
        return f"{where}: {problem}{null}"
    message = item["msg"].removeprefix("Value error, ")
    if kind == "value_error" and isinstance(item["input"], dict):  # of several settings of a group
        return f"{where}: {message}"
    if kind.endswith(("_type", "_parsing", "_from_float")) and allowed:
        null = f"; allowed: {allowed}{null}"
    return f"{where}: {message[:1].lower()}{message[1:]} (found {found}){null}"


def _names(loc: Sequence[str | int], top: type[BaseModel]) -> list[str]:
    model = top if not loc else _group(_field(loc, top))
    return list(model.model_fields) if model else []


def _field(loc: Sequence[str | int], top: type[BaseModel]) -> FieldInfo | None:
    """The setting that a path leads to; a place in a list belongs to the list."""
    model: type[BaseModel] | None = top
    field = None
    for part in loc:
        if isinstance(part, int):
            break
        field = model.model_fields.get(part) if model else None
        model = _group(field)
    return field


def _group(field: FieldInfo | None) -> type[BaseModel] | None:
    annotation = _strip(field.annotation, [])[0] if field else None
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _strip(annotation: Any, metadata: Iterable[Any]) -> tuple[Any, list[Any]]:  # noqa: ANN401 - a type
    """Take ``| None`` and ``Annotated`` off a type; what was annotated joins the metadata."""
    kept = list(metadata)
    while True:
        if typing.get_origin(annotation) is typing.Annotated:
            annotation, *more = typing.get_args(annotation)
            kept += [one for entry in more for one in (entry.metadata if isinstance(entry, FieldInfo) else [entry])]
        elif typing.get_origin(annotation) in (types.UnionType, typing.Union):
            annotation = next(one for one in typing.get_args(annotation) if one is not type(None))
        else:
            return annotation, kept


def _words(annotation: Any, metadata: Sequence[Any]) -> str:  # noqa: ANN401 - a type
    """Name every value that is allowed, where they can be counted."""
    for entry in metadata:
        if isinstance(entry, WithJsonSchema) and entry.json_schema:
            return ", ".join(entry.json_schema["enum"])
    is_literal = typing.get_origin(annotation) is typing.Literal
    return ", ".join(map(_quoted, typing.get_args(annotation))) if is_literal else ""


def _allowed(annotation: Any, metadata: Sequence[Any]) -> str:  # noqa: ANN401 - a type
    """Say what a single value may be; nothing for a list or a group."""
    if (words := _words(annotation, metadata)) or annotation not in _KINDS:
        return words
    if patterns := [entry.pattern for entry in metadata if getattr(entry, "pattern", None)]:
        return f"text that fits {patterns[0]}"
    bounds = [
        f"{word} {getattr(entry, name):g}"
        for name, word in _BOUNDS.items()
        for entry in metadata
        if getattr(entry, name, None) is not None
    ]
    return _KINDS[annotation] + (f" of {' and '.join(bounds)}" if bounds else "")


def _null(field: FieldInfo) -> str:
    """Say, where null is allowed, what it means, in the words of the setting's description."""
    if type(None) not in typing.get_args(field.annotation):
        return ""
    means = re.search(r"\bnull\b[^.;]*", field.description or "")
    return f"; {means[0]}" if means else "; null is allowed"


def _example(field: FieldInfo | None) -> str:
    if field is None:
        return ""
    example = next(iter(field.examples or ()), field.default)
    items, _ = _strip(field.annotation, [])
    if not example and typing.get_origin(items) is tuple:
        example = typing.get_args(_strip(typing.get_args(items)[0], [])[0])  # all that is allowed, of a few words
    return f", such as [{', '.join(map(_quoted, example))}]" if isinstance(example, (list, tuple)) and example else ""


def _quoted(value: object) -> str:
    """A single value as YAML would read it back."""
    text = str(value)
    try:
        return text if not isinstance(value, str) or yaml_of(text or "null") == value else repr(value)
    except ValueError:
        return repr(value)


def _shown(value: object) -> str:
    return "null" if value is None else brief(repr(value))
