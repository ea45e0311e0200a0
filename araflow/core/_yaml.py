"""YAML that may come from anywhere: its aliases, depth, length and values are bounded before anything is made of it."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

import yaml

from araflow.core.errors import brief

if TYPE_CHECKING:
    _Loader = yaml.SafeLoader
else:
    _Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's is twenty times as fast
MOST_BYTES = 1 << 20
"""Bytes of a file of settings."""
_MOST_VALUES = 20_000
"""Keys and values, an alias counted as all that it stands for; the classes of Kinetics-700 are 700."""
_MOST_CHARACTERS = 4 << 20
"""Characters of all of them, counted likewise."""
_LONGEST = 64 << 10
"""Characters of one value."""
_DEEPEST = 32
_LARGEST = 2**63
_WRONG = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
"""What PyYAML raises besides its own errors for values that are not what they look like: the date 2001-99-99."""


class YamlError(ValueError):
    """A text is no YAML, or more than settings may be; one line."""


class _StrictLoader(_Loader):
    """YAML forbids a key that is given twice; PyYAML would take the last one without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable) or isinstance(key, tuple):
                raise YamlError(f"a list or a group as a key{_place(key_node.start_mark)}")
            if key in seen:
                raise YamlError(f"{brief(repr(key))} is given twice{_place(key_node.start_mark)}")
            seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        value = super().construct_yaml_int(node)
        if abs(value) > _LARGEST:
            raise YamlError(f"a number of more than 64 bits{_place(node.start_mark)}")
        return value


_StrictLoader.add_constructor("tag:yaml.org,2002:int", _StrictLoader.construct_yaml_int)


def yaml_of(text: str) -> Any:  # noqa: ANN401 - whatever YAML holds
    """Return what a YAML text says.

    Raises:
        YamlError: It is no YAML, gives a key twice, or is more than settings may be.
    """
    if len(text) > MOST_BYTES:
        raise YamlError(f"longer than the {MOST_BYTES:,} characters that settings may have")
    try:
        _measure(text)
        return yaml.load(text, _StrictLoader)  # a SafeLoader
    except yaml.YAMLError as error:
        raise YamlError(_line(error)) from None
    except YamlError:
        raise
    except _WRONG as error:
        raise YamlError(
            f"a value that is not what it looks like: {brief(str(error)) or type(error).__name__}"
        ) from None


def _measure(text: str) -> None:
    """Count values, characters and depth as they would be with every alias in full, and stop where it is too much."""
    values = characters = 0
    known: dict[str, tuple[int, int]] = {}
    open_groups: list[tuple[str | None, int, int]] = []
    for event in yaml.parse(text, Loader=_Loader):
        anchor = getattr(event, "anchor", None)
        before = values, characters
        if isinstance(event, yaml.AliasEvent):
            more = known.get(anchor or "", (math.inf, 0) if any(anchor == one[0] for one in open_groups) else (0, 0))
            if math.isinf(more[0]):
                raise YamlError(f"an alias that contains itself{_place(event.start_mark)}")
            values, characters = values + int(more[0]), characters + more[1]
        elif isinstance(event, yaml.ScalarEvent):
            if len(event.value) > _LONGEST:
                raise YamlError(f"a value of more than {_LONGEST:,} characters{_place(event.start_mark)}")
            values, characters = values + 1, characters + len(event.value)
            if anchor:
                known[anchor] = 1, len(event.value)
        elif isinstance(event, yaml.CollectionStartEvent):
            values += 1
            open_groups.append((anchor, *before))
            if len(open_groups) > _DEEPEST:
                raise YamlError(f"nested more than {_DEEPEST} deep{_place(event.start_mark)}")
        elif isinstance(event, yaml.CollectionEndEvent):
            name, *start = open_groups.pop()
            if name:
                known[name] = values - start[0], characters - start[1]
        if values > _MOST_VALUES or characters > _MOST_CHARACTERS:
            raise YamlError(f"more than {_MOST_VALUES:,} keys and values, aliases in full{_place(event.start_mark)}")


def _line(error: yaml.YAMLError) -> str:
    problem = ", ".join(filter(None, (getattr(error, name, None) for name in ("context", "problem"))))
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    return brief(" ".join(str(problem or error).split())) + (_place(mark) if mark else "")


def _place(mark: Any) -> str:  # noqa: ANN401 - of libyaml, or of PyYAML
    return f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
