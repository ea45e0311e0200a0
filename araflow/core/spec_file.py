"""Read a specification from YAML with dotted overrides, and say what is wrong with it.

A wrong setting fails here, before any work starts, with its full path, the allowed values and the nearest match.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from araflow.core import resources
from araflow.core._explain import explain
from araflow.core._yaml import MOST_BYTES, yaml_of
from araflow.core.errors import SpecError, brief, did_you_mean
from araflow.core.files import explained
from araflow.core.reading import read_file
from araflow.core.spec import BuildSpec

_Spec = typing.TypeVar("_Spec", bound=BaseModel)


def load(
    config: str | Path, overrides: Sequence[str] = (), arguments: Mapping[str, Any] = types.MappingProxyType({})
) -> BuildSpec:
    """Read a build specification.

    Args:
        config: Path of a YAML file, or the bare name of a shipped one (``hmdb5``).
        overrides: See ``override``.
        arguments: Values by dotted key, which stand above the overrides.

    Raises:
        SpecError: No such file, not YAML, an unknown key, or a value that is not allowed.
    """
    path = find_config(config)
    tree = override(read(path), overrides, BuildSpec)
    for key, value in arguments.items():
        put(tree, key, value)
    return parse(tree, f"{path} with overrides" if overrides or arguments else str(path))


def read(path: Path) -> dict[str, Any]:
    """Read a YAML file of settings as a nested dict.

    Raises:
        SpecError: It cannot be read, is not YAML, or gives a key twice.
    """
    try:
        tree = yaml_of(read_file(path, MOST_BYTES).decode("utf-8"))
    except ValueError as error:
        raise SpecError(f"{path}: not readable as YAML: {error}") from error
    except OSError as error:
        raise SpecError(f"{path}: {error.strerror}") from error
    if not isinstance(tree, dict):
        raise SpecError(f"{path}: holds no settings (key: value)")
    return tree


def override(tree: dict[str, Any], overrides: Sequence[str], model: type[BaseModel]) -> dict[str, Any]:
    """Set values in a nested dict, and return it.

    Args:
        tree: Settings; changed in place.
        overrides: Each ``dotted.key=value``; values are YAML, except that text and paths are taken as they are
            (``out=2024_01`` is a name, not a number).
        model: What the settings are of; it says which values are text.

    Raises:
        SpecError: Not of that form.
    """
    for text in overrides:
        _override(tree, text, model)
    return tree


def put(tree: dict[str, Any], key: str, value: object) -> None:
    """Set one value in a nested dict; a group that is not there, or is empty (``optical:``), is made.

    Args:
        tree: Settings; changed in place.
        key: Dotted, such as ``optical.backend``.
        value: The value.

    Raises:
        SpecError: What should be a group is a value.
    """
    *groups, name = key.split(".")
    for group in groups:
        child = tree.setdefault(group, {})
        if child is None:
            child = tree[group] = {}
        if not isinstance(child, dict):
            raise SpecError(f"{key}: {group} is a value, not a group of settings")
        tree = child
    tree[name] = value


def find_config(config: str | Path, kind: str = "") -> Path:
    """Return the path of a configuration given by path or by the bare name of a shipped one.

    Args:
        config: Path or name.
        kind: Folder below ``configs`` where the shipped ones lie.

    Raises:
        SpecError: There is neither.
    """
    path = Path(config)
    with explained(brief(str(config)), "cannot be read", SpecError):
        if path.is_file():
            return path
    shipped = {p.stem: p for p in sorted((resources.folder("configs") / kind).glob("*.yaml"))}
    if str(config) in shipped:
        return shipped[str(config)]
    raise SpecError(
        f"no configuration {brief(str(config))!r}: neither a file nor a shipped name "
        f"({', '.join(shipped)}){did_you_mean(path.stem, shipped)}"
    )


def parse(tree: Mapping[str, Any], origin: str = "spec") -> BuildSpec:
    """Validate the settings of a build; see ``validate``."""
    return validate(tree, BuildSpec, origin)


def validate(tree: Mapping[str, Any], model: type[_Spec], origin: str) -> _Spec:
    """Validate a nested dict of settings.

    Args:
        tree: The settings.
        model: What they are of.
        origin: Where they come from, for messages.

    Raises:
        SpecError: Names every wrong key with its full path, and what is allowed there.
    """
    try:
        return model.model_validate(_without_empty_groups(tree, model))
    except ValidationError as error:
        raise SpecError(f"{origin}:\n  " + "\n  ".join(explain(error, model))) from None


def _without_empty_groups(tree: Mapping[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """Leave out groups that set nothing (``optical:``), which YAML reads as null, unless null says something there."""
    kept = dict(tree)
    for name, field in model.model_fields.items():
        group = field.annotation
        if isinstance(group, type) and issubclass(group, BaseModel):
            if kept.get(name, {}) is None:
                del kept[name]
            elif isinstance(kept.get(name), Mapping):
                kept[name] = _without_empty_groups(kept[name], group)
    return kept


def _override(tree: dict[str, Any], override: str, model: type[BaseModel]) -> None:
    key, equals, text = override.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise SpecError(f"override {brief(override)!r}: expected dotted.key=value, such as optical.algorithm=tvl1")
    annotation = _annotation(parts, model)
    try:
        value = (None if text == "null" else text) if _is_text(annotation) else yaml_of(text)
    except ValueError as error:
        raise SpecError(f"override {brief(override)!r}: the value is not YAML: {error}") from error
    try:
        put(tree, ".".join(parts), value)
    except SpecError as error:
        raise SpecError(f"override {brief(override)!r}: {str(error).partition(': ')[2]}") from None


def _is_text(annotation: Any) -> bool:  # noqa: ANN401 - a type
    """Whether a setting is text, so that ``32`` is no number there."""
    words = typing.get_args(annotation) if typing.get_origin(annotation) is typing.Literal else (None,)
    return annotation in (str, "str?") or all(isinstance(word, str) for word in words)


def _annotation(parts: Sequence[str], top: type[BaseModel]) -> Any:  # noqa: ANN401 - a type, "str?", or None
    model: type[BaseModel] | None = top
    annotation: Any = None
    for part in parts:
        if model is None or part not in model.model_fields:
            return None  # unknown keys are reported by validation, with the allowed names
        annotation = model.model_fields[part].annotation
        inner = [part for part in typing.get_args(annotation) or (annotation,) if isinstance(part, type)]
        model = next((part for part in inner if issubclass(part, BaseModel)), None)
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        bare = {getattr(part, "__origin__", part) for part in typing.get_args(annotation)}  # without Annotated
        return "str?" if bare == {str, type(None)} else annotation
    return annotation
