"""Types of the flows' own arguments, so that Prefect's form shows a drop-down, a number with limits, or a line of text.

An argument that may be ``None`` is a switch between types there, without its limits and its help. So each has a value
of its own that means "as the configuration says": ``configured``, 0, or nothing.
"""

from __future__ import annotations

import typing
from typing import TYPE_CHECKING, Any

from araflow.core import resources, spec
from araflow.recognition import spec as recognition
from araflow.recognition import streams

CONFIGURED = "configured"

if TYPE_CHECKING:
    Dataset = str
    Protocol = str
    Backend = str
    Algorithm = str
    Preset = str
    Quantizer = str
    OnError = str
    Engine = str
    Architecture = str
    Modality = str
    Accelerator = str
    Mode = str
else:  # lists of names that a type checker cannot follow

    def _choice(*names: str) -> Any:  # noqa: ANN401 - an annotation is built
        return spec.one_of(CONFIGURED, *names)

    Dataset = _choice(*resources.plugins("datasets"))
    Protocol = _choice(*typing.get_args(spec.Protocol))
    Backend = _choice("auto", *resources.plugins("optical/backends"))
    Algorithm = _choice(*typing.get_args(spec.Algorithm))
    Preset = _choice(*typing.get_args(spec.Preset))
    Quantizer = _choice(*typing.get_args(spec.Quantizer))
    OnError = _choice(*typing.get_args(spec.OnError))
    Engine = _choice(*typing.get_args(spec.Engine))
    Architecture = _choice(*resources.plugins("recognition/models"))
    Modality = _choice(*typing.get_args(streams.Modality))
    Accelerator = _choice("auto", "cpu", "gpu")
    Mode = _choice(*typing.get_args(recognition.EvaluationMode))


def given(value: object) -> bool:
    """Whether an argument says something else than the configuration."""
    return value not in (None, "", 0, CONFIGURED) and value != []
